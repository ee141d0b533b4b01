"""Which expanded channels a narrower block keeps, chosen on images: those that the others replace worst.

Backward elimination: the channel is removed whose loss changes the block's output least once least squares has
adjusted the weights of the channels that are left. With the inputs' second moments G and the projection's weights W,
the error of removing channel i is |W_i|^2 / (G^-1)_ii (the optimal brain surgeon of Hassibi and Stork, 1992, for whole
channels).
"""
import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import cast

import torch
from torch import nn

from ..model.blocks import ConvNormAct, MBConv, to_fast_memory_format
from .layers import Unit
from .rows import apply_in_chunks, output_scale, random_rows

__all__ = ['channel_ranks', 'removal_ranks']

ROWS = 8_000  # pixels that the second moments are taken from
RIDGE = 1e-3  # relative to the mean square of the inputs
AT_ONCE = 0.02  # share of the channels that is removed before the errors are computed again


@torch.no_grad()
def channel_ranks(
        stem: nn.Module, units: Sequence[Unit], counts: Mapping[str, int], images: torch.Tensor
) -> dict[str, torch.Tensor]:
    """For each block that becomes narrower, how long each of its expanded channels is kept.

    Args:
        stem: stem of the source, in eval mode.
        units: blocks of the source, in eval mode.
        counts: name of a block -> the number of expanded channels to keep, for the blocks that become narrower.
        images: (B, C, H, W).

    Returns:
        Name of each of these blocks -> (C,), larger for channels that are removed later; used like an importance.
    """
    ranks = {}
    x = apply_in_chunks(stem, to_fast_memory_format(images))
    for unit in units:
        layer = unit.layer
        if unit.name in counts and isinstance(layer, MBConv):
            inputs = random_rows(apply_in_chunks(partial(hidden_of, layer), x), ROWS)
            weight = layer.conv_pwl.conv.weight.flatten(1).double() * output_scale(layer.conv_pwl.bn).unsqueeze(1)
            ranks[unit.name] = removal_ranks(inputs, weight, counts[unit.name])
        x = apply_in_chunks(layer, x)
    return ranks


def hidden_of(layer: MBConv, x: torch.Tensor) -> torch.Tensor:
    """What the projection of a block reads: (B, C, H, W) -> (B, expanded, H', W')."""
    x = layer.conv_pw(x)
    maps = [cast(ConvNormAct, conv)(x) for conv in layer.conv_dw]
    return layer.attn(maps) if layer.attn is not None else maps[0]


def removal_ranks(inputs: torch.Tensor, weight: torch.Tensor, keep: int) -> torch.Tensor:
    """Remove the inputs of a linear map one small share after another.

    Args:
        inputs: samples of the inputs (N, C), float64.
        weight: weights of the map (O, C), float64.
        keep: the number of inputs that stay.

    Returns:
        (C,): when each was removed, counted from 0; C for those that stay.
    """
    count = inputs.shape[1]
    centred = inputs - inputs.mean(0)
    gram = centred.T @ centred / len(centred)
    gram.diagonal().add_(RIDGE * gram.diagonal().mean().clamp_min(1e-12))
    inverse, weight = torch.linalg.inv(gram), weight.clone()
    ranks = torch.full((count,), float(count), dtype=torch.float64, device=inputs.device)
    alive = torch.arange(count, device=inputs.device)
    share = max(1, math.ceil(AT_ONCE * count))
    while len(alive) > keep:
        error = weight.square().sum(0) / inverse.diagonal().clamp_min(1e-12)
        gone = error.argsort()[: min(share, len(alive) - keep)]
        stay = torch.ones_like(alive, dtype=torch.bool)
        stay[gone] = False
        ranks[alive[gone]] = torch.arange(len(gone), device=gone.device, dtype=ranks.dtype) + count - len(alive)
        # what the removed channels did is moved to the others, and they leave the inverse (a Schur complement)
        block = torch.linalg.solve(inverse[gone][:, gone], inverse[gone][:, stay])
        weight = weight[:, stay] - weight[:, gone] @ block
        inverse = inverse[stay][:, stay] - inverse[stay][:, gone] @ block
        alive = alive[stay]
    return ranks
