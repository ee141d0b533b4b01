"""A space small enough to list all that it holds."""
import itertools

from fpnas_timm.arch import Conv
from fpnas_timm.spaces import MBConvSpace, Row


def tiny_space():
    """2 * 2 * 2 * 2 * 2 = 32 choices in the first group, 2 * 1 * 2 * 1 * 2 = 8 in the second."""
    rows = [
        Row((2, 3.5), (8, 16), repeat=2, stride=1, kernel=(0, 3), act=('re', 'sw'), splits=(0, 2)),
        Row((1,), (16, 24), repeat=1, stride=2, kernel=(0, 5), act=('hs',), splits=(1, 4)),
    ]
    return MBConvSpace.from_rows('tiny', Conv(3, 2, 8, 'sw'), rows, Conv(1, 1, 32, 'sw'), 32)


def everything(space):
    ranges = [[range(len(choices)) for choices in group.values()] for group in space.groups]
    return itertools.product(*(itertools.product(*group) for group in ranges))
