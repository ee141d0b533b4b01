"""Validation: loss and accuracy of a network on a dataset, computed by timm's evaluator."""
import argparse
import logging
from dataclasses import replace
from typing import Any

import torch
from timm import utils
from timm.data import create_loader
from timm.task import TrainingTask
from timm.task.evaluator import ClassificationEvaluator, evaluation_sample_limit
from timm.utils import reparameterize_model
from torch import nn
from torch.utils.data import Dataset

from ..errors import UsageError
from ..runs.datasets import StrictImages, open_dataset
from ..runs.device import Precision, Process, low_precision, model_dtype, start_device
from ..runs.holdout import listed_images
from ..runs.parser import default_workers, read_arch_file
from ..runs.processes import explain_lost_workers, log_on_primary
from ..runs.progress import progress
from ..runs.splits import NoSplitError
from ..runs.timm_checks import check_backend, import_modules
from ..weights.recorded import Recorded, recorded_of, refuse_multilabel
from .channels import channels_asked_for, check_conversion, choose_mode
from .classes import arrange_outputs, classes_of, listed, match_for_validation
from .data import data_config_of
from .network import NetworkConfig, create_network, has_trained_classifier, to_device
from .start import named_model
from .task import eval_model

__all__ = ['evaluate', 'evaluate_task', 'validate']

_logger = logging.getLogger('validate')


@explain_lost_workers('start again')
def validate(args: argparse.Namespace) -> dict[str, Any]:
    """Validate with the given options.

    Args:
        args: from `build_validate_parser`; `args.rank` is set to the rank of this process.

    Returns:
        timm's keys: `top1`, `top5` (%), `param_count` (millions), `img_size` (pixels), ..

    Raises:
        UsageError: invalid options, data or weights.
    """
    import_modules(args.device_modules)
    check_backend(args.torchcompile)
    args.model = named_model(args.model)
    root = args.data_dir or args.data
    if not (args.pretrained or args.checkpoint):
        raise UsageError('no weights to validate: give --checkpoint FILE, or --pretrained')
    process = start_device(args.device)
    args.rank = process.rank
    autocast, _ = low_precision(args.amp, args.amp_dtype, process.device)
    precision = Precision(autocast, model_dtype(args.model_dtype), args.channels_last)
    model, recorded, notes = _load_network(args)
    config = data_config_of(vars(args), model, use_test_size=not args.use_train_size)
    channels, _, img_size = config['input_size']
    img_mode, more = choose_mode(channels, args.input_img_mode, recorded, args.model)
    dataset: Any = open_images(args, img_mode)
    num_outputs: Any = model.num_classes
    data = classes_of(dataset, mapped=bool(args.class_map))
    match = match_for_validation(recorded.label_names, num_outputs, data, args.checkpoint or args.model, root)
    for note in (*notes, *more, *match.notes):
        log_on_primary(_logger, note, logging.WARNING)
    arrange_outputs(model, match.order)
    param_count = sum(p.numel() for p in model.parameters())
    if args.reparam:
        model = reparameterize_model(model)
    model = to_device(model, process, precision)
    loader = create_loader(
        dataset,
        input_size=config['input_size'],
        batch_size=args.batch_size,
        interpolation=config['interpolation'],
        mean=config['mean'],
        std=config['std'],
        crop_pct=config['crop_pct'],
        crop_mode=config['crop_mode'],
        num_workers=default_workers() if args.workers is None else args.workers,
        pin_memory=args.pin_mem or process.device.type == 'cuda',
        device=process.device,
        img_dtype=precision.dtype or torch.float32,
        use_prefetcher=not args.no_prefetcher,
        distributed=process.distributed,
    )
    if args.torchcompile:
        model.compile(backend=args.torchcompile)
    metrics = evaluate(model, loader, process, precision)
    if process.distributed:
        torch.distributed.destroy_process_group()
    return {
        'model': args.model,
        **({'checkpoint': args.checkpoint} if args.checkpoint else {}),
        'top1': round(metrics['top1'], 4),
        'top1_err': round(100 - metrics['top1'], 4),
        'top5': round(metrics['top5'], 4),
        'top5_err': round(100 - metrics['top5'], 4),
        'loss': round(metrics['loss'], 5),
        'images': len(dataset),
        'param_count': round(param_count / 1e6, 2),
        'img_size': img_size,
        'crop_pct': config['crop_pct'],
        'interpolation': config['interpolation'],
    }


