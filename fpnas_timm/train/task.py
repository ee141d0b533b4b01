"""The loss of a training run: classification, or distillation from a teacher with its own input size."""
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import timm
import torch
import torch.nn.functional as F
from timm.loss import create_classification_loss
from timm.task import ClassificationTask, FeatureDistillationTask, LogitDistillationTask, TrainingTask
from timm.task.distillation import DistillationTeacher
from torch import nn

from ..errors import UsageError, one_line
from ..runs.device import Process
from ..runs.imbalance import WeightedCrossEntropy
from ..runs.processes import log_on_primary
from ..weights.recorded import recorded_of, refuse_multilabel
from .classes import arrange_outputs, match_teacher

__all__ = [
    'Distillation', 'Teacher', 'create_criterion', 'create_task', 'create_teacher', 'eval_model', 'trainable_module',
]


_logger = logging.getLogger('train')


@dataclass(frozen=True)
class Distillation:
    """A teacher and what the student learns from it. None stands for timm's default."""

    teacher: str  # a pretrained timm model, 'local-dir:FOLDER' or 'hf-hub:REPO'
    matches: str = 'logit'  # or 'feature'
    loss_type: str = 'kl'  # loss between logits
    temperature: float = 4.0  # softmax temperature
    distill_loss_weight: float | None = None
    task_loss_weight: float | None = None  # weight of the label loss
    student_feature_dim: int | None = None
    teacher_feature_dim: int | None = None


class Teacher(DistillationTeacher):
    """A teacher that resizes the student's images to its own input size."""

    def __init__(self, model: nn.Module, device: torch.device, dtype: torch.dtype | None = None) -> None:
        super().__init__(model, device=device, dtype=dtype)
        self.requires_grad_(False)
        channels: Any = model.in_chans
        for name in ('mean_kd', 'std_kd'):  # different number of channels: their mean, as in timm
            values = getattr(self, name)
            if values.shape[1] != channels:
                setattr(self, name, values.mean().expand(1, channels, 1, 1).clone())
        self.input_size = tuple(_pretrained_cfg(model)['input_size'][-2:])

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
        classes: Sequence[str] = (),
        img_mode: str = '',
        matches: str = 'logit',
) -> Teacher:
    """Load a pretrained teacher.

    Args:
        name: a pretrained timm model, `local-dir:FOLDER` or `hf-hub:REPO`.
        student: the network to train.
        device: device of the teacher.
        dtype: dtype of the teacher's weights.
        classes: class names of the student's outputs; the teacher's are put into their order, by name.
        img_mode: PIL mode of the student's images; '' if unknown.
        matches: what the student learns: 'logit' or 'feature'; features do not need the same classes.

    Raises:
        UsageError: no such model, no weights, images of another kind, or classes that it does not know.
    """
    recorded = recorded_of(name)
    refuse_multilabel(recorded.multilabel and matches == 'logit', f'teacher {name}', "and the student for one (its "
                      'features can be matched: --kd-distill-type feature)')
    channels: Any = student.in_chans
    theirs = recorded.in_chans or 3
    if theirs != channels and (theirs, channels) != (3, 1):  # grey images: timm adds up the first convolution
        mode = f' ({recorded.img_mode})' if recorded.img_mode else ''
        raise UsageError(
            f'teacher {name} is for {theirs} image channel{"s" if theirs > 1 else ""}{mode}, the student for '
            f'{channels}: choose a teacher for {channels}, or give the student --in-chans {theirs}'
        )
    if recorded.img_mode and img_mode and theirs == channels and recorded.img_mode != img_mode:
        raise UsageError(
            f'teacher {name} is for {recorded.img_mode} images, the student for {img_mode}: give the student '
            f'--input-img-mode {recorded.img_mode}, or choose another teacher'
        )
    kwargs: dict[str, Any] = {'in_chans': channels} if recorded.in_chans or channels != 3 else {}
    try:
        model = timm.create_model(name, pretrained=True, **kwargs)
    except Exception as e:  # timm, the Hub and the file system raise many kinds of errors
        raise UsageError(f'teacher {name}: its weights cannot be loaded: {one_line(e)}') from None
    if matches == 'logit':
        num_outputs: Any = model.num_classes
        num_classes: Any = student.num_classes
        names = recorded.label_names if len(recorded.label_names) == num_outputs else []
        match = match_teacher(names, num_outputs, classes, num_classes, name)
        for note in match.notes:
            log_on_primary(_logger, note, logging.WARNING)
        arrange_outputs(model, match.order)
    return Teacher(model.to(device=device, dtype=dtype), device, dtype)


