"""Widths and sizes derived from an architecture: rounded channels, and feature-map sizes after a stride."""


__all__ = ['attention_channels', 'expanded_channels', 'make_divisible', 'out_size']


def make_divisible(value: float, divisor: int = 8) -> int:
    """timm's `make_divisible` without torch: the nearest multiple (at least one), at most 10 % below `value`."""
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


def expanded_channels(in_chs: int, expansion: float) -> int:
    """Width of a block's depthwise convolutions in channels; `in_chs`, not rounded, if the expansion is 1."""
    return in_chs if expansion == 1 else make_divisible(in_chs * expansion)


def out_size(size: int, stride: int) -> int:
    """Height (or width) in pixels after a convolution with an odd kernel k, padding k // 2 and `stride`."""
    return (size - 1) // stride + 1


ATTENTION_RATIO = 0.25


def attention_channels(expanded: int) -> int:
    """Width of the reduction layer in Squeeze-Excite and Split-Attention, in channels."""
    return make_divisible(ATTENTION_RATIO * expanded)
