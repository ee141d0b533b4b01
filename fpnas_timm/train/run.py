"""Train a network: timm's parts in one loop, with timm's options (`options.py`) and the paper's recipes.

For the same options, data and seed, the losses and accuracies are those of timm's own script. A run that was killed and
resumed ends with the same weights as an uninterrupted one.
"""
import argparse
import copy
import logging
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import timm
import torch
from timm import utils
from torch import nn

from ..arch import Arch
from ..draw.training import curves_figure, draw_curves
from ..errors import RunError, UsageError, plain_message
from ..runs.parser import pythons_words
from ..runs.processes import LostWorker, SharedStop, StopRequest, explain_lost_workers
from ..runs.progress import current_area, one_area
from .epoch import not_finite, train_epoch
from .folder import export_best
from .options import build_parser, train_options
from .setup import Run, setup
from .task import eval_model, trainable_module
from .validate import evaluate_task
from .workers import gather_random_states

__all__ = ['TrainResult', 'run_training', 'train']

_logger = logging.getLogger('train')


@dataclass(frozen=True, repr=False)
class TrainResult:
    """The outcome of a training run.

    Attributes:
        folder: output folder of the run: checkpoints, `history.jsonl`, `curves.png`, ..
        history: one row per epoch: `epoch` (from 0), `train_loss`, `lr`, `train_seconds` and, if the epoch was
            validated, `eval_loss`, `eval_top1`, `eval_top5` (%) of the moving average or, without one, the weights.
        metrics: the row of the best epoch; empty if no epoch was finished. The best epoch is the one with the best
            `--eval-metric`; of equal ones, that with the lower loss, then the later one.
        finished: whether all epochs were trained; False if a signal stopped the run.
    """

    folder: Path
    history: list[dict[str, Any]] = field(default_factory=list)
    metrics: dict[str, Any] = field(default_factory=dict)
    finished: bool = True

    def __repr__(self) -> str:
        best = ''
        if self.metrics:
            shown = [f'{k.removeprefix("eval_")}={v:.4g}' for k, v in self.metrics.items() if k.startswith('eval_')]
            best = f', best: epoch {self.metrics["epoch"] + 1} ({", ".join(shown) or "not validated"})'
        stopped = '' if self.finished else ', stopped'
        return f"TrainResult('{self.folder}', {len(self.history)} epochs{best}{stopped})"

    @property
    def export(self) -> Path:
        """Folder with the best weights, for `timm.create_model('local-dir:FOLDER', pretrained=True)`."""
        return self.folder / 'export'

    def model(self, **kwargs: Any) -> nn.Module:
        """The trained network with the best weights (the moving average, if there is one), on the CPU.

        Args:
            kwargs: further arguments of `timm.create_model`, such as `features_only=True`.

        Raises:
            RunError: no epoch was finished.
        """
        if not self.export.exists():
            raise RunError(f'{self.export}: no such folder: no epoch was finished')
        return timm.create_model(f'local-dir:{self.export}', pretrained=True, **kwargs)


def train(
        model: str | None = None,
        *,
        arch: str | Arch | None = None,
        data_dir: str | Path | None = None,
        recipe: str | None = None,
        num_classes: int | None = None,
        epochs: int | None = None,
        device: str | None = None,
        output: str | Path | None = None,
        experiment: str | None = None,
        resume: str | Path | None = None,
        **options: Any,
) -> TrainResult:
    """Train a network on images.

    Every option of `fpnas train` is a keyword argument, with underscores instead of dashes: `batch_size=64` is
    `--batch-size 64`. An option that is None or missing takes the recipe's value if there is one, else its default.
    Ctrl-C raises KeyboardInterrupt; the same call with `resume='auto'` continues after the last finished epoch.

    Args:
        model: any timm model, 'fpnas' with an architecture, the folder of a model or a run, or 'hf-hub:REPO'.
        arch: the architecture to train, with `model` 'fpnas'; short for `model_kwargs={'arch': ..}`.
        data_dir: folder with `train/<class>/*.png` and `validation/<class>/*.png`.
        recipe: one of `fpnas_timm.recipes.recipe_names()`.
        num_classes: number of classifier outputs; must match the number of classes in the data.
        epochs: length of the schedule.
        device: 'auto' (a GPU if there is one), 'cuda', 'cpu', 'mps', ..
        output: parent folder of the runs.
        experiment: name of the run's subfolder of `output` (default: made from the time and the model).
        resume: a training checkpoint to continue from, or 'auto': the last one of this experiment, if any.
        options: all others, such as `batch_size`, `img_size`, `lr`, `model_ema`, `workers`, `seed`.

    Returns:
        The run's folder and history, and a method to load the best weights as a model.

    Raises:
        UsageError: invalid options, data or weights; the training has not started.
        RunError: an unreadable image, a loss that is not finite, a lost DataLoader worker or a full disk; the
            checkpoints are kept.

    Example:
        result = train('fpnas', arch='i32-cn_r1_k3_s2_c8_nsw-..', data_dir='digits', num_classes=10, epochs=12,
                       batch_size=64, opt='adamw', lr=4e-3, device='cpu')
        result.metrics['eval_top1'], result.model()
    """
    if not isinstance(options.get('dataset') or '', str):
        raise UsageError("train(): dataset takes timm's TYPE/NAME; images in a folder are data_dir=FOLDER")
    given = dict(
        model=model, data_dir=data_dir, recipe=recipe, num_classes=num_classes, epochs=epochs, device=device,
        output=output, experiment=experiment, resume=resume, **options,
    )
    if arch is not None:
        given['model'] = model or 'fpnas'
        own = options.get('model_kwargs') or {}
        if not isinstance(own, dict):
            raise UsageError(f'train(): model_kwargs={own!r}: expected a dict')
        if str(own.get('arch', arch)) != str(arch):
            raise UsageError("train(): arch and model_kwargs['arch'] are different architectures: give one of them")
        given['model_kwargs'] = {**own, 'arch': str(arch)}
    with pythons_words(build_parser()):
        args = train_options({name: value for name, value in given.items() if value is not None})
        try:
            return run_training(args)
        except RunError as e:
            raise RunError(plain_message(e)) from None


