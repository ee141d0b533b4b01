"""Networks trained on their own, all by one recipe: several at once on one GPU, each step one CUDA graph.

The step needs nothing from the host: which images, crops and learning rates come next is on the device, in tables that
a counter on the device reads. So the host only says how often the graph is to be replayed, some steps ahead.
"""
import contextlib
import itertools
import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from .data import Images, Normalise, crop_plan, precision
from .problem import Recipe, add_result, create_network, log, recipe_record

CHUNK = 50  # steps that are sent to the device at once
AHEAD = 4  # chunks that may wait there, per network
WARM_UP = 3  # eager steps before the capture; they count


def learning_rates(recipe: Recipe, steps: int) -> torch.Tensor:
    """The rate of each step: linear to the peak, then a cosine to 0."""
    rising = max(1, round(recipe.warmup * steps))
    at = torch.arange(1, steps + 1, dtype=torch.float64)
    falling = 0.5 * (1 + torch.cos(math.pi * (at - rising).clamp(min=0) / max(1, steps - rising)))
    return (recipe.lr * torch.minimum(at / rising, falling)).float()


def create_optimizer(model: nn.Module, recipe: Recipe, lr: torch.Tensor) -> torch.optim.Optimizer:
    """AdamW or SGD with Nesterov's momentum, whose learning rate is a tensor; no decay of biases and norms."""
    weights = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{'params': weights, 'weight_decay': recipe.weight_decay}, {'params': others, 'weight_decay': 0.0}]
    cuda = lr.is_cuda
    if recipe.opt == 'adamw':
        return torch.optim.AdamW(groups, lr=lr, fused=cuda, capturable=cuda, foreach=False)
    if recipe.opt == 'sgd':
        return torch.optim.SGD(groups, lr=lr, momentum=0.9, nesterov=True, fused=cuda, foreach=False)
    raise ValueError(f'optimizer {recipe.opt!r}: expected adamw or sgd')


