"""Python does not wait for the GPU within a step, except where these tests allow it.

`torch.cuda.set_sync_debug_mode('error')` turns operations that wait (`item()`, `nonzero()`, blocking copies, ..) into
errors. Allowed are, in training, the loss of the step before, and in a search two reads: losses and gradient norm,
which may refuse the update of the weights, and the log-likelihoods, which alpha on the CPU needs. With float16, torch's
gradient scaler also waits. Networks are cut out of the supernet once for each finalist, and may wait.
"""
import contextlib
import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import timm
import torch

from fpnas_timm.model.supernet import SuperNet, recalibrate
from fpnas_timm.search import evaluator as search_evaluator
from fpnas_timm.search import finalist_training, scoring
from fpnas_timm.search.finalist_training import FinalistTraining
from fpnas_timm.search.finalists import Candidate, Finals
from fpnas_timm.search.options import search_options
from fpnas_timm.search.setup import set_up
from fpnas_timm.spaces import MBConvSpace
from fpnas_timm.train import losses
from fpnas_timm.train.epoch import train_epoch
from fpnas_timm.train.options import parse_train_args
from fpnas_timm.train.setup import setup
from fpnas_timm.train.validate import ClassificationEvaluator, evaluate_task

from .common import ARCH, DEVICE, ON_GPU, TRAIN, at, images


@contextlib.contextmanager
def waiting(mode: str) -> Iterator[None]:
    """Whether operations that wait for the GPU are errors."""
    if not ON_GPU:
        yield
        return
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode(mode)
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


@pytest.fixture
def allow(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any, str], Counter]:
    """`allow(owner, name)`: this function may wait; how often it was called is counted."""
    calls: Counter = Counter()

    def allow_one(owner: Any, name: str) -> Counter:
        given = getattr(owner, name)

        def allowed(*args: Any, **kwargs: Any) -> Any:
            calls[name] += 1
            with waiting('default'):
                return given(*args, **kwargs)

        monkeypatch.setattr(owner, name, allowed)
        return calls

    return allow_one


def test_waiting_is_an_error(gpu: torch.device) -> None:
    """What the other tests rely on."""
    if not ON_GPU:
        pytest.skip('of CUDA')
    value = torch.ones(1, device=gpu)
    with waiting('error'), pytest.raises(RuntimeError, match='synchron'):
        value.item()
    assert value.item() == 1


@pytest.mark.parametrize('options', [
    ['--clip-grad', '1', '--model-ema'],
    ['--amp', '--amp-dtype', 'bfloat16', '--channels-last', '--mixup', '0.2', '--reprob', '0.3', '--opt', 'sgd'],
    ['--no-prefetcher', '--mixup', '0.2', '--grad-accum-steps', '2', '--class-weights', 'balanced', '--mixup', '0'],
    ['--amp', '--clip-grad', '1', '--clip-mode', 'agc', '--drop-path', '0.1'],
], ids=['float32', 'bfloat16', 'no prefetcher', 'float16'])
def test_training(
        tiny_images: Path, tmp_path: Path, allow: Callable[[Any, str], Counter], options: list[str]
) -> None:
    run = setup(parse_train_args([*TRAIN, '--data-dir', str(tiny_images), '--epochs', '3', *options, *at(tmp_path)]))
    trainer = run.trainer
    with run.locks:
        train_epoch(trainer, 0)
        calls = allow(losses, 'read')
        if trainer.scaler is not None:
            allow(torch.amp.GradScaler, '_maybe_opt_step')
        with waiting('error'):
            loss = train_epoch(trainer, 1)
        assert calls['read'] == len(trainer.loaders.train)
        assert 0 < loss < 10
        evaluate_task(trainer.task, trainer.loaders.eval, trainer.process, trainer.precision)
        allow(ClassificationEvaluator, 'compute')
        with waiting('error'):
            found = evaluate_task(trainer.task, trainer.loaders.eval, trainer.process, trainer.precision)
        assert found['eval_loss'] > 0
        if run.folder is not None:
            run.folder.close()


