"""One epoch of training: timm's parts in one loop."""
import argparse
import logging
import math
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from timm import utils
from timm.task import TrainingTask

from ..errors import RunError
from ..runs.device import model_dtype
from ..runs.processes import StopRequest
from ..runs.tracking import progress
from .checkpoints import RunCheckpoints
from .data import Loaders
from .network import Frozen
from .task import loss_scale

__all__ = ['Run', 'not_finite', 'save_batch', 'train_epoch']

_logger = logging.getLogger('train')



@dataclass
class Run:
    """What an epoch of training needs."""

    args: argparse.Namespace
    device: torch.device
    task: TrainingTask
    loaders: Loaders
    optimizer: torch.optim.Optimizer
    scheduler: Any
    autocast: Any  # context of a forward pass
    scaler: Any  # of gradients, in float16
    frozen: Frozen | None
    folder: Path
    saver: RunCheckpoints | None  # in the first process

    @property
    def learning_rate(self) -> float:
        """Mean over the parameter groups."""
        rates = [group['lr'] for group in self.optimizer.param_groups]
        return sum(rates) / len(rates)


def train_epoch(run: Run, epoch: int, stop: StopRequest | None = None) -> float:
    """One pass over the training images.

    Args:
        run: what is trained, and on what.
        epoch: its number, from 0 on.
        stop: ends the epoch after a step when it becomes true.

    Returns:
        The mean loss, over all processes.

    Raises:
        RunError: the loss is not finite, or an image cannot be read.
    """
    args, task, loaders, optimizer = run.args, run.task, run.loaders, run.optimizer
    loaders.set_epoch(epoch, args.mixup_off_epoch)
    task.get_trainable_module().train()
    if run.frozen is not None:
        run.frozen.eval()
    second_order = getattr(optimizer, 'is_second_order', False)
    num_batches, accum = len(loaders.train), args.grad_accum_steps
    updates = math.ceil(num_batches / accum)
    losses, images, bad_in_a_row, started = utils.AverageMeter(), 0, 0, time.monotonic()
    bar = progress(loaders.train, f'epoch {epoch + 1}', utils.is_primary(args))
    optimizer.zero_grad()
    for index, (input, target) in enumerate(bar):
        update, is_last = index // accum, index + 1 == num_batches
        need_update = is_last or (index + 1) % accum == 0
        batches = min(accum, num_batches - update * accum)  # of this update: the last one may have fewer
        if args.no_prefetcher:
            input, target = input.to(run.device, model_dtype(args)), target.to(run.device)
            if loaders.mixup is not None:
                input, target = loaders.mixup(input, target)
        if args.channels_last:
            input = input.contiguous(memory_format=torch.channels_last)

        with task.no_sync() if args.distributed and not need_update else nullcontext():
            with run.autocast():
                loss = task(input, target)['loss'] / batches
            scaled = loss * loss_scale(args, len(input), loaders.mean_batch_size)
            clip = dict(value=args.clip_grad, mode=args.clip_mode)
            params = task.get_clip_parameters(exclude_head='agc' in args.clip_mode) if args.clip_grad else None
            if run.scaler is not None:
                run.scaler(
                    scaled, optimizer, clip_grad=clip['value'], clip_mode=clip['mode'], parameters=params,
                    create_graph=second_order, need_update=need_update,
                )
            else:
                scaled.backward(create_graph=second_order)
                if need_update:
                    if params is not None:
                        utils.dispatch_clip_grad(params, **clip)
                    optimizer.step()

        value = loss.item() * batches
        images += len(input) * args.world_size
        if math.isfinite(value):
            losses.update(value, len(input))
            bad_in_a_row = 0
        else:
            bad_in_a_row += 1
            if bad_in_a_row > (10 if run.scaler is not None else 0):  # the scaler skips such steps, for a while
                raise RunError(not_finite(f'the loss is {value}', run, epoch, update))
        if not need_update:
            continue
        optimizer.zero_grad()
        num_updates = epoch * updates + update + 1
        task.update_ema(step=num_updates)
        if args.synchronize_step and run.device.type == 'cuda':
            torch.cuda.synchronize()
        bar.set_postfix(loss=f'{losses.avg:.3f}', refresh=False)
        if (update % args.log_interval == 0 or is_last) and utils.is_primary(args):
            if bar.disable:
                speed = images / (time.monotonic() - started)
                _logger.info(f'epoch {epoch + 1} [{update + 1}/{updates}]: loss {value:.4g} (mean {losses.avg:.4g}), '
                             f'{speed:.1f} images/s, learning rate {run.learning_rate:.3g}')
            if args.save_images:
                save_batch(input, run.folder / f'train-batch-{index}.jpg')
        if run.saver is not None and args.recovery_interval and (update + 1) % args.recovery_interval == 0:
            run.saver.save_recovery(epoch, batch_idx=update)
        if run.scheduler is not None:
            run.scheduler.step_update(num_updates=num_updates, metric=losses.avg)
        if stop:
            break
    if hasattr(optimizer, 'sync_lookahead'):
        optimizer.sync_lookahead()
    if args.distributed:
        mean = torch.tensor([losses.avg], device=run.device, dtype=torch.float32)
        return utils.reduce_tensor(mean, args.world_size).item()
    return losses.avg


def not_finite(what: str, run: Run, epoch: int, update: int) -> str:
    last = run.folder / 'last.pth.tar'
    return (
        f'{what} in epoch {epoch + 1}, update {update + 1}, at learning rate {run.learning_rate:.3g}: try a '
        f'lower --lr, a longer --warmup-epochs, --clip-grad 1, or --amp-dtype bfloat16'
        + (f'; the last good checkpoint is {last}' if last.exists() else '; no epoch was finished')
    )


def save_batch(images: torch.Tensor, path: Path) -> None:
    """`--save-images`: a batch as one picture."""
    from torchvision.utils import save_image

    save_image(images, str(path), padding=0, normalize=True)
