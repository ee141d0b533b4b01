"""How important the channels of a trained network are, from its weights."""
from collections.abc import Mapping, Sequence
from typing import cast

import torch

from ..model.blocks import ConvNormAct, MBConv
from ..model.network import FPNAS
from .layers import Unit

__all__ = ['block_importance', 'hidden_importance', 'stream_importance']


def hidden_importance(block: MBConv) -> torch.Tensor:
    """Importance of the expanded channels of a block (C,).

    The scale of the depthwise batch norm (largest over the splits) times the norm of the projection's column.
    """
    scale = torch.stack([cast(ConvNormAct, conv).bn.weight.abs() for conv in block.conv_dw]).amax(0)
    return scale * block.conv_pwl.conv.weight.flatten(1).norm(dim=0)


def block_importance(units: Sequence[Unit]) -> list[float]:
    """How much each block with a residual sum adds to the stream, relative to the mean over all of them."""
    sizes = [
        float(unit.layer.conv_pwl.bn.weight.norm() / unit.block.out_chs**0.5) if isinstance(unit.layer, MBConv) else 1.0
        for unit in units
    ]
    of_skips = [size for size, unit in zip(sizes, units) if unit.has_skip]
    mean = max(sum(of_skips) / max(len(of_skips), 1), 1e-12)
    return [size / mean for size in sizes]


def stream_importance(net: FPNAS, units: Sequence[Unit]) -> Mapping[int, torch.Tensor]:
    """Importance of the channels of each run of the residual stream: run -> (C,).

    What is written to a channel (scales of the batch norms) times how strongly it is read (norms of the columns of the
    convolutions that follow, each relative to that convolution's mean).
    """
    written: dict[int, list[torch.Tensor]] = {0: [net.stem.bn.weight]}
    read: dict[int, list[torch.Tensor]] = {}
    run = 0
    for unit in units:
        read.setdefault(run, []).append(_input_norms(unit))
        run = unit.run
        last = unit.layer.conv_pwl if isinstance(unit.layer, MBConv) else unit.layer
        written.setdefault(run, []).append(last.bn.weight)
    head = cast(ConvNormAct, net.conv_head)
    read.setdefault(run, []).append(head.conv.weight.flatten(1).norm(dim=0))
    importance = {}
    for run, scales in written.items():
        out = torch.stack([scale.square() for scale in scales]).sum(0).sqrt()
        uses = [norms / norms.mean().clamp_min(1e-12) for norms in read.get(run, [])]
        importance[run] = out * torch.stack(uses).square().sum(0).sqrt() if uses else out
    return importance


def _input_norms(unit: Unit) -> torch.Tensor:
    """How strongly a block reads each of its input channels (C,)."""
    layer = unit.layer
    if isinstance(layer, ConvNormAct):
        return layer.conv.weight.flatten(1).norm(dim=0)
    if isinstance(layer.conv_pw, ConvNormAct):
        weight = layer.conv_pw.conv.weight.flatten(1) * layer.conv_pw.bn.weight.unsqueeze(1)
        return (weight * hidden_importance(layer).unsqueeze(1)).norm(dim=0)
    return hidden_importance(layer)
