"""Widths and sizes derived from an architecture: rounded channels, and feature-map sizes after a stride."""
from typing import Any, TypeAlias, TypeVar

__all__ = [
    'ImgSize', 'area', 'attention_channels', 'expanded_channels', 'hw', 'make_divisible', 'out_size', 'shown_size',
    'simplest_size',
]

ImgSize: TypeAlias = int | tuple[int, int]  # pixels: of a square, or height and width
Size = TypeVar('Size', int, tuple[int, int], ImgSize)


def make_divisible(value: float, divisor: int = 8) -> int:
    """timm's `make_divisible` without torch: the nearest multiple (at least one), at most 10 % below `value`."""
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


def expanded_channels(in_chs: int, expansion: float) -> int:
    """Width of a block's depthwise convolutions in channels; `in_chs`, not rounded, if the expansion is 1."""
    return in_chs if expansion == 1 else make_divisible(in_chs * expansion)


def out_size(size: Size, stride: int) -> Size:
    """The size in pixels after a convolution with an odd kernel k, padding k // 2 and `stride`.

    >>> out_size(33, 2), out_size((33, 64), 2)
    (17, (17, 32))
    """
    if isinstance(size, tuple):
        return (size[0] - 1) // stride + 1, (size[1] - 1) // stride + 1
    return (size - 1) // stride + 1


def hw(size: ImgSize) -> tuple[int, int]:
    """Height and width."""
    return size if isinstance(size, tuple) else (size, size)


def area(size: ImgSize) -> int:
    """Number of pixels."""
    height, width = hw(size)
    return height * width


def simplest_size(size: Any) -> Any:
    """A pair of equal numbers as one number, a list as a tuple; anything else unchanged, also if it is no size.

    >>> simplest_size([96, 128]), simplest_size((96, 96)), simplest_size(96), simplest_size('96')
    ((96, 128), 96, 96, '96')
    """
    if not isinstance(size, (list, tuple)):
        return size
    return size[0] if len(size) == 2 and size[0] == size[1] else tuple(size)


def shown_size(size: ImgSize, between: str = 'x') -> str:
    """Text for messages.

    >>> shown_size(96), shown_size((96, 128)), shown_size((96, 128), ' x ')
    ('96', '96x128', '96 x 128')
    """
    return between.join(map(str, size)) if isinstance(size, tuple) else str(size)


ATTENTION_RATIO = 0.25


def attention_channels(expanded: int) -> int:
    """Width of the reduction layer in Squeeze-Excite and Split-Attention, in channels."""
    return make_divisible(ATTENTION_RATIO * expanded)
