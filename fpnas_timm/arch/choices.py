"""What a group may choose from. A new non-linearity or kernel is one line here.

The grammar of the string, its checks and hints, timm's layers and the pictures all follow from these tables.
"""
from typing import NamedTuple

__all__ = ['ACTS', 'KERNELS', 'SPLITS', 'Act']


class Act(NamedTuple):
    """A non-linearity.

    Args:
        layer: timm's name of it.
        label: what pictures call it.
        hatch: matplotlib's hatching of its boxes, different from the others'.
        near_misses: what users write instead of its letters, in lower case.
    """

    layer: str
    label: str
    hatch: str
    near_misses: tuple[str, ...] = ()


# Letters in the string (after `n`, those of timm's block notation) -> non-linearity; none has a cost.
ACTS: dict[str, Act] = {
    're': Act('relu', 'ReLU', '', ('relu',)),
    'sw': Act('swish', 'swish', '/////', ('swish', 'silu')),
    'hs': Act('hard_swish', 'hard-swish', '.....', ('hswish', 'hardswish')),
}
# Depthwise kernel -> colour of its boxes ('' is drawn in grey). 0 bypasses the group.
# Okabe and Ito's palette: told apart with any colour vision.
KERNELS: dict[int, str] = {0: '', 3: '#56B4E9', 5: '#E69F00', 7: '#009E73', 9: '#CC79A7', 11: '#F0E442'}
# Splits -> what pictures call them.
SPLITS: dict[int, str] = {0: 'no attention', 1: 'Squeeze-Excite', 2: '2 splits', 4: '4 splits'}
