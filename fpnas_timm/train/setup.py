"""Builds a run that is ready to train from the options of `fpnas train`.

Only this module, `arguments`, `images` and `schedule` read the parsed options. Everything that draws random numbers is
called in the same order as in timm's script, so that the losses are the same, and a resumed run continues exactly.
"""
import argparse
import contextlib
import logging
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from timm import utils
from timm.layers import set_fast_norm
from timm.models import safe_model_name
from timm.task import TrainingTask
from torch import nn
from torch.optim import Optimizer

from ..arch.sizes import shown_size, simplest_size
from ..errors import UsageError
from ..runs.device import Precision, Process, low_precision, model_dtype, start_device
from ..runs.files import write_text
from ..runs.image_options import check_policy_mode
from ..runs.parser import default_workers
from ..runs.processes import check_same_on_all, from_primary, log_on_primary, on_primary
from ..runs.timm_checks import check_backend, check_optimizer, check_policy, import_modules, make_optimizer
from ..runs.tracking import Trackers, read_history
from ..weights.recorded import recorded_of
from .arguments import (
    distillation_of,
    epoch_settings,
    loss_arguments,
    network_config,
    optimizer_arguments,
    take_network_args,
)
from .channels import check_conversion, choose_mode
from .checkpoints import RunCheckpoints, load_training_state
from .classes import Classifier, arrange_outputs
from .data import ImagesUsed, Loaders, data_config_of
from .epoch import Trainer
from .folder import RunFolder, options_text
from .images import open_data, record_images
from .inherit import inherit, open_start
from .network import create_network, freeze, has_trained_classifier, to_device
from .option_checks import unused_options
from .resume import Origin, check_classes, check_epochs, check_settings, find_origin, log_changes, open_new
from .schedule import base_learning_rate, create_schedule
from .start import named_model, random_start
from .task import create_criterion, create_task, trainable_module
from .workers import random_state_of, restore_random_states

__all__ = ['Run', 'setup']

_logger = logging.getLogger('train')


@dataclass(frozen=True)
class Run:
    """A training run that is ready to start."""

    trainer: Trainer
    folder: RunFolder | None  # rank 0 only
    epochs: range  # epochs to train, counted from 0
    num_epochs: int  # length of the schedule
    val_interval: int  # epochs between validations
    milestones: Sequence[int]  # epochs whose checkpoints are kept permanently, counted from 1
    metric: str  # key in the history's rows by which the best epoch is chosen
    average: bool  # validate and export the moving average, if there is one
    dist_bn: str  # how batch statistics are shared between processes: 'reduce', 'broadcast' or ''
    data_config: dict[str, Any]
    classes: list[str]  # names; empty if unknown
    notes: dict[str, Any]  # for the export
    locks: contextlib.ExitStack  # close it at the end: it holds the lock of the output folder


def setup(args: argparse.Namespace) -> Run:
    """Set up a run: resume, network, data, task, optimizer, schedule, folder.

    Args:
        args: from `parse_train_args`. Values determined here (device, final learning rate, number of classes) are
            stored in it, so that the checkpoints contain the options as they were used.

    Raises:
        UsageError: invalid options, data or weights, or a folder that is in use or holds another run; the training has
            not started.
    """
    with contextlib.ExitStack() as locks:
        return _set_up(args, locks)


