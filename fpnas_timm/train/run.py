"""Train a network: timm's parts in one loop, with timm's options (`train_args.py`) and the paper's recipes.

For the same options, data and seed an epoch's loss and accuracy are those of timm's own script; a run that was killed
and resumed ends with the weights of one that was not.
"""
import argparse
import copy
import importlib
import logging
import math
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
import yaml
from timm import utils
from timm.layers import set_fast_norm
from timm.models import clean_state_dict, safe_model_name
from timm.optim import create_optimizer_v2, optimizer_kwargs
from timm.scheduler import create_scheduler_v2, scheduler_kwargs
from torch import nn

from ..draw.training import draw_curves
from ..errors import RunError, UsageError
from ..runs.device import low_precision, start_device
from ..runs.files import write_text
from ..runs.processes import StopRequest
from ..runs.tracking import Trackers, read_history, write_history
from ..weights.folder import export_model
from .checkpoints import RunCheckpoints, load_training_state, read_training_checkpoint
from .data import check_classes, create_loaders, data_config_of, open_splits
from .epoch import Run, not_finite, train_epoch
from .network import create_network, freeze, to_device
from .task import create_task, learning_rate
from .validate import evaluate_epoch
from .workers import gather_random_states, random_state_of, restore_random_states

__all__ = ['export_best', 'train']

_logger = logging.getLogger('train')



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
    model = create_network(args)
    data_config = data_config_of(args, model)
    frozen = freeze(model, args.freeze) if args.freeze else None
    model = to_device(model, args, device)
    train_data, eval_data, classes = open_splits(args, data_config['input_size'][0])
    check_classes(args, classes, classes_asked_for)
    loaders = create_loaders(args, data_config, train_data, eval_data, device, random_saved.get('workers'))
    args.lr = learning_rate(args, loaders.mean_batch_size)
    task = create_task(args, model, data_config, loaders.mixes, device, classes)
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
                    raise RunError(not_finite(f'{kind} is {row[kind]}', run, epoch, updates))
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


def export_best(
        model: nn.Module,
        folder: Path,
        args: argparse.Namespace,
        history: Sequence[Mapping[str, Any]],
        data_config: Mapping[str, Any],
        label_names: Sequence[str],
) -> None:
    """Export a run's best checkpoint, if there is one, as `folder/export`.

    Args:
        model: a network of the run's architecture, not used by anyone else: it gets the best weights.
        folder: of the run.
        args: the run's options.
        history: its rows; that of the best epoch has the metrics.
        data_config: as for `export_model`.
        label_names: as for `export_model`.
    """
    best = folder / 'model_best.pth.tar'
    if not best.exists():
        return
    state = read_training_checkpoint(best)
    ema = 'state_dict_ema' in state and not args.model_ema_force_cpu  # only there it was the average that was validated
    model.load_state_dict(clean_state_dict(state['state_dict_ema' if ema else 'state_dict']))
    row = next((r for r in history if r['epoch'] == state['epoch']), {})
    metrics = {k.removeprefix('eval_'): v for k, v in row.items() if k.startswith('eval_')}
    training = {
        'recipe': args.recipe,
        'epoch': state['epoch'] + 1,
        'epochs': args.epochs,
        **metrics,
        'train_loss': row.get('train_loss'),
        'ema': ema,
        'seed': args.seed,
    }
    export_model(model, folder / 'export', data_config, label_names, training)
    shown = ', '.join(f'{k} {v:.5g}' for k, v in metrics.items())
    _logger.info(f'best: epoch {training["epoch"]} ({shown}), as local-dir:{folder / "export"}')