def run_training(args: argparse.Namespace, stop: StopRequest | None = None) -> TrainResult:
    """Train with the given options.

    Args:
        args: from `parse_train_args`.
        stop: once this is true, the run ends after the current update; the checkpoint of the last finished epoch is
            kept, and the best weights so far are exported. A distributed run whose torchrun has gone ends after the
            epoch: a restart would find its folder in use.

    Returns:
        The run's result; history and metrics are empty except on rank 0.

    Raises:
        UsageError: invalid options, data or weights; the training has not started.
        RunError: an unreadable image, a loss that is not finite, a lost DataLoader worker or a full disk; the
            checkpoints are kept.
    """
    run = setup(args)
    with run.locks, one_area():
        process = run.trainer.process
        orphaned = SharedStop(StopRequest(), process.device) if process.distributed else False
        finished = all(not orphaned and run_epoch(run, epoch, stop) for epoch in run.epochs)
        return finish(run, finished)


def run_epoch(run: Run, epoch: int, stop: StopRequest | None) -> bool:
    """Train, validate if it is due, and save; returns False if `stop` became true before the epoch was trained.

    Raises:
        RunError: as `run_training`.
    """
    trainer, started = run.trainer, time.monotonic()
    name = trainer.folder.name
    goes_on = f'continue with --experiment {name} --resume auto'
    row: dict[str, Any] = {}
    try:
        with explain_lost_workers(goes_on):
            loss = train_epoch(trainer, epoch, stop)
            if not stop:
                seconds = round(time.monotonic() - started, 3)
                row = {'epoch': epoch, 'train_loss': loss, 'lr': trainer.learning_rate, 'train_seconds': seconds}
                row |= validate_epoch(run, epoch)
    except LostWorker:
        if not _is_stopping(stop):
            raise
        row = {}
    if not row:
        done = f'after epoch {epoch}' if epoch else 'from the start'
        _logger.warning(f'Stopped in epoch {epoch + 1}: {goes_on}, {done}.')
        return False
    metric = row[run.metric] if row.get('validated') else None
    with explain_lost_workers(goes_on):
        save_epoch(run, row, metric)
    if trainer.scheduler is not None:
        trainer.scheduler.step(epoch + 1, metric)
    return True


def _is_stopping(stop: StopRequest | None, patience: float = 1) -> bool:
    """Whether a signal is what ended a worker: it may reach the main process a moment later."""
    end = time.monotonic() + patience
    while stop is not None and not stop and time.monotonic() < end:
        time.sleep(0.01)
    return bool(stop)


def validate_epoch(run: Run, epoch: int) -> dict[str, Any]:
    """Validate if it is due in this epoch; returns the values for the history's row.

    Raises:
        RunError: a loss is not finite.
    """
    trainer, process = run.trainer, run.trainer.process
    if process.distributed and run.dist_bn:
        utils.distribute_bn(trainable_module(trainer.task), process.world_size, run.dist_bn == 'reduce')
    if (epoch + 1) % run.val_interval and epoch + 1 != run.epochs.stop and epoch + 1 not in run.milestones:
        return {}
    metrics = evaluate_task(
        trainer.task, trainer.loaders.eval, process, trainer.precision, run.average, run.dist_bn
    )
    for kind in ('eval_loss', 'weights_loss'):
        if not math.isfinite(metrics.get(kind, 0.0)):
            raise RunError(not_finite(f'{kind} is {metrics[kind]}', trainer, epoch, trainer.updates_per_epoch))
    return {**metrics, 'validated': True}


def save_epoch(run: Run, row: Mapping[str, Any], metric: float | None) -> None:
    """Write history and checkpoints on rank 0, with the random states of all processes."""
    trainer, random_states = run.trainer, {}
    if row.get('validated'):
        random_states = gather_random_states(trainer.loaders.workers, trainer.process.world_size)
    if run.folder is None:
        return
    run.folder.save(row, metric, random_states, milestone=row['epoch'] + 1 in run.milestones)
    shown = ', '.join(f'{k} {row[k]:.4g}' for k in ('train_loss', 'eval_loss', 'eval_top1', 'lr') if k in row)
    text = f'epoch {row["epoch"] + 1}/{run.num_epochs}: {shown}, {row["train_seconds"]:.1f} s'
    _logger.info(text)
    area, history = current_area(), run.folder.history
    area.picture(lambda: curves_figure(history), last=row['epoch'] + 1 == run.epochs.stop)
    area.line(text, last=True)


def finish(run: Run, finished: bool) -> TrainResult:
    """Leave the process group, export the best weights and draw the curves."""
    trainer, path = run.trainer, run.trainer.folder
    if trainer.process.distributed:
        torch.distributed.destroy_process_group()
    if run.folder is None:
        return TrainResult(path, finished=finished)
    run.folder.close()
    history = run.folder.history
    model = copy.deepcopy(utils.unwrap_model(eval_model(trainer.task))).cpu()
    best = export_best(model, path, history, run.data_config, run.classes, run.notes, run.average)
    if history:
        draw_curves(history, path / 'curves.png', f'{path.name}  {run.notes["recipe"] or ""}')
    return TrainResult(path, history, best, finished)
