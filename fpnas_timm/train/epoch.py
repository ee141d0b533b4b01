"""One epoch of training: timm's parts in one loop."""
import logging
import math
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from timm import utils
from timm.scheduler.scheduler import Scheduler
from timm.task import TrainingTask

from ..errors import RunError
from ..runs.device import Precision, Process
from ..runs.processes import StopRequest
from ..runs.progress import progress
from .checkpoints import LAST, RunCheckpoints
from .data import Loaders
from .losses import Losses
from .network import Frozen
from .task import trainable_module

__all__ = ['EpochSettings', 'Trainer', 'loss_scale', 'not_finite', 'save_batch', 'train_epoch']

_logger = logging.getLogger('train')

MAX_SKIPPED = 10  # maximum number of consecutive float16 updates that the gradient scaler may skip


@dataclass(frozen=True)
class EpochSettings:
    """The options of an epoch."""

    accumulate: int = 1  # batches per update
    clip_grad: float | None = None
    clip_mode: str = 'norm'  # 'norm', 'value' or 'agc'
    loss_scale: str = 'none'  # 'none', 'sqrt' or 'linear', for batches of different sizes
    mixup_off_epoch: int = 0  # no mixup from this epoch on; 0: never off
    prefetcher: bool = True  # the loader yields batches on the device, already normalised and mixed
    synchronize: bool = False  # wait for the device after each update
    log_interval: int = 50  # updates between log lines within an epoch, which ends with a line of its own
    recovery_interval: int = 0  # updates between recovery checkpoints; 0: none
    save_images: bool = False


@dataclass
class Trainer:
    """Everything that `train_epoch` needs."""

    process: Process
    precision: Precision
    settings: EpochSettings
    task: TrainingTask
    loaders: Loaders
    optimizer: torch.optim.Optimizer
    scheduler: Scheduler | None
    scaler: utils.NativeScaler | None  # gradient scaler for float16
    frozen: Frozen | None
    folder: Path
    saver: RunCheckpoints | None  # rank 0 only

    @property
    def learning_rate(self) -> float:
        """Mean learning rate over the parameter groups."""
        rates = [group['lr'] for group in self.optimizer.param_groups]
        return sum(rates) / len(rates)

    @property
    def updates_per_epoch(self) -> int:
        """Optimizer updates per epoch; the last one may accumulate fewer batches than the others."""
        return math.ceil(len(self.loaders.train) / self.settings.accumulate)


def train_epoch(trainer: Trainer, epoch: int, stop: StopRequest | None = None) -> float:
    """One pass over the training images.

    Args:
        trainer: network, data, optimizer and settings.
        epoch: number of the epoch, counted from 0.
        stop: the epoch ends after the current update once this is true.

    Returns:
        The mean loss over all processes.

    Raises:
        RunError: the loss is not finite, or an image cannot be read.
    """
    settings, process, task, loaders = trainer.settings, trainer.process, trainer.task, trainer.loaders
    loaders.set_epoch(epoch, settings.mixup_off_epoch)
    trainable_module(task).train()
    if trainer.frozen is not None:
        trainer.frozen.eval()
    num_batches, updates = len(loaders.train), trainer.updates_per_epoch
    losses = Losses(
        MAX_SKIPPED if trainer.scaler is not None else 0,
        lambda value, update: RunError(not_finite(f'the loss is {value}', trainer, epoch, update)),
    )
    images, started = 0, time.monotonic()
    bar = progress(loaders.train, f'epoch {epoch + 1}', process.primary)
    trainer.optimizer.zero_grad()
    for index, (input, target) in enumerate(bar):
        update, is_last = index // settings.accumulate, index + 1 == num_batches
        need_update = is_last or (index + 1) % settings.accumulate == 0
        batches = min(settings.accumulate, num_batches - update * settings.accumulate)  # in this update
        if not settings.prefetcher:
            input = input.to(process.device, trainer.precision.dtype, non_blocking=True)
            target = target.to(process.device, non_blocking=True)
            if loaders.mixup is not None:
                input, target = loaders.mixup(input, target)
        input = trainer.precision.layout(input)

        losses.add(_step(trainer, input, target, batches, need_update), batches, len(input), update)
        images += len(input) * process.world_size
        if not need_update:
            continue
        trainer.optimizer.zero_grad()
        num_updates = epoch * updates + update + 1
        task.update_ema(step=num_updates)
        if settings.synchronize and process.device.type == 'cuda':
            torch.cuda.synchronize()
        bar.set_postfix(loss=f'{losses.mean:.3f}', refresh=False)
        if (update + 1) % settings.log_interval == 0 and not is_last and bar.disable and process.primary:
            losses.read_all()
            speed = images / (time.monotonic() - started)
            _logger.info(f'epoch {epoch + 1} [{update + 1}/{updates}]: loss {losses.last:.4g} '
                         f'(mean {losses.mean:.4g}), {speed:.1f} images/s, learning rate {trainer.learning_rate:.3g}')
        if settings.save_images and (update % settings.log_interval == 0 or is_last) and process.primary:
            kind = 'jpg' if input.shape[1] in (1, 3) else 'png'  # JPEG has no transparency
            save_batch(input, trainer.folder / f'train-batch-{index}.{kind}')
        if trainer.saver is not None and settings.recovery_interval and (update + 1) % settings.recovery_interval == 0:
            losses.read_all()
            trainer.saver.save_recovery(epoch, batch_idx=update)
        if trainer.scheduler is not None:
            trainer.scheduler.step_update(num_updates=num_updates, metric=losses.mean)
        if stop:
            break
    losses.read_all()
    if hasattr(trainer.optimizer, 'sync_lookahead'):
        trainer.optimizer.sync_lookahead()
    if process.distributed:
        mean = torch.tensor([losses.mean], device=process.device, dtype=torch.float32)
        return utils.reduce_tensor(mean, process.world_size).item()
    return losses.mean