def _set_up(args: argparse.Namespace, locks: contextlib.ExitStack) -> Run:
    args_text = options_text(args)
    process = _start(args)
    origin = from_primary(
        lambda: find_origin(_folder_of(args), args.resume, locks), process.rank, process.world_size
    )
    args.workers = _workers_of(origin.state) if args.workers is None else args.workers
    random_saved = random_state_of(origin.state, process.world_size, process.rank, args.workers)
    autocast, scaler = low_precision(args.amp, args.amp_dtype, process.device)
    precision = Precision(autocast, model_dtype(args.model_dtype), args.channels_last)

    source = open_start(args, origin.state)
    take_network_args(args, origin.state)
    model, classifier, data_config, facts = _create_network(args, bool(origin) or source is not None)
    model = to_device(model, process, precision, max(args.aug_splits, 2) if args.split_bn else 0, args.sync_bn)
    frozen = freeze(model, args.freeze) if args.freeze else None  # not before its batch norms are converted
    if process.distributed and args.sync_bn:
        args.dist_bn = ''  # statistics are the same on all processes
    loaders, match, weights = open_data(
        args, process, precision, data_config, classifier, random_saved.get('workers'), origin.folder,
        origin.path, origin.state,
    )
    arrange_outputs(model, match.order)
    args.label_names = match.names  # for the checkpoints
    check_classes(origin, match.names)
    if source is not None:
        inherit(model, source, loaders.train.dataset, data_config, match.names, args.seed)
    global_batch = loaders.mean_batch_size * process.world_size * args.grad_accum_steps
    args.lr = args.lr or base_learning_rate(args.lr_base, args.lr_base_size, args.lr_base_scale, args.opt, global_batch)
    criterion = create_criterion(**loss_arguments(args), class_weights=weights)
    task = create_task(model, criterion, process, precision.dtype, data_config, distillation_of(args), match.names)
    optimizer = make_optimizer(trainable_module(task), **optimizer_arguments(args))
    _check_same(task, loaders, match.names, weights)
    metric = f'eval_{args.eval_metric}' if loaders.eval is not None else 'train_loss'
    check_settings(origin, args.model_ema, metric)
    _finish_task(args, task, optimizer, scaler, process, origin)

    updates = math.ceil(len(loaders.train) / args.grad_accum_steps)
    start = args.start_epoch if args.start_epoch is not None else origin.state.get('epoch', -1) + 1
    scheduler, num_epochs = create_schedule(args, optimizer, updates, metric, start, origin.state)
    epochs = range(start, min(num_epochs, args.stop_epoch or num_epochs))
    text = '' if check_epochs(origin, epochs, num_epochs) else args_text
    run_folder = on_primary(
        lambda: _open_folder(args, text, origin, locks, loaders.images, task, optimizer, scaler, metric, start),
        process.rank, process.world_size,
    )
    if run_folder:
        run_folder.saver.data_config, run_folder.saver.scheduler = data_config, scheduler
    run = Run(
        trainer=Trainer(
            process=process,
            precision=precision,
            settings=epoch_settings(args),
            task=task,
            loaders=loaders,
            optimizer=optimizer,
            scheduler=scheduler,
            scaler=scaler,
            frozen=frozen,
            folder=origin.folder,
            saver=run_folder.saver if run_folder else None,
        ),
        folder=run_folder,
        epochs=epochs,
        num_epochs=num_epochs,
        val_interval=args.val_interval,
        milestones=args.save_epochs or (),
        metric=metric,
        average=not args.model_ema_force_cpu,
        dist_bn=args.dist_bn,
        data_config=data_config,
        classes=match.names,
        notes={**facts, 'images': loaders.images.notes},
        locks=locks.pop_all(),
    )
    if process.primary:
        _log_start(run, args.model, model, args.lr)
    if random_saved:  # from here on, random numbers continue those of the resumed run
        restore_random_states(random_saved, loaders.eval)
    return run


def _create_network(
        args: argparse.Namespace, replaced: bool
) -> tuple[nn.Module, Classifier, dict[str, Any], dict[str, Any]]:
    """The network, its classifier, timm's data config with `input_img_mode`, and facts for the export.

    `replaced`: its weights are going to be replaced by those of a checkpoint or of `--init-from`.
    """
    recorded = recorded_of(args.model, args.initial_checkpoint, args.arch_file or '')
    config = network_config(args, recorded)
    model = create_network(config)
    num_outputs: Any = model.num_classes
    channels: Any = model.in_chans
    loaded = has_trained_classifier(model, config)
    names = recorded.label_names if loaded and len(recorded.label_names) == num_outputs else []
    classifier = Classifier(args.model, num_outputs, loaded, names, args.num_classes is not None)
    mode, notes = choose_mode(channels, args.input_img_mode, recorded, args.model)
    check_policy_mode('' if args.no_aug else args.aa, mode)
    if args.pretrained and not args.initial_checkpoint:
        notes = [*check_conversion(recorded.in_chans, channels, args.model, for_training=True), *notes]
    if not replaced and (note := random_start(model, config, recorded)):
        notes = [note, *notes]
    for note in notes:
        log_on_primary(_logger, note, logging.WARNING)
    vars(args).update(num_classes=num_outputs, in_chans=channels, input_img_mode=mode)
    facts = {
        'init_from': getattr(args, 'init_from_record', None),
        'recipe': args.recipe, 'epochs': args.epochs, 'seed': args.seed,
        'dataset': args.dataset or Path(args.data_dir or '').name,
        'search': recorded.search if recorded.arch == str(getattr(model, 'arch', None)) else {},
    }
    return model, classifier, {**data_config_of(vars(args), model), 'input_img_mode': mode}, facts


def _start(args: argparse.Namespace) -> Process:
    """Import `--device-modules`, set up the device and seed the random generators."""
    import_modules(args.device_modules)
    args.model = named_model(args.model)
    if args.kd_model_name is not None:
        args.kd_model_name = named_model(args.kd_model_name, '--kd-model-name')
    check_optimizer(args.opt)
    check_policy(args.aa)
    check_backend(args.torchcompile)
    process = start_device(args.device)
    vars(args).update(asdict(process), device=str(process.device))
    utils.random_seed(args.seed, process.rank)
    if args.fast_norm:
        set_fast_norm()
    return process


def _folder_of(args: argparse.Namespace) -> Path:
    made_name = f'{datetime.now():%Y%m%d-%H%M%S}-{safe_model_name(args.model)}'
    return Path(args.output or 'output/train') / (args.experiment or made_name)


