"""The product's supernet and evaluator on images that are in memory, and what they have computed so far."""
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from fpnas_timm.model.supernet import SuperNet
from fpnas_timm.search.evaluator import SuperNetEvaluator
from fpnas_timm.search.weight_training import StepArchs
from fpnas_timm.spaces import Choices

from .data import Images, MemoryLoader, precision
from .problem import CLASSES, cifar_space

WARM_UP = 0.05  # of the updates: the learning rate rises linearly
SCORED = 500  # images of a calibration batch


class WarmCosine:
    """The learning rate of a supernet: linear to the peak, then a cosine to 0; has timm's `step_update`."""

    def __init__(
            self, optimizer: torch.optim.Optimizer, peak: float, updates: int, rising: float = WARM_UP
    ) -> None:
        self.optimizer, self.peak, self.updates, self.share = optimizer, peak, updates, rising
        self.step_update(0)

    def step_update(self, num_updates: int) -> None:
        rising = max(1, self.share * self.updates)
        at = num_updates + 1
        along = min(1.0, max(0.0, at - rising) / max(1.0, self.updates - rising))
        for group in self.optimizer.param_groups:
            group['lr'] = self.peak * min(at / rising, 0.5 * (1 + math.cos(math.pi * along)))


class Noted:
    """The rule of which architectures a step trains; remembers those of the last step."""

    def __init__(self, rule: StepArchs) -> None:
        self.rule, self.last = rule, list[Choices]()

    def __call__(self, sampled: Sequence[Choices]) -> list[Choices]:
        self.last = self.rule(sampled)
        return self.last


class Counting(SuperNetEvaluator):
    """The product's evaluator; it counts what its passes cost, as if each architecture ran on its own.

    Attributes:
        trained, scored_passes: number of architectures times batches, forward and backward, and forward only.
        macs, scored_macs: their multiply-adds, and those of the latter; a backward pass counts as two forward passes.
        seconds: time of both calls.
    """

    trained = scored_passes = 0
    macs = scored_macs = 0
    seconds = 0.0

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.noted = self.step_archs = Noted(self.step_archs)  # type: ignore[assignment]

    def train_step(self, archs: Sequence[Choices]) -> float:
        start = time.perf_counter()
        loss = super().train_step(archs)
        self.seconds += time.perf_counter() - start
        self.trained += len(self.noted.last)
        self.macs += 3 * self.train_loader.batch * sum(map(self.cost, self.noted.last))
        return loss

    def _sums(self, archs: Sequence[Choices], measure: Callable[..., torch.Tensor]) -> torch.Tensor:
        start = time.perf_counter()
        found = super()._sums(archs, measure)
        self.seconds += time.perf_counter() - start
        self.scored_passes += len(archs)
        macs = self.val_loader.batch * sum(map(self.cost, archs))
        self.scored_macs += macs
        self.macs += macs
        return found


def create_evaluator(
        train: Images,
        val: Images,
        steps_per_epoch: int,
        updates: int,
        seed: int,
        lr: float = 2e-3,
        weight_decay: float = 0.02,
        batch: int = 128,
        smoothing: float = 0.0,
        bf16: bool = False,
        **options: Any,
) -> Counting:
    """The evaluator of a new supernet.

    Args:
        train: images that train the weights, on the device.
        val: images that train alpha, on the device.
        steps_per_epoch: length of an epoch of the search.
        updates: length of the learning rate's schedule.
        seed: of the weights, the batches and the crops.
        lr: the peak; AdamW.
        weight_decay: of AdamW.
        batch: images of a batch, in both halves.
        smoothing: of the labels in training.
        bf16: autocast to bfloat16.
        options: further ones of `SuperNetEvaluator`.
    """
    device = train.pixels.device
    torch.manual_seed(seed)
    net = SuperNet(cifar_space(), CLASSES).to(device)
    cuda = device.type == 'cuda'
    optimizer = torch.optim.AdamW(net.parameters(), lr=lr, weight_decay=weight_decay, foreach=cuda or None)
    return Counting(
        net=net,
        train_loader=MemoryLoader(train, batch, steps_per_epoch, 2 * seed + 1),  # type: ignore[arg-type]
        val_loader=MemoryLoader(val, batch, steps_per_epoch, 2 * seed + 2, augment=False),  # type: ignore[arg-type]
        optimizer=optimizer,
        scheduler=WarmCosine(optimizer, lr, updates),
        loss_fn=nn.CrossEntropyLoss(label_smoothing=smoothing),
        autocast=lambda: precision(device, bf16),
        scaler=torch.amp.GradScaler(device.type, enabled=False),
        clip_grad=5.0,
        seed=seed,
        **options,
    )


@torch.no_grad()
def score(net: SuperNet, archs: Sequence[Any], images: Images, calibration: Images | None) -> dict[str, list[float]]:
    """Mean log-likelihood (nats) and accuracy (%) of architectures with the supernet's weights on held-out images.

    Args:
        net: the supernet.
        archs: architectures, `Arch`.
        images: to score on.
        calibration: images for the statistics of the batch norms; None: those of each batch of 500 images.
    """
    mixed = torch.randperm(len(images.labels), generator=torch.Generator().manual_seed(0))
    loader = MemoryLoader(images.pick(mixed.to(images.labels.device)), 500, 1, 0)  # they are sorted by class
    found: dict[str, list[float]] = {'log_likelihood': [], 'top1': []}
    for arch in archs:
        run: Callable[[torch.Tensor], torch.Tensor]
        if calibration is None:
            def run(batch: torch.Tensor, arch: Any = arch) -> torch.Tensor:
                return net(batch, arch)
        else:
            batches = MemoryLoader(calibration, SCORED, 1, 0)
            run = net.extract(arch, (batches.normalise(p) for p in calibration.pixels.split(SCORED)))
        total = correct = torch.zeros((), device=images.pixels.device)
        for batch, labels in loader.once():
            logits = run(batch).float()
            total = total - torch.nn.functional.cross_entropy(logits, labels, reduction='sum')
            correct = correct + (logits.argmax(1) == labels).sum()
        count = len(images.labels)
        found['log_likelihood'].append(round(float(total) / count, 5))
        found['top1'].append(round(100 * float(correct) / count, 3))
    return found


def seconds_a_pass(data: dict[str, Images], seconds: float, batch: int) -> float:
    """How long a pass of training takes, by the last third of so many seconds: two random architectures a step."""
    evaluator = create_evaluator(data['train'], data['held'], 10_000, 10_000, 0, batch=batch)
    evaluator.start_epoch(0, 0)
    rng = torch.Generator().manual_seed(0)
    start, times = time.perf_counter(), list[float]()
    while (now := time.perf_counter()) < start + seconds or len(times) < 3:
        evaluator.train_step([evaluator.net.space.sample(rng) for _ in range(2)])
        times.append((time.perf_counter() - now) / 2)
    late = times[-max(1, len(times) // 3):]
    return sum(late) / len(late)