def _load_network(args: argparse.Namespace) -> tuple[nn.Module, Recorded, list[str]]:
    """The network with its weights, what is recorded of it, and what the user should know.

    Raises:
        UsageError: it cannot be loaded, or the weights are not exactly those of this network.
    """
    model_kwargs = dict(args.model_kwargs)
    if args.arch_file:
        if args.model != 'fpnas':
            raise UsageError(f'--arch-file {args.arch_file} is for --model fpnas, not {args.model}')
        model_kwargs['arch'] = read_arch_file(args.arch_file)
    recorded = recorded_of(args.model, args.checkpoint)
    refuse_multilabel(recorded.multilabel, args.checkpoint or args.model, 'and top-1 is for one')
    asked = channels_asked_for(args.in_chans, args.input_size, args.input_img_mode)
    num_classes = args.num_classes
    if num_classes is None and args.checkpoint:
        num_classes = recorded.num_classes
    of_file = recorded if args.checkpoint else Recorded()  # timm takes those of a folder by itself
    config = NetworkConfig(
        args.model, {**of_file.model_args, **model_kwargs}, num_classes, asked or recorded.in_chans, args.gp,
        pretrained=args.pretrained, pretrained_cfg_overlay=of_file.images, initial_checkpoint=args.checkpoint,
    )
    model = create_network(config)
    num_outputs, channels = (getattr(model, name) for name in ('num_classes', 'in_chans'))
    if not has_trained_classifier(model, config):
        trained: Any = model.pretrained_cfg
        trained = trained.get('num_classes')
        known = f': {listed(recorded.label_names)}' if recorded.label_names else ''
        raise UsageError(
            f'--num-classes {num_outputs}: the weights of {args.model} are for {trained} classes{known}, and a new '
            'classifier knows nothing: leave out --num-classes (images of some of its classes are enough)'
            if trained else f'{args.model} has no trained classifier: train it first'
        )
    notes = [] if args.checkpoint else check_conversion(recorded.in_chans, channels, args.model, for_training=False)
    if len(recorded.label_names) != num_outputs:
        recorded = replace(recorded, label_names=[])
    return model, recorded, notes
def open_images(args: argparse.Namespace, mode: str) -> Dataset:
    """The images to validate on, converted to a PIL mode; UsageError if there are none."""
    split = 'train' if args.val_images and args.split == 'validation' else args.split
    try:
        dataset = open_dataset(
            args.dataset, args.data_dir or args.data, split, args.img_extensions, class_map=args.class_map,
            input_img_mode=mode,
        )
    except NoSplitError as e:
        raise UsageError(
            f'{e}: --split NAME chooses another one; --val-images RUN/validation.txt validates on the images that '
            'a training run held out'
        ) from None
    if isinstance(dataset, StrictImages):
        dataset.again = 'start again'
    return listed_images(args.val_images, dataset, split) if args.val_images else dataset


@torch.inference_mode()
def evaluate(model: nn.Module, loader: Any, process: Process, precision: Precision) -> dict[str, float]:
    """Validate a model.

    Args:
        model: the network, on its device; set to eval mode.
        loader: a loader made by timm's `create_loader`, with or without its prefetcher.
        process: device and rank of this process.
        precision: precision of the forward pass.

    Returns:
        `loss` (cross-entropy), `top1` and `top5` (%) over all processes, each image counted once.
    """
    model.eval()
    limit = evaluation_sample_limit(loader) if process.distributed else None
    evaluator = ClassificationEvaluator(process.device, max_samples=limit)
    for images, target in progress(loader, 'validation', process.primary):
        images = images.to(device=process.device, dtype=precision.dtype, non_blocking=True)
        target = target.to(device=process.device, non_blocking=True)
        with precision.autocast():
            output = model(precision.layout(images))
        evaluator.update(output, target)
    return dict(evaluator.compute(distributed=process.distributed))


def evaluate_task(
        task: TrainingTask,
        loader: Any | None,
        process: Process,
        precision: Precision,
        average: bool = True,
        dist_bn: str = '',
) -> dict[str, float]:
    """Validate a task's weights and, if there is one, their moving average.

    Args:
        task: the task to validate.
        loader: the validation loader, if any.
        process: as in `evaluate`.
        precision: as in `evaluate`.
        average: also validate the moving average.
        dist_bn: how the average's batch statistics are shared between processes: 'reduce', 'broadcast' or ''.

    Returns:
        `eval_loss`, `eval_top1`, `eval_top5` of the weights. With a moving average, these are the values of the
        average, and `weights_loss`, .. those of the weights. Empty without a loader.
    """
    if loader is None:
        return {}
    weights = evaluate(eval_model(task), loader, process, precision)
    ema = task.get_trainable_module(ema=True)
    if ema is None or not average:
        return {f'eval_{k}': v for k, v in weights.items()}
    if process.distributed and dist_bn:
        utils.distribute_bn(ema, process.world_size, dist_bn == 'reduce')
    smoothed = evaluate(eval_model(task, ema=True), loader, process, precision)
    return {f'eval_{k}': v for k, v in smoothed.items()} | {f'weights_{k}': v for k, v in weights.items()}
