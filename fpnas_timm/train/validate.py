"""Validation: loss and accuracy of a network over a data set, by timm's evaluator."""
import argparse
import importlib
from typing import Any

import timm
import torch
from timm import utils
from timm.data import create_loader
from timm.task import TrainingTask
from timm.task.evaluator import ClassificationEvaluator, evaluation_sample_limit
from timm.utils import reparameterize_model
from torch import nn

from ..errors import UsageError
from ..runs.datasets import class_names, open_dataset
from ..runs.device import Precision, Process, low_precision, model_dtype, start_device
from ..runs.options import OptionGroup, read_arch_file
from ..runs.tracking import progress
from .data import check_classes, data_config_of
from .network import NetworkConfig, create_network, to_device
from .task import eval_model

__all__ = ['build_validate_parser', 'evaluate', 'evaluate_task', 'validate']


def build_validate_parser() -> argparse.ArgumentParser:
    """The parser of `fpnas validate`."""
    parser = argparse.ArgumentParser(
        prog='fpnas validate',
        description='Loss and accuracy of a network on images.',
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument('data', nargs='?', metavar='DIR', help='data folder, as --data-dir')
    add = OptionGroup(parser, 'data')
    add('--data-dir', None, 'data folder', metavar='DIR')
    add('--dataset', '', "timm's TYPE/NAME; an image folder if empty")
    add('--split', 'validation', 'name of the split')
    add('--class-map', '', 'file that maps class names to indices', metavar='FILE')
    add('--input-img-mode', None, "PIL mode that images are read in; 'RGB' for three channels, else 'L'")
    add('--img-size', None, "height and width of the images, pixels; the model's own if not given", type=int)
    add('--input-size', None, 'channels, height, width of the images', nargs=3, type=int)
    add('--in-chans', None, 'channels of the images; 3 if not given', type=int)
    add('--use-train-size', False, "not the model's test size, where it has one")
    add('--crop-pct', None, 'share of the image that the centre crop keeps', type=float)
    add('--crop-mode', None, "'center', 'squash' or 'border'")
    add('--mean', None, 'mean of the pixels, a channel', nargs='+', type=float)
    add('--std', None, 'standard deviation of the pixels, a channel', nargs='+', type=float)
    add('--interpolation', '', "interpolation; the model's own if empty")
    add('-b --batch-size', 256, 'images of a batch')
    add('-j --workers', 4, 'processes that load images')
    add('--pin-mem', False, 'pin the memory of the loader')
    add('--no-prefetcher', False, 'normalise images one by one, not in batches')
    add = OptionGroup(parser, 'model')
    add('-m --model', 'fpnas', "any model of timm's, `fpnas` with a string, or a `local-dir:` folder")
    add('--model-kwargs', {}, 'KEY=VALUE arguments of the model, such as arch=STRING', nargs='*',
        action=timm.utils.ParseKwargs)
    add('--arch-file', None, 'file with an architecture string: validates `fpnas` of it', metavar='FILE')
    add('--pretrained', False, "with the model's published weights, or the folder's")
    add('--checkpoint', '', "with these weights; a training checkpoint's moving average, if it has one", metavar='FILE')
    add('--num-classes', None, "outputs of the classifier; the model's own if not given", type=int)
    add('--gp', None, "global pooling; the model's own if not given")
    add('--reparam', False, 'fold the batch norms into the convolutions first')
    add = OptionGroup(parser, 'device')
    add('--device', 'cuda', 'cuda, cpu, mps, ..')
    add('--amp', False, 'mixed precision')
    add('--amp-dtype', 'float16', 'low precision of --amp', choices=('float16', 'bfloat16'))
    add('--model-dtype', None, 'precision of the whole model', choices=('float32', 'float16', 'bfloat16'))
    add('--channels-last', False, 'keep tensors in the channels_last memory format')
    add('--torchcompile', None, 'torch.compile with this backend', nargs='?', const='inductor')
    add('--device-modules', None, 'Python modules to import first', nargs='+')
    add('--results-file', '', 'write the result to this file, too (JSON)', metavar='FILE')
    return parser


def validate(args: argparse.Namespace) -> dict[str, Any]:
    """Validate as the options say.

    Args:
        args: of `build_validate_parser`; `rank` is set to that of this process.

    Returns:
        timm's keys: `top1`, `top5` (%), `param_count` (millions), `img_size` (pixels), ..

    Raises:
        UsageError: the options, the data or the weights do not fit.
    """
    for module in args.device_modules or ():
        importlib.import_module(module)
    name, model_kwargs, root = args.model, dict(args.model_kwargs), args.data_dir or args.data
    if args.arch_file:
        name, model_kwargs['arch'] = 'fpnas', read_arch_file(args.arch_file)
    if not (args.pretrained or args.checkpoint):
        raise UsageError('no weights to validate: give --checkpoint FILE, or --pretrained')
    process = start_device(args.device)
    args.rank = process.rank
    autocast, _ = low_precision(args.amp, args.amp_dtype, process.device)
    precision = Precision(autocast, model_dtype(args.model_dtype), args.channels_last)
    in_chans = args.in_chans if args.in_chans is not None else (args.input_size or [3])[0]
    model = create_network(NetworkConfig(
        name, model_kwargs, args.num_classes, in_chans, args.gp, pretrained=args.pretrained,
        initial_checkpoint=args.checkpoint,
    ))
    config = data_config_of(vars(args), model, use_test_size=not args.use_train_size)
    channels, _, img_size = config['input_size']
    param_count = sum(p.numel() for p in model.parameters())
    num_outputs: Any = model.num_classes
    if args.reparam:
        model = reparameterize_model(model)
    model = to_device(model, process, precision)
    dataset: Any = open_dataset(
        args.dataset, root, args.split, class_map=args.class_map,
        input_img_mode=args.input_img_mode or ('RGB' if channels == 3 else 'L'),
    )
    check_classes(num_outputs, class_names(dataset), args.num_classes is not None, root)
    loader = create_loader(
        dataset,
        input_size=config['input_size'],
        batch_size=args.batch_size,
        interpolation=config['interpolation'],
        mean=config['mean'],
        std=config['std'],
        crop_pct=config['crop_pct'],
        crop_mode=config['crop_mode'],
        num_workers=args.workers,
        pin_memory=args.pin_mem,
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
        'model': name,
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


@torch.inference_mode()
def evaluate(model: nn.Module, loader: Any, process: Process, precision: Precision) -> dict[str, float]:
    """Validate a model.

    Args:
        model: on its device; set to evaluation mode.
        loader: of timm's `create_loader`, with or without its prefetcher.
        process: this one of those that share the images.
        precision: of the forward pass.

    Returns:
        `loss` (cross-entropy), `top1` and `top5` (%) over all processes, each image counted once.
    """
    model.eval()
    limit = evaluation_sample_limit(loader) if process.distributed else None
    evaluator = ClassificationEvaluator(process.device, max_samples=limit)
    for images, target in progress(loader, 'validation', process.primary):
        images, target = images.to(device=process.device, dtype=precision.dtype), target.to(device=process.device)
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
        task: after an epoch.
        loader: of the validation images, if there are any.
        process: as for `evaluate`.
        precision: as for `evaluate`.
        average: whether to validate the moving average, too.
        dist_bn: how the average's batch statistics are shared between processes: 'reduce', 'broadcast' or ''.

    Returns:
        `eval_loss`, `eval_top1`, `eval_top5`: of the average if there is one; then `weights_loss`, .. are those of the
        weights. Empty without a loader.
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
