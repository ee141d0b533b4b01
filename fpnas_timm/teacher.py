"""The teacher of a distillation: any timm model with weights, at its own input size and normalisation.

timm's `DistillationTeacher` normalises the student's images for the teacher; this one also resizes them, so that a
student at 128 pixels can have a teacher at 224. And it refuses a teacher of other classes, for which timm would
silently make a new, random classifier.
"""
from collections.abc import Sequence
from typing import Any

import timm
import torch
import torch.nn.functional as F
from timm.task.distillation import DistillationTeacher
from torch import nn

from .errors import UsageError

__all__ = ['Teacher', 'create_teacher']


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
