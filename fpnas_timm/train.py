"""Train a network: timm's parts in one loop, with timm's options (`train_args.py`) and the paper's recipes.

For the same options, data and seed an epoch's loss and accuracy are those of timm's own script; a run that was killed
and resumed ends with the weights of one that was not.
"""
import argparse
import copy
import importlib
import logging
import math
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
import yaml
from timm import utils
from timm.layers import set_fast_norm
from timm.models import safe_model_name
from timm.optim import create_optimizer_v2, optimizer_kwargs
from timm.scheduler import create_scheduler_v2, scheduler_kwargs
from timm.task import TrainingTask
from timm.utils.distributed import is_distributed_env

from . import train_data as data
from . import train_parts as parts
from .checkpoints import RunCheckpoints, load_training_state, read_training_checkpoint
from .curves import draw_curves, read_history, write_history
from .device import low_precision, start_device
from .errors import RunError, UsageError, exit_status
from .evaluate import evaluate_epoch
from .export import export_best
from .files import write_text
from .freeze import Frozen, freeze
from .interrupt import StopRequest, stop_on_signal
from .rng import gather_random_states, random_state_of, restore_random_states
from .tracking import Trackers, progress
from .train_args import parse_train_args, print_recipes

__all__ = ['main', 'train']

_logger = logging.getLogger('train')


def main(argv: Sequence[str] | None = None) -> int:
    """The command line: exit status 0, 1 if the run failed, 2 if it could not start, 130 if it was interrupted."""

    def run() -> int:
        args = parse_train_args(argv)
        if args.list_recipes:
            print_recipes()
            return 0
        if not logging.root.handlers:
            utils.setup_default_logging()
        for chatty in ('timm.utils.checkpoint_saver', 'matplotlib'):
            logging.getLogger(chatty).setLevel(logging.WARNING)
        if is_distributed_env():  # one process that stops would leave the others waiting: they end at once, together
            train(args)
            return 0
        with stop_on_signal() as stop:
            train(args, stop)
            return 130 if stop else 0

    return exit_status(run)


@dataclass
class Run:
    """What an epoch of training needs."""

    args: argparse.Namespace
    device: torch.device
    task: TrainingTask
    loaders: data.Loaders
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