def _step(trainer: Trainer, input: torch.Tensor, target: torch.Tensor, batches: int, need_update: bool) -> torch.Tensor:
    """Forward and backward pass of one of the `batches` of an update, and the update if due; returns loss / batches."""
    settings, task, optimizer = trainer.settings, trainer.task, trainer.optimizer
    second_order = getattr(optimizer, 'is_second_order', False)
    with task.no_sync() if trainer.process.distributed and not need_update else nullcontext():
        with trainer.precision.autocast():
            loss = task(input, target)['loss'] / batches
        scaled = loss * loss_scale(settings.loss_scale, len(input), trainer.loaders.mean_batch_size)
        params = None
        if settings.clip_grad:
            params = task.get_clip_parameters(exclude_head='agc' in settings.clip_mode)
        if trainer.scaler is not None:
            trainer.scaler(
                scaled, optimizer, clip_grad=settings.clip_grad, clip_mode=settings.clip_mode, parameters=params,
                create_graph=second_order, need_update=need_update,
            )
        else:
            scaled.backward(create_graph=second_order)
            if need_update:
                if params is not None and settings.clip_grad:
                    utils.dispatch_clip_grad(params, value=settings.clip_grad, mode=settings.clip_mode)
                optimizer.step()
    return loss


def loss_scale(kind: str, batch_size: int, mean_batch_size: float) -> float:
    """`--variable-batch-loss-scale`: the factor on the gradients of a batch whose size is not the mean size.

    >>> loss_scale('linear', 96, 48), loss_scale('sqrt', 192, 48), loss_scale('none', 96, 48)
    (2.0, 2.0, 1.0)
    """
    if kind == 'none':
        return 1.0
    ratio = batch_size / mean_batch_size
    return ratio**0.5 if kind == 'sqrt' else ratio


def not_finite(what: str, trainer: Trainer, epoch: int, update: int) -> str:
    """The error message for a loss that is not finite: where it occurred, and which options of this run to change."""
    settings, precision = trainer.settings, trainer.precision
    advice = ['a lower --lr']
    if trainer.scheduler is not None and trainer.scheduler.__class__.__name__ != 'PlateauLRScheduler':
        advice.append('a longer --warmup-epochs')
    clip = settings.clip_grad
    advice.append('--clip-grad 1' if not clip else f'a --clip-grad below {clip:g}')
    if trainer.scaler is not None:
        advice.append('--amp-dtype bfloat16')
    elif precision.dtype not in (None, torch.float32) or precision.autocast is not nullcontext:
        advice.append('full precision (without --amp and --model-dtype)')
    last = trainer.folder / LAST
    goes_on = f'the last good checkpoint is {last}' if last.exists() else 'no epoch was finished'
    return (
        f'{what} in epoch {epoch + 1}, update {update + 1}, at learning rate {trainer.learning_rate:.3g}: try '
        f'{", ".join(advice[:-1])} or {advice[-1]}; {goes_on}'
    )


def save_batch(images: torch.Tensor, path: Path) -> None:
    """`--save-images`: save a batch as one image."""
    from torchvision.utils import save_image

    save_image(images, str(path), padding=0, normalize=True)
