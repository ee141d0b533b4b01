"""Validation: loss and accuracy over a loader, by timm's evaluator."""
import argparse
from collections.abc import Callable
from typing import Any

import torch
from timm import utils
from timm.task import TrainingTask
from timm.task.evaluator import ClassificationEvaluator, evaluation_sample_limit
from torch import nn

from .tracking import progress

__all__ = ['evaluate', 'evaluate_epoch']


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
