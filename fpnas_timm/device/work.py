"""What a network has to do, by kind of operation: what measured times are explained with. Does not import torch.

A kind is a word such as 'pointwise'. Its amounts are in millions (of multiply-adds, elements or weights); those of
calls are whole numbers. Times are fitted as so many milliseconds per amount, for each group by itself (`latency_fit`).
"""
from collections import defaultdict
from collections.abc import Mapping

from ..arch import Block, Conv, Group
from ..arch.sizes import ImgSize, area, attention_channels, expanded_channels, out_size

__all__ = ['Work', 'block_work', 'conv_work', 'group_work']

Work = Mapping[str, float]  # kind -> amount

# Channels that the widest vector units work on at once. Runtimes that lay out images in blocks of so many channels pad
# to multiples of it; ONNX Runtime takes another way through a convolution whose input has fewer.
LANES = 16
MILLION = 1e6


def group_work(group: Group, in_chs: int, size: ImgSize) -> defaultdict[str, float]:
    """The work of a group for one image.

    Args:
        group: the group.
        in_chs: channels of its input.
        size: size of its input in pixels: one number for a square, or (height, width).

    >>> work = group_work(Group(repeats=1, kernel=3, stride=2, expansion=2, channels=16, act='re'), 8, 32)
    >>> work['pointwise'] == (8 * 16 * 32 ** 2 + 16 * 16 * 16 ** 2) / 1e6, work['depthwise k3 s2'] == 16 * 16 ** 2 / 1e6
    (True, True)
    """
    out_chs, rest = group.channels, (group.kernel, group.expansion, group.act, group.splits)
    kernel, expansion, act, splits = rest
    found = block_work(Block(in_chs, out_chs, kernel, group.stride, expansion, act, splits), size)
    if kernel and group.repeats > 1:
        again = block_work(Block(out_chs, out_chs, kernel, 1, expansion, act, splits), out_size(size, group.stride))
        for kind, amount in again.items():
            found[kind] += (group.repeats - 1) * amount
    return found


def block_work(block: Block, size: ImgSize) -> defaultdict[str, float]:
    """The work of one block for one image; arguments as in `arch.cost.block_cost`."""
    in_chs, out_chs, kernel, stride, expansion, act, splits = block
    work: defaultdict[str, float] = defaultdict(float)
    if block.is_identity:
        return work
    before, after = area(size), area(out_size(size, stride))
    if kernel == 0:
        _add_pointwise(work, in_chs, out_chs, after)
        work[f'activation {act}'] += out_chs * after / MILLION
        work['bypass calls'] += 1
        return work
    expanded, branches = expanded_channels(in_chs, expansion), splits or 1
    if expansion != 1:
        _add_pointwise(work, in_chs, expanded, before)
        work[f'activation {act}'] += expanded * before / MILLION
    maps = branches * expanded * after / MILLION
    work[f'depthwise k{kernel} s{stride}'] += maps
    work[f'activation {act}'] += maps
    work['maps, padded'] += branches * _padded(expanded) * after / MILLION
    work['depthwise calls'] += branches
    if splits:
        work['pool'] += maps
        work['scale' if splits == 1 else 'weigh'] += maps
        work['attention'] += expanded * attention_channels(expanded) * (1 + splits) / MILLION
        work[f'attention calls sp{splits}'] += 1
    _add_pointwise(work, expanded, out_chs, after)
    if stride == 1 and in_chs == out_chs:
        work['add'] += out_chs * after / MILLION
    return work


def conv_work(conv: Conv, in_chs: int, size: ImgSize) -> defaultdict[str, float]:
    """The work of the head convolution for one image; arguments as in `arch.cost.conv_cost`."""
    work: defaultdict[str, float] = defaultdict(float)
    after = area(out_size(size, conv.stride))
    _add_pointwise(work, in_chs, conv.channels, after)
    return work


def _add_pointwise(work: defaultdict[str, float], in_chs: int, out_chs: int, pixels: int) -> None:
    work['pointwise'] += in_chs * out_chs * pixels / MILLION
    work['pointwise, padded'] += _padded(in_chs) * _padded(out_chs) * pixels / MILLION
    if in_chs < LANES:
        work['pointwise, narrow'] += in_chs * _padded(out_chs) * pixels / MILLION
    work['elements'] += (in_chs + out_chs) * pixels / MILLION
    work['weights'] += in_chs * out_chs / MILLION
    work['pointwise calls'] += 1


def _padded(channels: int) -> int:
    return -(-channels // LANES) * LANES
