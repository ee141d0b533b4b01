"""Tables of the choices of a group. To add a non-linearity or a kernel, add one line here.

The grammar of the string, its checks and hints, the layers of the network and the pictures use these tables.
"""
from typing import NamedTuple

__all__ = ['ACTS', 'KERNELS', 'SPLITS', 'Act']


class Act(NamedTuple):
    """A non-linearity.

    Attributes:
        layer: timm's name of the activation layer.
        label: label in pictures.
        hatch: matplotlib hatching of its boxes in pictures; must be unique.
        near_misses: common misspellings in lower case, for hints in error messages.
    """

    layer: str
    label: str
    hatch: str
    near_misses: tuple[str, ...] = ()


# Letters in the string after `n` (as in timm's block notation) -> non-linearity. Non-linearities have no cost.
ACTS: dict[str, Act] = {
    're': Act('relu', 'ReLU', '', ('relu',)),
    'sw': Act('swish', 'swish', '/////', ('swish', 'silu')),
    'hs': Act('hard_swish', 'hard-swish', '.....', ('hswish', 'hardswish')),
    'r6': Act('relu6', 'ReLU6', 'xxxxx', ('relu6',)),
}
# Depthwise kernel size -> colour of its boxes ('' for grey). 0 bypasses the group.
# The palette of Okabe and Ito, which is suitable for colour-blind readers.
KERNELS: dict[int, str] = {0: '', 3: '#56B4E9', 5: '#E69F00', 7: '#009E73', 9: '#CC79A7', 11: '#F0E442'}
# Splits -> label in pictures.
SPLITS: dict[int, str] = {0: 'no attention', 1: 'Squeeze-Excite', 2: '2 splits', 4: '4 splits'}