def train(args: argparse.Namespace, stop: StopRequest | None = None) -> dict[str, Any]:
    """Train as the options say.

    Args:
        args: of `parse_train_args`.
        stop: when it becomes true, the run ends after its step; the checkpoint of the last finished epoch is there.

    Returns:
        The last epoch's row of the history; empty if there was nothing left to do.

    Raises:
        UsageError: the options, the data or the weights do not fit; nothing has been trained.
        RunError: an image, a loss or the disk went wrong on the way; the checkpoints are kept.
    """
    args_text = yaml.safe_dump(vars(args), default_flow_style=False)
    for module in args.device_modules or ():
        importlib.import_module(module)
    device = start_device(args)
    primary = utils.is_primary(args)
    utils.random_seed(args.seed, args.rank)
    if args.fast_norm:
        set_fast_norm()

    # Where the run is written, and the checkpoint that it goes on from.
    made_name = f'{datetime.now():%Y%m%d-%H%M%S}-{safe_model_name(args.model)}'
    folder = Path(args.output or 'output/train') / (args.experiment or made_name)
    resume = args.resume
    if resume == 'auto':
        there = any((folder / name).exists() for name in ('last.pth.tar', 'last.pth.previous.tar'))
        resume = str(folder / 'last.pth.tar') if there else ''
    saved = read_training_checkpoint(resume) if resume else {}
    in_place = bool(resume) and folder.exists() and Path(resume).parent.samefile(folder)
    random_saved = random_state_of(saved, args.world_size, args.rank, args.workers)

    # Network, data, task. What draws random numbers stands in timm's order.
    classes_asked_for = args.num_classes is not None
    model = parts.create_network(args)
    data_config = data.data_config_of(args, model)
    frozen = freeze(model, args.freeze) if args.freeze else None
    model = parts.to_device(model, args, device)
    train_data, eval_data, classes = data.open_splits(args, data_config['input_size'][0])
    data.check_classes(args, classes, classes_asked_for)
    loaders = data.create_loaders(args, data_config, train_data, eval_data, device, random_saved.get('workers'))
    args.lr = parts.learning_rate(args, loaders.mean_batch_size)
    task = parts.create_task(args, model, data_config, loaders.mixes, device, classes)
    optimizer = create_optimizer_v2(task.get_trainable_module(), **optimizer_kwargs(cfg=args), **args.opt_kwargs)
    autocast, scaler = low_precision(args, device)

    # Resume, moving average, compilation, distribution: in this order.
    if saved:
        keep = not args.no_resume_opt
        load_training_state(saved, resume, task, optimizer if keep else None, scaler if keep else None)
    if args.model_ema:
        ema_device = 'cpu' if args.model_ema_force_cpu else None
        task.setup_ema(decay=args.model_ema_decay, use_warmup=args.model_ema_warmup, device=ema_device)
        if saved:
            load_training_state(saved, resume, task, ema=True)
    if args.torchcompile:
        task.compile(backend=args.torchcompile, mode=args.torchcompile_mode)
        if task.has_ema():
            task.compile_ema(backend=args.torchcompile, mode=args.torchcompile_mode)
    if args.distributed:
        ids = None if device.type == 'cpu' else [device]
        task.prepare_distributed(device_ids=ids, broadcast_buffers=not args.no_ddp_bb)

    # Learning rate schedule and the first epoch.
    updates = math.ceil(len(loaders.train) / args.grad_accum_steps)
    eval_metric = args.eval_metric if loaders.eval is not None else 'loss'
    decreasing = eval_metric == 'loss'
    try:
        schedule = scheduler_kwargs(args, decreasing_metric=decreasing)
        scheduler, num_epochs = create_scheduler_v2(optimizer, **schedule, updates_per_epoch=updates)
    except (AssertionError, ValueError) as e:
        raise UsageError(f'--sched {args.sched}: {e}') from None
    last_epoch = min(num_epochs, args.stop_epoch or num_epochs)
    start_epoch = args.start_epoch if args.start_epoch is not None else saved.get('epoch', -1) + 1
    if scheduler is not None and start_epoch > 0:
        if args.sched_on_updates:
            scheduler.step_update(start_epoch * updates)
        else:
            scheduler.step(start_epoch)

    # The run's folder.
    saver, trackers, history, random_states = None, None, [], {}
    if primary:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_text(folder / 'args.yaml', args_text)
        except OSError as e:
            raise UsageError(f'{folder}: cannot be written ({e.strerror}): choose another --output') from None
        trackers = Trackers(args, folder)
        saver = RunCheckpoints(
            model=task.get_trainable_module(), optimizer=optimizer, args=args, amp_scaler=scaler,
            checkpoint_dir=str(folder), recovery_dir=str(folder), decreasing=decreasing,
            max_history=args.checkpoint_hist, task=task, extra=lambda: {'random': random_states},
        )
        if in_place:
            saver.resume(saved)
            history = read_history(folder, start_epoch)
        num_params = sum(p.numel() for p in model.parameters())
        _logger.info(
            f'{args.model}: {num_params:,} parameters{f", {frozen.num_params:,} frozen" if frozen else ""}, '
            f'{data_config["input_size"][-1]} pixels; epochs {start_epoch + 1} to {last_epoch} of {updates} updates, '
            f'learning rate {args.lr:.4g}, {args.world_size} x {device}; into {folder}'
        )
    if random_saved:  # from here on random numbers are those of the run that is resumed
        restore_random_states(random_saved, loaders.eval)

    run = Run(args, device, task, loaders, optimizer, scheduler, autocast, scaler, frozen, folder, saver)
    row: dict[str, Any] = {}
    for epoch in range(start_epoch, last_epoch):
        started = time.monotonic()
        loss = train_epoch(run, epoch, stop)
        if stop:
            _logger.warning(f'Stopped in epoch {epoch + 1}. --resume {folder / "last.pth.tar"} goes on from the last '
                            'finished one.')
            break
        seconds = time.monotonic() - started
        row = {'epoch': epoch, 'train_loss': loss, 'lr': run.learning_rate, 'train_seconds': round(seconds, 3)}
        if args.distributed and args.dist_bn:
            utils.distribute_bn(task.get_trainable_module(), args.world_size, args.dist_bn == 'reduce')
        milestone = epoch + 1 in (args.save_epochs or ())
        validated = (epoch + 1) % args.val_interval == 0 or epoch + 1 == last_epoch or milestone
        metric = None
        if validated:
            row.update(evaluate_epoch(task, loaders.eval, args, device, autocast), validated=True)
            for kind in ('eval_loss', 'weights_loss'):
                if not math.isfinite(row.get(kind, 0.0)):
                    raise RunError(_not_finite(f'{kind} is {row[kind]}', run, epoch, updates))
            metric = row[f'{"eval" if loaders.eval is not None else "train"}_{eval_metric}']
            random_states.update(gather_random_states(loaders.workers, args.world_size))
        if primary:
            history.append(row)
            write_history(folder, history)
            trackers.log(row)
            if validated:
                saver.save_checkpoint(epoch, metric=metric)
            if milestone:
                saver.save_milestone(epoch + 1)
            shown = ', '.join(f'{k} {row[k]:.4g}' for k in ('train_loss', 'eval_loss', 'eval_top1', 'lr') if k in row)
            _logger.info(f'epoch {epoch + 1}/{num_epochs}: {shown}, {seconds:.1f} s')
        if scheduler is not None:
            scheduler.step(epoch + 1, metric)

    if args.distributed:
        torch.distributed.destroy_process_group()
    if primary:
        trackers.close()
        model = copy.deepcopy(utils.unwrap_model(task.get_eval_model())).cpu()
        export_best(model, folder, args, history, data_config, classes)
        if history:
            draw_curves(history, folder / 'curves.png', f'{folder.name}  {args.recipe or ""}')
    return row


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
            input, target = input.to(run.device, data.model_dtype(args)), target.to(run.device)
            if loaders.mixup is not None:
                input, target = loaders.mixup(input, target)
        if args.channels_last:
            input = input.contiguous(memory_format=torch.channels_last)

        with task.no_sync() if args.distributed and not need_update else nullcontext():
            with run.autocast():
                loss = task(input, target)['loss'] / batches
            scaled = loss * parts.loss_scale(args, len(input), loaders.mean_batch_size)
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
                raise RunError(_not_finite(f'the loss is {value}', run, epoch, update))
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
                data.save_batch(input, run.folder / f'train-batch-{index}.jpg')
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


def _not_finite(what: str, run: Run, epoch: int, update: int) -> str:
    last = run.folder / 'last.pth.tar'
    return (
        f'{what} in epoch {epoch + 1}, update {update + 1}, at learning rate {run.learning_rate:.3g}: try a '
        f'lower --lr, a longer --warmup-epochs, --clip-grad 1, or --amp-dtype bfloat16'
        + (f'; the last good checkpoint is {last}' if last.exists() else '; no epoch was finished')
    )


if __name__ == '__main__':
    sys.exit(main())