def _check_same(
        task: TrainingTask, loaders: Loaders, classes: Sequence[str], class_weights: Sequence[float] | None
) -> None:
    """In a distributed run, check what every process reads for itself; DDP makes the weights the same."""
    teacher = getattr(task, 'teacher', None)
    values = [v.double().sum().item() for v in teacher.state_dict().values()] if teacher is not None else []
    check_same_on_all({
        'number of batches': len(loaders.train),
        'number of validation batches': len(loaders.eval) if loaders.eval is not None else 0,
        'class names': list(classes),
        'class weights': class_weights,
        'teacher': values,
    })


def _workers_of(saved: dict[str, Any]) -> int:
    """The number of workers of the run that is resumed, so that it continues exactly; else the default."""
    try:
        return len(saved['random']['processes'][0]['workers'])
    except (IndexError, KeyError, TypeError):
        return default_workers()


def _finish_task(
        args: argparse.Namespace,
        task: TrainingTask,
        optimizer: Optimizer,
        scaler: utils.NativeScaler | None,
        process: Process,
        origin: Origin,
) -> None:
    """Resume, moving average, compilation and DDP, in this order; says which options have no effect."""
    for note in unused_options(args, process.distributed, optimizer.param_groups[0]):
        log_on_primary(_logger, note, logging.WARNING)
    saved, path = origin.state, origin.path
    if saved:
        keep = not args.no_resume_opt
        load_training_state(
            saved, path, task, optimizer if keep else None, scaler if keep else None, options=vars(args)
        )
    if args.model_ema:
        ema_device: Any = 'cpu' if args.model_ema_force_cpu else None
        task.setup_ema(decay=args.model_ema_decay, use_warmup=args.model_ema_warmup, device=ema_device)
        if saved:
            load_training_state(saved, path, task, ema=True)
    if args.torchcompile:
        task.compile(backend=args.torchcompile, mode=args.torchcompile_mode)
        if task.has_ema():
            task.compile_ema(backend=args.torchcompile, mode=args.torchcompile_mode)
    if process.distributed:
        ids = None if process.device.type == 'cpu' else [process.device]
        task.prepare_distributed(device_ids=ids, broadcast_buffers=not args.no_ddp_bb)


def _open_folder(
        args: argparse.Namespace,
        args_text: str,
        origin: Origin,
        locks: contextlib.ExitStack,
        images: ImagesUsed,
        task: TrainingTask,
        optimizer: Optimizer,
        scaler: utils.NativeScaler | None,
        metric: str,
        start: int,
) -> RunFolder:
    """Write `args.yaml` (unless its text is empty) into the folder, and continue there from epoch `start`."""
    path = origin.folder
    if not origin.existed:
        open_new(path, locks)
    history = read_history(path, start) if origin.in_place else []
    if origin:
        log_changes(origin, vars(args))
    try:
        if args_text:
            write_text(path / 'args.yaml', args_text)
    except OSError as e:
        raise UsageError(f'{path}: cannot be written ({e.strerror}): choose another --output') from None
    wandb = dict(
        project=args.wandb_project, tags=args.wandb_tags, resume_id=args.wandb_resume_id, config=vars(args)
    )
    trackers = Trackers(path, args.log_tensorboard, wandb if args.log_wandb else None)
    saver = RunCheckpoints(
        model=trainable_module(task), optimizer=optimizer, args=args, amp_scaler=scaler, checkpoint_dir=str(path),
        recovery_dir=str(path), decreasing=metric.endswith('loss'), max_history=args.checkpoint_hist, task=task,
    )
    if origin.in_place:
        losses = {row['epoch']: row['eval_loss'] for row in history if type(row.get('eval_loss')) is float}
        saver.resume(origin.state, losses, start in (args.save_epochs or ()), origin.partial)
    run_folder = RunFolder(path, saver, trackers, history)
    record_images(run_folder, images, bool(origin))
    return run_folder


def _log_start(run: Run, name: str, model: nn.Module, lr: float) -> None:
    trainer, epochs = run.trainer, run.epochs
    if not epochs:
        _logger.info(f'{trainer.folder}: finished: all {epochs.start} epochs are done, there is nothing left to train')
        return
    num_params = sum(p.numel() for p in model.parameters())
    size = shown_size(simplest_size(run.data_config['input_size'][1:]))
    frozen = f', {trainer.frozen.num_params:,} frozen' if trainer.frozen else ''
    _logger.info(
        f'{name}: {num_params:,} parameters{frozen}, {size} pixels; '
        f'epochs {epochs.start + 1} to {epochs.stop} of {trainer.updates_per_epoch} updates, '
        f'learning rate {lr:.4g}, {trainer.process.world_size} x {trainer.process.device}; into {trainer.folder}'
    )
