"""Feature maps of many images as samples for least squares."""
from collections.abc import Callable
from typing import TypeAlias, cast

import torch
from torch import nn

__all__ = ['Forward', 'apply_in_chunks', 'output_scale', 'random_rows']

CHUNK = 64  # images at a time
SEED = 0  # of the pixels that are drawn: the same images always give the same weights
Forward: TypeAlias = Callable[[torch.Tensor], torch.Tensor]


def apply_in_chunks(layer: 'Forward | nn.Module', x: torch.Tensor) -> torch.Tensor:
    """The outputs of a layer for all images, some at a time."""
    return torch.cat([cast(Forward, layer)(part.clone()) for part in x.split(CHUNK)])


def random_rows(x: torch.Tensor, count: int) -> torch.Tensor:
    """Pixels of feature maps, in double precision.

    They are drawn at random: evenly spaced ones of maps whose width is a multiple of the spacing would always be of the
    same columns, for example of the border, whose values are others because of the zeros around the map.

    Args:
        x: (B, C, H, W).
        count: how many pixels at most.

    Returns:
        (N, C), N at most `count`; the same pixels for all maps of equal B, H and W.
    """
    rows = x.permute(0, 2, 3, 1).flatten(0, 2)
    if len(rows) > count:
        generator = torch.Generator().manual_seed(SEED)
        rows = rows[torch.randperm(len(rows), generator=generator)[:count].to(rows.device)]
    return rows.double()


def output_scale(norm: nn.BatchNorm2d) -> torch.Tensor:
    """The factors of a batch norm in eval mode (C,), in double precision."""
    return (norm.weight / (cast(torch.Tensor, norm.running_var) + norm.eps).sqrt()).double()
