"""Exact multiply-adds and parameters of an architecture, computed from formulas without building a model or torch.

Multiply-adds are those of convolutions and linear layers at batch size 1, as in the paper's tables (fvcore's conv +
linear). Batch norm, pooling and activations are not counted. Parameters are all learnable parameters.
`tests/arch/test_cost.py` verifies that both equal the counts of fvcore and `sum(p.numel())`.
"""
from typing import NamedTuple

from .checks import ArchError
from .encoding import Arch, Block, Conv, Group
from .sizes import ImgSize, area, attention_channels, expanded_channels, hw, out_size, shown_size

__all__ = ['Cost', 'block_cost', 'conv_cost', 'cost', 'group_cost', 'group_costs']


class Cost(NamedTuple):
    """Multiply-adds (for one image) and learnable parameters."""

    macs: int
    params: int

    def __add__(self, other: 'Cost') -> 'Cost':  # type: ignore[override]
        return Cost(self.macs + other.macs, self.params + other.params)


def block_cost(block: Block, size: ImgSize, dilated: bool = False) -> Cost:
    """Cost of one block.

    Args:
        block: as `Arch.blocks` lists them.
        size: size of its input in pixels: one number for a square, or (height, width).
        dilated: dilation of the later blocks takes the place of its stride, so that the size stays.
    """
    in_chs, out_chs, kernel, stride, expansion, _, splits = block
    out_area = area(size if dilated else out_size(size, stride))
    if kernel == 0:
        if block.is_identity:
            return Cost(0, 0)
        return Cost(in_chs * out_chs * out_area, in_chs * out_chs + 2 * out_chs)
    expanded = expanded_channels(in_chs, expansion)
    macs = params = 0
    if expansion != 1:
        macs += in_chs * expanded * area(size)
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


def group_cost(group: Group, in_chs: int, size: ImgSize, dilated: bool = False) -> Cost:
    """Cost of a group: the first block has the stride, all other blocks are equal.

    Args:
        group: the group.
        in_chs: channels of its input.
        size: as in `block_cost`.
        dilated: as in `block_cost`, of the first block.
    """
    out_chs, kernel, expansion, act, splits = group.channels, group.kernel, group.expansion, group.act, group.splits
    first = block_cost(Block(in_chs, out_chs, kernel, group.stride, expansion, act, splits), size, dilated)
    if group.repeats == 1:
        return first
    after = size if dilated else out_size(size, group.stride)
    again = block_cost(Block(out_chs, out_chs, kernel, 1, expansion, act, splits), after)
    repeats = group.repeats - 1
    return Cost(first.macs + repeats * again.macs, first.params + repeats * again.params)


def conv_cost(conv: Conv, in_chs: int, size: ImgSize) -> Cost:
    """Cost of the stem or the head: a convolution and its batch norm.

    Args:
        conv: the convolution.
        in_chs: channels of its input.
        size: as in `block_cost`.
    """
    weights = in_chs * conv.kernel**2 * conv.channels
    return Cost(weights * area(out_size(size, conv.stride)), weights + 2 * conv.channels)


def _as_arch(arch: Arch | str | object) -> Arch:
    """An architecture from what people have: an `Arch`, its string, or a model that has one."""
    found = getattr(arch, 'arch', arch)
    if isinstance(found, Arch):
        return found
    if not isinstance(found, str):
        raise TypeError(f'arch: expected an Arch, an architecture string or a model of one; got {type(arch).__name__}')
    try:
        return Arch.parse(found)
    except ArchError as e:
        if not found.isidentifier():
            raise
        raise ArchError(
            f'{found!r} is not an architecture string; if it is the name of a model, fpnas_timm.zoo.resolve_arch'
            f'({found!r})[0] is its architecture'
        ) from e


def group_costs(
        arch: Arch | str, img_size: ImgSize | None = None, num_classes: int = 1000, in_chans: int = 3,
        output_stride: int = 32, global_pool: str = 'avg',
) -> dict[str, Cost]:
    """Cost of the stem, of each group (`groups.0`, ..), of the head convolution and of the classifier, in this order.

    Args:
        arch: the architecture, its string, or a model of this package.
        img_size: input size in pixels, as in `block_cost`; that of the architecture if None.
        num_classes: number of classifier outputs; 0 for no classifier.
        in_chans: number of image channels.
        output_stride: as in `FPNAS`: further strides become dilation; a model's own counts if `arch` is a model.
        global_pool: pooling before the classifier, by timm's name; likewise.

    Raises:
        ValueError: `img_size` is below the network's total stride.
        ArchError: `arch` is a text but not an architecture string.
    """
    output_stride = getattr(arch, 'output_stride', output_stride)
    global_pool = getattr(getattr(arch, 'global_pool', None), 'pool_type', global_pool)
    arch = _as_arch(arch)
    size = arch.img_size if img_size is None else img_size
    if min(hw(size)) < arch.total_stride:
        least = arch.total_stride
        raise ValueError(f'img_size {shown_size(size)} is too small: this network needs at least {least} pixels')
    costs = {'stem': conv_cost(arch.stem, in_chans, size)}
    in_chs, size, reduction = arch.stem.channels, out_size(size, arch.stem.stride), arch.stem.stride
    for i, group in enumerate(arch.groups):
        dilated = group.stride > 1 and reduction * group.stride > output_stride
        costs[f'groups.{i}'] = group_cost(group, in_chs, size, dilated)
        in_chs = group.channels
        if not dilated:
            size, reduction = out_size(size, group.stride), reduction * group.stride
    costs['head'] = conv_cost(arch.head, in_chs, size)
    pooled = 2 if global_pool.endswith('catavgmax') else 1  # two ways of pooling, one beside the other
    weights = pooled * arch.head.channels * num_classes
    costs['classifier'] = Cost(weights, weights + num_classes)
    return costs


def cost(
        arch: Arch | str, img_size: ImgSize | None = None, num_classes: int = 1000, in_chans: int = 3,
        output_stride: int = 32, global_pool: str = 'avg',
) -> Cost:
    """Cost of the whole network; arguments and errors as in `group_costs`.

    >>> arch = Arch.parse('i64-cn_k3_s2_c16_nsw-ir_r2_k3_s2_e3_c24_nre_sp2-cn_k1_c128_nsw')
    >>> cost(arch) == cost(str(arch))
    True
    >>> cost(arch)
    Cost(macs=3883328, params=148912)
    >>> cost(arch, img_size=96, num_classes=10)
    Cost(macs=8441408, params=21202)
    """
    macs = params = 0
    for part in group_costs(arch, img_size, num_classes, in_chans, output_stride, global_pool).values():
        macs += part.macs
        params += part.params
    return Cost(macs, params)