def test_losses_are_read_one_step_late(gpu: torch.device) -> None:
    """On a GPU; in order, each once, and with the number of its update if it is not finite."""
    mean = losses.Losses(max_bad=1, error=lambda value, update: ValueError(f'{value} in {update}'))
    read = []
    for i in range(4):
        mean.add(torch.tensor(float(i), device=gpu), factor=2, images=i + 1, update=i)
        read.append(mean.last)
    assert read[1:] == ([0, 2, 4] if ON_GPU else [2, 4, 6])
    mean.read_all()
    assert mean.last == 6
    assert mean.mean == pytest.approx(2 * (0 * 1 + 1 * 2 + 2 * 3 + 3 * 4) / 10)
    mean.add(torch.tensor(torch.nan, device=gpu), 1, 1, 4)
    with pytest.raises(ValueError, match='inf in 5'):
        mean.add(torch.tensor(torch.inf, device=gpu), 1, 1, 5)
        mean.read_all()


@pytest.mark.parametrize('options', [
    {}, dict(amp=True, amp_dtype='bfloat16', channels_last=True, class_weights='balanced'),
    dict(amp=True, grad_accum_steps=2, batch_size=3),
    dict(weight_archs='sandwich', distill=0.5, weight_ema=0.9),
], ids=['float32', 'bfloat16', 'float16', 'sandwich'])
def test_search(
        space: MBConvSpace, tiny_images: Path, tmp_path: Path, allow: Callable[[Any, str], Counter],
        options: dict[str, Any],
) -> None:
    given: dict[str, Any] = dict(
        space='tiny', data_dir=str(tiny_images), epochs=2, warmup_epochs=0, batch_size=6, workers=0, device=DEVICE,
        output=str(tmp_path / 'out'), warmup_lr_epochs=0,
    )
    evaluator = set_up(search_options({**given, **options}), space).evaluator
    rng = random.Random(0)
    archs = [space.from_arch(space.sample_arch(rng)) for _ in range(4)]
    evaluator.start_epoch(0, 0)
    evaluator.train_step(archs)
    evaluator.log_likelihoods(archs)
    calls = allow(search_evaluator, 'on_cpu')
    allow(torch.amp.GradScaler, '_maybe_opt_step')
    with waiting('error'):
        evaluator.train_step(archs)
        assert calls['on_cpu'] == 1
        evaluator.log_likelihoods(archs)
        assert calls['on_cpu'] == 2


@pytest.mark.parametrize('options', [{}, dict(amp=True, class_weights='balanced')], ids=['float32', 'float16'])
def test_final(
        space: MBConvSpace, tiny_images: Path, tmp_path: Path, allow: Callable[[Any, str], Counter],
        options: dict[str, Any],
) -> None:
    """Loss and gradient norm of training are read once per step, the scores of all networks once."""
    run = set_up(search_options(dict(
        space='tiny', data_dir=str(tiny_images), epochs=2, batch_size=6, workers=0, device=DEVICE, warmup_lr_epochs=0,
        output=str(tmp_path / 'out'), **options,
    )), space)
    rng = random.Random(0)
    candidates = [Candidate(space.from_arch(space.sample_arch(rng)), None) for _ in range(2)]
    model = run.evaluator.net.extract(space.to_arch(candidates[0].choices))

    def parts() -> tuple[FinalistTraining, Finals]:
        given: dict[str, Any] = dict(first_epoch=2, open_optimizer=run.open_optimizer)
        return FinalistTraining(run.evaluator, model, epochs=1, **given), Finals(
            run.evaluator, candidates, calibration_batches=2, epochs=0, **given
        )

    training, final = parts()
    training.run(lambda: None, lambda loss: None)
    final.run()
    training, final = parts()
    calls = allow(finalist_training, 'on_cpu')
    allow(torch.amp.GradScaler, '_maybe_opt_step')
    with waiting('error'):
        training.run(lambda: None, lambda loss: None)
    assert calls['on_cpu'] == training.steps_per_epoch == 3
    allow(SuperNet, 'extract')
    allow(scoring, 'on_cpu')
    with waiting('error'):
        assert final.run()
    assert calls['on_cpu'] == 3 + 1
    assert [found.images for found in final.finalists()] == [18, 18]


def test_recalibration(gpu: torch.device) -> None:
    model = timm.create_model('fpnas', arch=ARCH).to(gpu)
    batches = [images(4, 32).float().to(gpu) for _ in range(2)]
    recalibrate(model, batches)
    with waiting('error'):
        recalibrate(model, batches)
