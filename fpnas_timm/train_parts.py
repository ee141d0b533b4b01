"""What a training run is made of besides its data, each from timm's parts: network, loss, task.

The order of the calls in `train.py` is that of timm's script, so that the same seed draws the same numbers.
"""
import argparse
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import timm
import torch
from timm.layers import convert_splitbn_model, convert_sync_batchnorm
from timm.loss import create_classification_loss
from timm.models import load_checkpoint
from timm.task import ClassificationTask, FeatureDistillationTask, LogitDistillationTask, TrainingTask
from torch import nn

from .checkpoints import arch_in
from .errors import UsageError
from .teacher import create_teacher
from .train_data import model_dtype

__all__ = ['create_network', 'create_task', 'learning_rate', 'loss_scale', 'to_device']


def create_network(args: argparse.Namespace) -> nn.Module:
    """The model that the options name, with the weights that they name; `args.num_classes` becomes the model's.

    Raises:
        UsageError: an unknown model, an argument that it does not take, weights that are not there or do not fit.
    """
    in_chans = args.in_chans if args.in_chans is not None else (args.input_size or [3])[0]
    overlay = dict(args.pretrained_cfg_overlay)
    if args.pretrained_path:  # timm's way: as if these were the published weights, with another head
        _check_file(args.pretrained_path)
        overlay = {'file': args.pretrained_path, 'num_classes': -1, **overlay}
    try:
        model = timm.create_model(
            args.model,
            pretrained=args.pretrained or bool(args.pretrained_path),
            in_chans=in_chans,
            num_classes=args.num_classes,
            drop_rate=args.drop,
            drop_path_rate=args.drop_path,
            drop_block_rate=args.drop_block,
            global_pool=args.gp,
            bn_momentum=args.bn_momentum,
            bn_eps=args.bn_eps,
            **({'pretrained_cfg_overlay': overlay} if overlay else {}),
            **args.model_kwargs,
        )
    except Exception as e:  # a model's own checks raise many kinds
        reason = ' '.join(str(e).split()) or type(e).__name__
        if 'Unknown model' in reason:
            close = get_close_matches(args.model, timm.list_models(), n=1)
            reason = f'no model of timm or of {args.device_modules or "this package"} has this name' + (
                f'; did you mean {close[0]}?' if close else ''
            )
        raise UsageError(f'--model {args.model}: {reason}') from None
    if args.initial_checkpoint:
        _check_file(args.initial_checkpoint)
        try:
            load_checkpoint(model, args.initial_checkpoint)
        except Exception as e:  # damaged, of another network, not a checkpoint
            theirs = _arch_of_file(args.initial_checkpoint)
            hint = f'; it is of {theirs}' if theirs else ''
            reason = ' '.join(str(e).split())[:400]
            raise UsageError(f'{args.initial_checkpoint}: {reason}{hint}') from None
    classifier = model.get_classifier()
    with torch.no_grad():
        if args.head_init_scale is not None:
            classifier.weight.mul_(args.head_init_scale)
            classifier.bias.mul_(args.head_init_scale)
        if args.head_init_bias is not None:
            classifier.bias.fill_(args.head_init_bias)
    args.num_classes = model.num_classes
    if args.grad_checkpointing:
        model.set_grad_checkpointing(enable=True)
    return model


def to_device(model: nn.Module, args: argparse.Namespace, device: torch.device) -> nn.Module:
    """The model on its device, in its precision and memory format, with the batch norms that were asked for."""
    if args.split_bn:
        model = convert_splitbn_model(model, max(args.aug_splits, 2))
    model.to(device=device, dtype=model_dtype(args))
    if args.channels_last:
        model.to(memory_format=torch.channels_last)
    if args.distributed and args.sync_bn:
        if device.type == 'cpu':
            raise UsageError('--sync-bn: torch synchronises batch norms on GPUs only; leave it out on a CPU')
        args.dist_bn = ''  # there is nothing left to distribute
        model = convert_sync_batchnorm(model)
    return model


def create_task(
        args: argparse.Namespace,
        model: nn.Module,
        data_config: dict[str, Any],
        soft_targets: bool,
        device: torch.device,
        classes: Iterable[str] = (),
) -> TrainingTask:
    """Forward pass and loss: classification, or distillation of logits or features.

    Args:
        args: the options.
        model: on its device.
        data_config: how the images are normalised.
        soft_targets: whether mixup makes them.
        device: of the task.
        classes: the data's class names, to compare with the teacher's.

    Raises:
        UsageError: options of the loss that do not go together, or a teacher that does not fit.
    """
    loss = args.loss or ('jsd' if args.jsd_loss else 'bce' if args.bce_loss else 'ce')
    bce = dict(pos_weight=args.bce_pos_weight, bce_target_thresh=args.bce_target_thresh, bce_sum=args.bce_sum)
    try:
        criterion = create_classification_loss(
            loss,
            smoothing=args.smoothing,
            soft_targets=soft_targets,
            jsd_splits=args.aug_splits if loss == 'jsd' else 0,
            **(bce if loss == 'bce' else {}),
        )
    except ValueError as e:
        raise UsageError(f'--loss {loss}: {e}') from None
    common = dict(criterion=criterion, device=device, dtype=model_dtype(args), verbose=args.rank == 0)
    if args.kd_model_name is None:
        return ClassificationTask(model, **common)
    teacher = create_teacher(args.kd_model_name, model, device, model_dtype(args), list(classes))
    common.update(distill_loss_weight=args.distill_loss_weight, task_loss_weight=args.task_loss_weight)
    if args.kd_distill_type == 'logit':
        task: TrainingTask = LogitDistillationTask(
            model, teacher, loss_type=args.kd_loss_type, temperature=args.kd_temperature, **common
        )
    else:
        task = FeatureDistillationTask(
            model, teacher, student_feature_dim=args.kd_student_feature_dim,
            teacher_feature_dim=args.kd_teacher_feature_dim, **common,
        )
    for name, values in (('student_mean', data_config['mean']), ('student_std', data_config['std'])):
        buffer = getattr(task, name)  # timm takes the model's own, whatever --mean and --std say
        setattr(task, name, torch.tensor(values, device=buffer.device, dtype=buffer.dtype).view(1, -1, 1, 1))
    return task


def learning_rate(args: argparse.Namespace, mean_batch_size: float) -> float:
    """`--lr`, or `--lr-base` scaled to the global batch."""
    if args.lr:
        return args.lr
    ratio = mean_batch_size * args.world_size * args.grad_accum_steps / args.lr_base_size
    scale = args.lr_base_scale or ('sqrt' if any(o in args.opt.lower() for o in ('ada', 'lamb')) else 'linear')
    return args.lr_base * (ratio**0.5 if scale == 'sqrt' else ratio)


def loss_scale(args: argparse.Namespace, batch_size: int, mean_batch_size: float) -> float:
    """`--variable-batch-loss-scale`: the factor on the gradients of a batch of another size than the mean."""
    if args.train_img_sizes is None or args.variable_batch_loss_scale == 'none':
        return 1.0
    ratio = batch_size / mean_batch_size
    return ratio**0.5 if args.variable_batch_loss_scale == 'sqrt' else ratio


def _check_file(path: str) -> None:
    if not Path(path).is_file():
        raise UsageError(f'{path}: no such file of weights')


def _arch_of_file(path: str) -> str | None:
    try:
        state = torch.load(path, map_location='cpu', weights_only=True)
        return arch_in(state)
    except Exception:  # not one of ours
        return None