def _pretrained_cfg(model: nn.Module) -> dict[str, Any]:
    cfg: Any = model.pretrained_cfg
    return cfg


def create_criterion(loss: str, class_weights: Sequence[float] | None = None, **options: Any) -> nn.Module:
    """timm's classification loss.

    Args:
        loss: 'ce', 'bce', 'asl', 'poly' or 'jsd'.
        class_weights: weights of the classes, for 'ce' only.
        options: of timm's `create_classification_loss`.

    Raises:
        UsageError: incompatible options.
    """
    if class_weights is not None:
        if loss != 'ce':
            raise UsageError(f'--class-weights is for the cross-entropy, not --loss {loss}: use --balanced-sampling')
        soft = options.get('soft_targets', False)  # smoothed by the mixing already
        return WeightedCrossEntropy(class_weights, 0.0 if soft else options.get('smoothing', 0.0))
    try:
        return create_classification_loss(loss, **options)
    except ValueError as e:
        raise UsageError(f'--loss {loss}: {e}') from None


def create_task(
        model: nn.Module,
        criterion: nn.Module,
        process: Process,
        dtype: torch.dtype | None,
        data_config: Mapping[str, Any],
        distillation: Distillation | None = None,
        classes: Sequence[str] = (),
) -> TrainingTask:
    """Forward pass and loss: classification, or distillation of logits or features.

    Args:
        model: the network, on its device.
        criterion: the loss against the labels.
        process: provides the device; only rank 0 logs.
        dtype: dtype of the model (default: float32).
        data_config: how the images are read and normalised: `input_img_mode`, `mean` and `std`.
        distillation: the teacher and the distillation settings, if any.
        classes: class names of the model's outputs, matched with the teacher's.

    Raises:
        UsageError: the teacher cannot be loaded or does not match.
    """
    common: dict[str, Any] = dict(criterion=criterion, device=process.device, dtype=dtype, verbose=process.primary)
    if distillation is None:
        return ClassificationTask(model, **common)
    teacher = create_teacher(
        distillation.teacher, model, process.device, dtype, classes, data_config.get('input_img_mode', ''),
        distillation.matches,
    )
    common.update(
        distill_loss_weight=distillation.distill_loss_weight, task_loss_weight=distillation.task_loss_weight
    )
    task: TrainingTask
    if distillation.matches == 'logit':
        task = LogitDistillationTask(
            model, teacher, loss_type=distillation.loss_type, temperature=distillation.temperature, **common
        )
    else:
        task = FeatureDistillationTask(
            model, teacher, student_feature_dim=distillation.student_feature_dim,
            teacher_feature_dim=distillation.teacher_feature_dim, **common,
        )
    for name, values in (('student_mean', data_config['mean']), ('student_std', data_config['std'])):
        buffer = getattr(task, name)  # timm uses the model's values and ignores --mean and --std
        setattr(task, name, torch.tensor(values, device=buffer.device, dtype=buffer.dtype).view(1, -1, 1, 1))
    return task


def trainable_module(task: TrainingTask) -> nn.Module:
    """The module that a task trains, without the wrappers of torch.compile and DDP."""
    module = task.get_trainable_module()
    assert module is not None  # None is only possible with ema=True
    return module


def eval_model(task: TrainingTask, ema: bool = False) -> nn.Module:
    """The network to validate, with its weights or (`ema`) their moving average if the task has one."""
    model = task.get_eval_model(ema=ema)
    assert model is not None
    return model
