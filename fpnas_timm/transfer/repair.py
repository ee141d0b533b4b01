"""Fits the cut layers of a remapped network by least squares to what the source computes on some images.

Block by block, from the stem on: the batch norms take their statistics from the images, and each 1x1 convolution is
solved so that its batch norm's output is as close as can be to the source's channels that it stands for.
"""
from collections.abc import Callable, Iterator, Sequence
from typing import cast

import torch
from torch import nn

from ..arch.sizes import expanded_channels
from ..model.blocks import ConvNormAct, to_fast_memory_format
from ..model.network import FPNAS
from .layers import Channels, Unit

__all__ = ['num_images_that_fit', 'repair']

MAX_ROWS = 50_000  # pixels that a layer is fitted to
RIDGE = 1e-3  # relative to the mean square of the inputs
CHUNK = 64  # images at a time
MAX_VALUES = 1 << 28  # in one feature map of all images: 1 GB in float32
Forward = Callable[[torch.Tensor], torch.Tensor]


def num_images_that_fit(net: FPNAS, units: Sequence[Unit], height: int, width: int) -> int:
    """How many images of a size `repair` can use at once: its largest feature map is bounded by `MAX_VALUES`.

    Args:
        net: source or target.
        units: its blocks.
        height: height of the images in pixels.
        width: width of the images in pixels.
    """
    stride = net.arch.stem.stride
    largest = net.arch.stem.channels / stride**2
    for unit in units:
        block = unit.block
        inside = expanded_channels(block.in_chs, block.expansion) * (block.splits or 1)
        largest = max(largest, inside / stride**2)  # the expansion comes before the stride
        stride *= block.stride
    largest = max(largest, net.arch.head.channels / stride**2)
    return max(2, int(MAX_VALUES / (largest * height * width)))


@torch.no_grad()
def repair(
        source: FPNAS,
        target: FPNAS,
        theirs: Sequence[Unit],
        ours: Sequence[Unit],
        matched: Sequence[int | None],
        streams: Sequence[Channels],
        images: torch.Tensor,
) -> None:
    """Fit `target`, which has been remapped from `source`, in place.

    Args:
        source: the network to follow; in eval mode afterwards.
        target: the network to fit; in eval mode afterwards.
        theirs: blocks of the source.
        ours: blocks of the target.
        matched: for each block of the target the index of its counterpart.
        streams: channels of stem, blocks and head of the target, as channels of the source.
        images: (B, C, H, W).
    """
    source.eval()
    target.eval()
    x = y = to_fast_memory_format(images)
    y = _apply(source.stem, y)
    x = _calibrated(target.stem, x)
    done = 0
    for unit, i, out in zip(ours, matched, streams[1:]):
        if i is not None:
            while done <= i:  # the source up to the counterpart of this block
                y = _apply(theirs[done].layer, y)
                done += 1
        x = _fit_block(unit, x, None if i is None else y[:, out.index])
    while done < len(theirs):
        y = _apply(theirs[done].layer, y)
        done += 1
    head, own = cast(ConvNormAct, source.conv_head), cast(ConvNormAct, target.conv_head)
    wanted = _apply(lambda v: head.bn(head.conv(v)), y)[:, streams[-1].index]
    _fit_conv(own, x, wanted)


def _chunks(x: torch.Tensor) -> Iterator[torch.Tensor]:
    return iter(x.split(CHUNK))


def _apply(layer: Forward | nn.Module, x: torch.Tensor) -> torch.Tensor:
    """The outputs of a layer for all images, some at a time."""
    return torch.cat([cast(Forward, layer)(part.clone()) for part in _chunks(x)])


def _calibrated(layer: ConvNormAct, x: torch.Tensor) -> torch.Tensor:
    """Set the statistics of the layer's batch norm to those of these images; returns the layer's output."""
    z = _apply(lambda v: layer.conv(layer.subsample(v)), x)
    _set_statistics(layer.bn, z)
    return _apply(lambda v: layer.act(layer.bn(v)), z)


def _set_statistics(norm: nn.BatchNorm2d, z: torch.Tensor) -> None:
    var, mean = torch.var_mean(z.double(), (0, 2, 3), correction=0)
    cast(torch.Tensor, norm.running_mean).copy_(mean)
    cast(torch.Tensor, norm.running_var).copy_(var)


def _fit_block(unit: Unit, x: torch.Tensor, wanted: torch.Tensor | None) -> torch.Tensor:
    """Calibrate a block, fit its last convolution if `wanted` (its output) is given; returns its output."""
    layer = unit.layer
    if isinstance(layer, ConvNormAct):  # a 1x1 convolution, with an activation that cannot be undone
        return _calibrated(layer, x)
    hidden = x
    if isinstance(layer.conv_pw, ConvNormAct):
        hidden = _calibrated(layer.conv_pw, hidden)
    maps = [_calibrated(cast(ConvNormAct, conv), hidden) for conv in layer.conv_dw]
    hidden = maps[0]
    if layer.attn is not None:
        parts = [list(_chunks(m)) for m in maps]
        hidden = torch.cat([layer.attn(list(some)) for some in zip(*parts)])
    shortcut = x if layer.has_skip else None
    if wanted is None or not layer.conv_pwl.bn.weight.any():  # nothing to follow, or a block that adds nothing
        z = _calibrated(layer.conv_pwl, hidden)
    else:
        z = _fit_conv(layer.conv_pwl, hidden, wanted if shortcut is None else wanted - shortcut)
    return z if shortcut is None else z + shortcut


def _fit_conv(layer: ConvNormAct, x: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Solve a 1x1 convolution so that its batch norm's output is close to `wanted`; returns the layer's output."""
    inputs, outputs = _rows(x), _rows(wanted)
    mean_in, mean_out = inputs.mean(0), outputs.mean(0)
    a, b = inputs - mean_in, outputs - mean_out
    gram = a.T @ a
    # towards the weights that are there, not towards zero
    own = layer.conv.weight.flatten(1).double() * _scale(layer.bn).unsqueeze(1)
    gram.diagonal().add_(RIDGE * gram.diagonal().mean().clamp_min(1e-12))
    weight = own + torch.linalg.solve(gram, a.T @ (b - a @ own.T)).T
    layer.conv.weight.copy_(weight.view_as(layer.conv.weight))
    z = _apply(layer.conv, x)
    _set_statistics(layer.bn, z)
    spread = (cast(torch.Tensor, layer.bn.running_var) + layer.bn.eps).sqrt()
    layer.bn.weight.copy_(spread)
    layer.bn.bias.copy_(mean_out)
    return _apply(lambda v: layer.act(layer.bn(v)), z)


def _scale(norm: nn.BatchNorm2d) -> torch.Tensor:
    return (norm.weight / (cast(torch.Tensor, norm.running_var) + norm.eps).sqrt()).double()


def _rows(x: torch.Tensor) -> torch.Tensor:
    """(B, C, H, W) -> at most `MAX_ROWS` pixels (N, C), evenly spaced, in double precision."""
    rows = x.permute(0, 2, 3, 1).flatten(0, 2)
    step = -(-len(rows) // MAX_ROWS)
    return rows[::step].double()
