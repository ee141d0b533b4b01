"""Exact multiply-adds and parameters of an architecture, by arithmetic: no model is built, no torch is needed.

Multiply-adds are those of convolutions and linear layers at batch 1, the convention of the paper's tables (and what
fvcore counts as conv + linear); batch norm, pooling and activations are not among them. Parameters are all learnable
ones. `tests/test_cost.py` holds both to fvcore and to `sum(p.numel())`, to the last unit.
"""
from typing import NamedTuple

from .encoding import Arch, Block
from .sizes import attention_channels, expanded_channels, out_size

__all__ = ['Cost', 'block_cost', 'cost', 'group_costs']


class Cost(NamedTuple):
    """Multiply-adds (of one image) and learnable parameters."""

    macs: int
    params: int

    def __add__(self, other: 'Cost') -> 'Cost':  # type: ignore[override]
        return Cost(self.macs + other.macs, self.params + other.params)


def block_cost(block: Block, size: int) -> Cost:
    """Cost of one block.

    Args:
        block: as `Arch.blocks` lists them.
        size: height and width of its input, pixels.
    """
    in_chs, out_chs, kernel, stride, expansion, _, splits = block
    area = size * size
    out_area = ((size - 1) // stride + 1) ** 2
    if kernel == 0:
        if block.is_identity:
            return Cost(0, 0)
        return Cost(in_chs * out_chs * out_area, in_chs * out_chs + 2 * out_chs)
    expanded = expanded_channels(in_chs, expansion)
    macs = params = 0
    if expansion != 1:
        macs += in_chs * expanded * area
        params += in_chs * expanded + 2 * expanded
    branches = splits or 1
    macs += branches * kernel * kernel * expanded * out_area
    params += branches * (kernel * kernel + 2) * expanded
    if splits:
        reduced = attention_channels(expanded)
        weights = expanded * reduced * (1 + splits)
        macs += weights
        params += weights + reduced + splits * expanded
    macs += expanded * out_chs * out_area
    params += expanded * out_chs + 2 * out_chs
    return Cost(macs, params)


def group_costs(
        arch: Arch, img_size: int | None = None, num_classes: int = 1000, in_chans: int = 3
) -> dict[str, Cost]:
    """Cost of the stem, of each group (`groups.0`, ..), of the head convolution and of the classifier, in this order.

    Args:
        arch: the architecture.
        img_size: height and width of the input, pixels; the architecture's own if None.
        num_classes: outputs of the classifier; 0 has none.
        in_chans: channels of the input image.

    Raises:
        ValueError: `img_size` is below the network's total stride.
    """
    size = arch.img_size if img_size is None else img_size
    if size < arch.total_stride:
        raise ValueError(f'img_size {size} is too small: this network needs at least {arch.total_stride} pixels')
    stem, head = arch.stem, arch.head
    size = out_size(size, stem.stride)
    weights = in_chans * stem.kernel**2 * stem.channels
    costs = {'stem': Cost(weights * size * size, weights + 2 * stem.channels)}
    in_chs = stem.channels
    for i, g in enumerate(arch.groups):
        out_chs, kernel, expansion, act, splits = g.channels, g.kernel, g.expansion, g.act, g.splits
        macs, params = block_cost(Block(in_chs, out_chs, kernel, g.stride, expansion, act, splits), size)
        size = out_size(size, g.stride)
        if g.repeats > 1:  # the repeats are all alike
            again = block_cost(Block(out_chs, out_chs, kernel, 1, expansion, act, splits), size)
            macs += again.macs * (g.repeats - 1)
            params += again.params * (g.repeats - 1)
        costs[f'groups.{i}'] = Cost(macs, params)
        in_chs = out_chs
    weights = arch.groups[-1].channels * head.channels
    costs['head'] = Cost(weights * size * size, weights + 2 * head.channels)
    weights = head.channels * num_classes
    costs['classifier'] = Cost(weights, weights + num_classes)
    return costs


def cost(arch: Arch, img_size: int | None = None, num_classes: int = 1000, in_chans: int = 3) -> Cost:
    """Cost of the whole network; arguments as `group_costs`."""
    macs = params = 0
    for part in group_costs(arch, img_size, num_classes, in_chans).values():
        macs += part.macs
        params += part.params
    return Cost(macs, params)
