"""Fits the cut layers of a remapped network by least squares to what the source computes on some images.

Block by block, from the stem on: the batch norms take their statistics from the images, and each 1x1 convolution is
solved so that its batch norm's output is as close as can be to the source's channels that it stands for.
"""
import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import nn

from ..arch.sizes import expanded_channels
from ..model.blocks import ConvNormAct, to_fast_memory_format
from ..model.network import FPNAS
from .layers import Channels, Unit
from .rows import CHUNK, apply_in_chunks, output_scale, random_rows

__all__ = ['calibrated', 'fit_block', 'fit_conv', 'num_images_that_fit', 'repair']

MAX_ROWS = 50_000  # pixels that a layer is fitted to
RIDGES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # to choose from, relative to the mean square of the inputs
HELD_OUT = 5  # a fifth of the images chooses
MAX_VALUES = 1 << 28  # in one feature map of all images: 1 GB in float32


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
    y = apply_in_chunks(source.stem, y)
    x = calibrated(target.stem, x)
    done = 0
    for unit, i, out in zip(ours, matched, streams[1:]):
        if i is not None:
            while done <= i:  # the source up to the counterpart of this block
                y = apply_in_chunks(theirs[done].layer, y)
                done += 1
        x = fit_block(unit, x, None if i is None else y[:, out.index])
    while done < len(theirs):
        y = apply_in_chunks(theirs[done].layer, y)
        done += 1
    head, own = cast(ConvNormAct, source.conv_head), cast(ConvNormAct, target.conv_head)
    wanted = apply_in_chunks(lambda v: head.bn(head.conv(v)), y)[:, streams[-1].index]
    fit_conv(own, x, wanted)


def calibrated(layer: ConvNormAct, x: torch.Tensor) -> torch.Tensor:
    """Set the statistics of the layer's batch norm to those of these images; returns the layer's output."""
    z = apply_in_chunks(lambda v: layer.conv(layer.subsample(v)), x)
    _set_statistics(layer.bn, z)
    return apply_in_chunks(lambda v: layer.act(layer.bn(v)), z)


def _set_statistics(norm: nn.BatchNorm2d, z: torch.Tensor) -> None:
    var, mean = torch.var_mean(z.double(), (0, 2, 3), correction=0)
    cast(torch.Tensor, norm.running_mean).copy_(mean)
    cast(torch.Tensor, norm.running_var).copy_(var)


def fit_block(
        unit: Unit, x: torch.Tensor, wanted: torch.Tensor | None, max_rows: int = MAX_ROWS, calibrate: bool = True
) -> torch.Tensor:
    """Calibrate a block and fit its last convolution.

    Args:
        unit: the block.
        x: its inputs (B, C, H, W).
        wanted: its outputs, to fit to; None: only calibrate.
        max_rows: the number of pixels to fit to.
        calibrate: whether the batch norms before the last convolution take their statistics from `x`, as they will in
            training; else they keep those that the source had.

    Returns:
        The outputs of the fitted block.
    """
    run = calibrated if calibrate else apply_in_chunks
    layer = unit.layer
    if isinstance(layer, ConvNormAct):  # a 1x1 convolution, with an activation that cannot be undone
        return run(layer, x)
    hidden = x
    if isinstance(layer.conv_pw, ConvNormAct):
        hidden = run(layer.conv_pw, hidden)
    maps = [run(cast(ConvNormAct, conv), hidden) for conv in layer.conv_dw]
    hidden = maps[0]
    if layer.attn is not None:
        parts = [list(m.split(CHUNK)) for m in maps]
        hidden = torch.cat([layer.attn(list(some)) for some in zip(*parts)])
    shortcut = x if layer.has_skip else None
    if wanted is None or not layer.conv_pwl.bn.weight.any():  # nothing to follow, or a block that adds nothing
        z = calibrated(layer.conv_pwl, hidden)
    else:
        z = fit_conv(layer.conv_pwl, hidden, wanted if shortcut is None else wanted - shortcut, max_rows)
    return z if shortcut is None else z + shortcut


def fit_conv(layer: ConvNormAct, x: torch.Tensor, wanted: torch.Tensor, max_rows: int = MAX_ROWS) -> torch.Tensor:
    """Solve a 1x1 convolution so that its batch norm's output is close to what is wanted.

    Args:
        layer: the layer, with the weights to stay close to where the images do not say otherwise.
        x: its inputs (B, C, H, W).
        wanted: (B, O, H, W).
        max_rows: the number of pixels to fit to.

    Returns:
        The layer's output.
    """
    weight, mean_out = _solve(layer, x, wanted, max_rows)
    layer.conv.weight.copy_(weight.view_as(layer.conv.weight))
    z = apply_in_chunks(layer.conv, x)
    _set_statistics(layer.bn, z)
    spread = (cast(torch.Tensor, layer.bn.running_var) + layer.bn.eps).sqrt()
    layer.bn.weight.copy_(spread)
    layer.bn.bias.copy_(mean_out)
    return apply_in_chunks(lambda v: layer.act(layer.bn(v)), z)


def _solve(
        layer: ConvNormAct, x: torch.Tensor, wanted: torch.Tensor, max_rows: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The weights (O, C) and the means of the outputs (O,), by ridge regression; the ridge is chosen on other images.

    A late layer has as many inputs as there are pixels: how far its weights may be trusted depends on the data.
    """
    split = max(1, len(x) - len(x) // HELD_OUT)
    inputs, outputs = random_rows(x[:split], max_rows), random_rows(wanted[:split], max_rows)
    mean_in, mean_out = inputs.mean(0), outputs.mean(0)
    own = layer.conv.weight.flatten(1).double() * output_scale(layer.bn).unsqueeze(1)
    a = inputs - mean_in
    gram, cross = a.T @ a, a.T @ (outputs - mean_out - a @ own.T)
    if split < len(x):
        others = random_rows(x[split:], max_rows // HELD_OUT) - mean_in
        rest = random_rows(wanted[split:], max_rows // HELD_OUT) - mean_out - others @ own.T
    best, least = own, math.inf
    size = gram.diagonal().mean().clamp_min(1e-12)
    for ridge in RIDGES if split < len(x) else RIDGES[1:2]:
        change = torch.linalg.solve(gram + ridge * size * torch.eye(len(gram)).to(gram), cross).T
        error = float((rest - others @ change.T).square().sum()) if split < len(x) else 0.0
        if error < least:
            best, least = own + change, error
    return best, mean_out