class Running:
    """A network in training."""

    def __init__(
            self,
            job: dict[str, Any],
            train: Images,
            recipe: Recipe,
            bf16: bool = False,
            channels_last: bool = False,
            graph: bool = True,
            steps: int | None = None,
    ) -> None:
        """
        Args:
            job: 'name', 'seed', and 'arch' or 'peer'.
            train: the training images on the device, padded.
            recipe: how to train.
            bf16: autocast to bfloat16.
            channels_last: leave the images in the channels_last format; without, they are made contiguous.
            graph: on a GPU, capture the step; falls back to eager steps where that fails.
            steps: number of steps (default: the recipe's).
        """
        self.job, self.train, self.recipe, self.bf16 = job, train, recipe, bf16
        self.channels_last, self.started = channels_last, time.time()
        self.device = train.pixels.device
        self.steps = steps or recipe.steps(len(train.labels))
        self.done, self.waiting = 0, deque[Any]()
        self.stream = torch.cuda.Stream() if self.device.type == 'cuda' else None
        if self.stream is not None:
            self.stream.wait_stream(torch.cuda.current_stream())  # which the images were made on
        self.graph: torch.cuda.CUDAGraph | None = None
        with self.on_stream():
            self.model = create_network(job).to(self.device).train()
            plan = crop_plan(len(train.labels), self.steps, recipe.batch, (job['seed'], 1))
            self.plan = torch.from_numpy(plan).to(self.device)
            self.rates = learning_rates(recipe, self.steps).to(self.device)
            self.counter = torch.zeros(1, dtype=torch.long, device=self.device)
            self.lr = self.rates[0].clone()
            self.loss = torch.zeros((), device=self.device)
            self.optimizer = create_optimizer(self.model, recipe, self.lr)
            self.normalise = Normalise(self.device)
            if self.stream is not None:
                for _ in range(min(WARM_UP, self.steps)):
                    self._step()
                self.done = min(WARM_UP, self.steps)
        if self.stream is not None and graph:
            self._capture()

    def on_stream(self) -> contextlib.AbstractContextManager[Any]:
        return torch.cuda.stream(self.stream) if self.stream is not None else contextlib.nullcontext()

    def _step(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        plan = self.plan.index_select(0, self.counter)[0]
        self.lr.copy_(self.rates.index_select(0, self.counter)[0])
        images, target = self.normalise.crops(self.train.pixels, plan), self.train.labels[plan[0]]
        if not self.channels_last:
            images = images.contiguous()
        with precision(self.device, self.bf16):
            logits = self.model(images)
        loss = F.cross_entropy(logits.float(), target, label_smoothing=self.recipe.smoothing)
        loss.backward()
        self.optimizer.step()
        self.loss.copy_(loss.detach())
        self.counter.add_(1)

    def _capture(self) -> None:
        graph = torch.cuda.CUDAGraph()
        try:
            self.optimizer.zero_grad(set_to_none=True)
            with torch.cuda.graph(graph, stream=self.stream):
                self._step()
            self.graph = graph
        except Exception as e:  # whatever the reason: a run without graphs is only slower
            log(f'{self.job["name"]}: no CUDA graph, steps are eager ({type(e).__name__}: {str(e)[:300]})')
            self.graph = None
            self.optimizer.zero_grad(set_to_none=True)

    def advance(self) -> bool:
        """Send a chunk of steps to the device if few wait there; False if nothing was sent."""
        while self.waiting and self.waiting[0].query():
            self.waiting.popleft()
        if self.done >= self.steps or len(self.waiting) >= AHEAD:
            return False
        count = min(CHUNK, self.steps - self.done)
        with self.on_stream():
            for _ in range(count):
                if self.graph is not None:
                    self.graph.replay()
                else:
                    self._step()
            if self.stream is not None:
                event = torch.cuda.Event()
                event.record(self.stream)
                self.waiting.append(event)
        self.done += count
        return True

    @property
    def finished(self) -> bool:
        """Whether all steps have been taken, on the device too."""
        return self.done >= self.steps and all(e.query() for e in self.waiting)

    @torch.no_grad()
    def evaluate(self, images: Images) -> dict[str, float]:
        """Accuracy (%) and mean negative log-likelihood (nats) on images as they are."""
        self.model.eval()
        correct = nll = 0.0
        with self.on_stream():
            for pixels, labels in zip(images.pixels.split(1000), images.labels.split(1000)):
                batch = self.normalise(pixels)
                with precision(self.device, self.bf16):
                    logits = self.model(batch if self.channels_last else batch.contiguous()).float()
                correct += (logits.argmax(1) == labels).sum()
                nll += F.cross_entropy(logits, labels, reduction='sum')
            count = len(images.labels)
            return {'top1': round(100 * float(correct) / count, 3), 'nll': round(float(nll) / count, 5)}


def train_all(
        jobs: Iterator[dict[str, Any] | None],
        data: dict[str, Images],
        out: Path,
        recipe_of: Callable[[dict[str, Any]], Recipe],
        streams: int = 4,
        deadline: float = math.inf,
        steps: int | None = None,
        **how: Any,
) -> None:
    """Train networks, `streams` at once; each result is written as soon as it is there.

    Args:
        jobs: what to train; None: nothing at the moment, ask again.
        data: the images by part, on the device.
        out: where the file of results is.
        recipe_of: how to train each of them.
        streams: networks at once.
        deadline: time (`time.time()`) at which unfinished networks are given up.
        steps: as in `Running`, as is `how`.
    """
    train, active, more = data['train'].padded(), list[Running](), True
    while (more or active) and time.time() < deadline:
        while more and len(active) < streams:
            job = next(jobs, {})
            more = job != {}
            if not job:
                break
            try:
                active.append(Running(job, train, recipe_of(job), steps=steps, **how))
            except torch.OutOfMemoryError as e:
                log(f'{job["name"]}: {e}')
            for running in active:  # the capture took a while
                running.advance()
        sent = [running.advance() for running in active]
        for running in [r for r in active if r.finished]:
            active.remove(running)
            record = _record(running, data)
            add_result(out, **record)
            log(f'{record["name"]} seed {record["seed"]}: test {record["test"]:.2f} %, held out {record["held"]:.2f}, '
                f'{record["seconds"]:.1f} s, {"graph" if record["graph"] else "eager"}, {len(active)} beside it')
        if not any(sent):
            time.sleep(0.002 if active else 0.3)
    for running in active:
        log(f'{running.job["name"]} seed {running.job["seed"]}: given up after {running.done} of {running.steps} steps')


def _record(running: Running, data: dict[str, Images]) -> dict[str, Any]:
    test, held = running.evaluate(data['test']), running.evaluate(data['held'])
    return {
        'kind': 'trained', **running.job,
        'test': test['top1'], 'test_nll': test['nll'], 'held': held['top1'], 'held_nll': held['nll'],
        'last_loss': round(float(running.loss), 4),
        'params': sum(p.numel() for p in running.model.parameters()),
        'steps': running.steps, 'seconds': round(time.time() - running.started, 2),
        'graph': running.graph is not None, 'bf16': running.bf16, 'recipe': recipe_record(running.recipe),
        'device': torch.cuda.get_device_name() if running.stream is not None else 'cpu',
    }


def step_seconds(
        jobs: list[dict[str, Any]], data: dict[str, Images], recipe: Recipe, steps: int = 100, **how: Any
) -> tuple[float, float, bool]:
    """Seconds of a step when all `jobs` run at once, divided by their number; seconds to get one ready; with graphs?

    On a CPU they are seconds of this process, whatever else the machine does.
    """
    train = data['train'].padded()
    clock = time.perf_counter if train.pixels.is_cuda else time.process_time
    start = clock()
    active = [Running(job, train, recipe, steps=steps, **how) for job in jobs]
    _synchronize(train.pixels.device)
    ready = (clock() - start) / len(jobs)
    done = sum(r.done for r in active)
    start = clock()
    while not all(r.finished for r in active):
        sent = [r.advance() for r in active]
        if not any(sent):
            time.sleep(0.0005)
    _synchronize(train.pixels.device)
    seconds = clock() - start
    return seconds / (steps * len(jobs) - done), ready, all(r.graph is not None for r in active)


def _synchronize(device: torch.device) -> None:
    if device.type == 'cuda':
        torch.cuda.synchronize()


def numbered(jobs: list[dict[str, Any]], seeds: list[int]) -> list[dict[str, Any]]:
    """Each job with each seed; all with the first seed come first."""
    return [{**job, 'seed': seed} for seed, job in itertools.product(seeds, jobs)]
