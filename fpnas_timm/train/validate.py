"""Validation: loss and accuracy of a network over a data set, by timm's evaluator."""
import argparse
import importlib
from collections.abc import Callable
from typing import Any

import torch
from timm import utils
from timm.data import create_loader, resolve_data_config
from timm.task import TrainingTask
from timm.task.evaluator import ClassificationEvaluator, evaluation_sample_limit
from timm.utils import reparameterize_model
from torch import nn

from ..errors import UsageError
from ..runs.datasets import class_names, open_dataset
from ..runs.device import low_precision, model_dtype, start_device
from ..runs.options import read_arch_file
from ..runs.tracking import progress
from .data import check_classes
from .network import create_network

__all__ = ['evaluate', 'evaluate_epoch', 'validate']


def validate(args: argparse.Namespace) -> dict[str, Any]:
    """Validate as the options say; returns timm's keys: `top1`, `top5`, `param_count`, `img_size`, ..

    Raises:
        UsageError: the options, the data or the weights do not fit.
    """
    for module in args.device_modules or ():
        importlib.import_module(module)
    if args.arch_file:
        args.model, args.model_kwargs = 'fpnas', {**args.model_kwargs, 'arch': read_arch_file(args.arch_file)}
    if not (args.pretrained or args.checkpoint):
        raise UsageError('no weights to validate: give --checkpoint FILE, or --pretrained')
    device = start_device(args)
    asked_for = args.num_classes is not None
    # what only training has
    vars(args).update(drop=None, drop_path=None, drop_block=None, bn_momentum=None, bn_eps=None, pretrained_path=None)
    vars(args).update(pretrained_cfg_overlay={}, head_init_scale=None, head_init_bias=None, grad_checkpointing=False)
    args.initial_checkpoint = args.checkpoint
    model = create_network(args)
    config = resolve_data_config(vars(args), model=model, use_test_size=not args.use_train_size)
    config['input_size'] = (model.in_chans, *config['input_size'][1:])
    param_count = sum(p.numel() for p in model.parameters())
    if args.reparam:
        model = reparameterize_model(model)
    model.to(device=device, dtype=model_dtype(args))
    if args.channels_last:
        model.to(memory_format=torch.channels_last)
    dataset = open_dataset(
        args.dataset, args.data_dir or args.data, args.split, class_map=args.class_map,
        input_img_mode=args.input_img_mode or ('RGB' if model.in_chans == 3 else 'L'),
    )
    args.data_dir = args.data_dir or args.data
    check_classes(args, class_names(dataset), asked_for)
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
        device=device,
        img_dtype=model_dtype(args) or torch.float32,
        use_prefetcher=not args.no_prefetcher,
        distributed=args.distributed,
    )
    if args.torchcompile:
        model = torch.compile(model, backend=args.torchcompile)
    autocast, _ = low_precision(args, device)
    metrics = evaluate(model, loader, args, device, autocast)
    if args.distributed:
        torch.distributed.destroy_process_group()
    return {
        'model': args.model,
        'top1': round(metrics['top1'], 4),
        'top1_err': round(100 - metrics['top1'], 4),
        'top5': round(metrics['top5'], 4),
        'top5_err': round(100 - metrics['top5'], 4),
        'loss': round(metrics['loss'], 5),
        'images': len(dataset),
        'param_count': round(param_count / 1e6, 2),
        'img_size': config['input_size'][-1],
        'crop_pct': config['crop_pct'],
        'interpolation': config['interpolation'],
    }


@torch.inference_mode()
def evaluate(
        model: nn.Module,
        loader: Any,
        args: argparse.Namespace,
        device: torch.device,
        autocast: Callable[[], Any],
) -> dict[str, float]:
    """Validate a model.

    Args:
        model: on its device.
        loader: of timm's `create_loader`, with or without its prefetcher.
        args: `distributed`, `channels_last` and `model_dtype` are used.
        device: of the model.
        autocast: context of the forward pass.

    Returns:
        `loss` (cross-entropy), `top1` and `top5` (%) over all processes, each image counted once.
    """
    model.eval()
    limit = evaluation_sample_limit(loader) if args.distributed else None
    evaluator = ClassificationEvaluator(device, max_samples=limit)
    dtype = getattr(torch, args.model_dtype) if args.model_dtype else None
    for images, target in progress(loader, 'validation', utils.is_primary(args)):
        images, target = images.to(device=device, dtype=dtype), target.to(device=device)
        if args.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        with autocast():
            output = model(images)
        evaluator.update(output, target)
    return dict(evaluator.compute(distributed=args.distributed))


def evaluate_epoch(
        task: TrainingTask,
        loader: Any | None,
        args: argparse.Namespace,
        device: torch.device,
        autocast: Callable[[], Any],
) -> dict[str, float]:
    """Validate a task's weights and, if there is one, their moving average.

    Returns:
        `eval_loss`, `eval_top1`, `eval_top5`: the average's if there is one; then `weights_loss`, .. are the weights'.
        Nothing without a loader.
    """
    if loader is None:
        return {}
    weights = evaluate(task.get_eval_model(), loader, args, device, autocast)
    ema = task.get_trainable_module(ema=True)
    if ema is None or args.model_ema_force_cpu:
        return {f'eval_{k}': v for k, v in weights.items()}
    if args.distributed and args.dist_bn:
        utils.distribute_bn(ema, args.world_size, args.dist_bn == 'reduce')
    average = evaluate(task.get_eval_model(ema=True), loader, args, device, autocast)
    return {f'eval_{k}': v for k, v in average.items()} | {f'weights_{k}': v for k, v in weights.items()}
