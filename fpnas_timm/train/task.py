"""The loss of a training run: classification, or distillation from a teacher at its own input size."""
import argparse
from collections.abc import Iterable, Sequence
from typing import Any

import timm
import torch
import torch.nn.functional as F
from timm.loss import create_classification_loss
from timm.task import ClassificationTask, FeatureDistillationTask, LogitDistillationTask, TrainingTask
from timm.task.distillation import DistillationTeacher
from torch import nn

from ..errors import UsageError
from ..runs.device import model_dtype

__all__ = ['Teacher', 'create_task', 'create_teacher', 'learning_rate', 'loss_scale']


class Teacher(DistillationTeacher):
    """A teacher that sees the student's images at its own size."""

    def __init__(self, model: nn.Module, device: torch.device, dtype: torch.dtype | None = None) -> None:
        super().__init__(model, device=device, dtype=dtype)
        self.requires_grad_(False)
        for name in ('mean_kd', 'std_kd'):  # images of other channels than the weights were made for: as timm's loader
            values = getattr(self, name)
            if values.shape[1] != model.in_chans:
                setattr(self, name, values.mean().expand(1, model.in_chans, 1, 1).clone())
        self.input_size = tuple(model.pretrained_cfg['input_size'][-2:])

    def forward(self, input: torch.Tensor, return_features: bool = False) -> torch.Tensor:
        """Images (B, C, H, W) of any size, normalised for the teacher -> logits, or pooled features."""
        if tuple(input.shape[-2:]) != self.input_size:
            input = F.interpolate(input, self.input_size, mode='bicubic', antialias=True)
        return super().forward(input, return_features)


def create_teacher(
        name: str,
        student: nn.Module,
        device: torch.device,
        dtype: torch.dtype | None = None,
        classes: Sequence[str] | None = None,
) -> Teacher:
    """Load a teacher with its weights.

    Args:
        name: a timm model with weights, `local-dir:FOLDER` or `hf-hub:REPO`.
        student: the network to train.
        device: where the teacher goes.
        dtype: of its weights.
        classes: the data's class names in order, to compare with the teacher's where it knows them.

    Raises:
        UsageError: no such model, no weights, or other classes than the student's.
    """
    kwargs: dict[str, Any] = {} if student.in_chans == 3 else {'in_chans': student.in_chans}
    try:
        model = timm.create_model(name, pretrained=True, **kwargs)
    except Exception as e:  # timm, the hub and the disk raise many kinds
        reason = ' '.join(str(e).split()) or type(e).__name__
        raise UsageError(f'teacher {name}: its weights cannot be loaded: {reason}') from None
    if model.num_classes != student.num_classes:
        raise UsageError(
            f'teacher {name} knows {model.num_classes} classes, the student {student.num_classes}: it must have been '
            'trained on the same classes (train it first, then --kd-model-name local-dir:RUN/export)'
        )
    names = model.pretrained_cfg.get('label_names')
    if names and classes and len(names) == len(classes) and list(names) != list(classes):
        i = next(i for i, (a, b) in enumerate(zip(names, classes)) if a != b)
        raise UsageError(
            f"teacher {name}: its class {i} is {names[i]!r}, the data's is {classes[i]!r}: same classes, same order"
        )
    return Teacher(model.to(device=device, dtype=dtype), device, dtype)


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
