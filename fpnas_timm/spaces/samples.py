"""Random networks of a space, with their costs."""
import random
from typing import NamedTuple

from ..arch import Arch
from ..arch.cost import Cost, cost
from .mbconv import MBConvSpace

__all__ = ['Sampled', 'sample_costs']


class Sampled(NamedTuple):
    """A network and its cost."""

    arch: Arch
    cost: Cost


def sample_costs(
        space: MBConvSpace, count: int, seed: int = 0, num_classes: int = 1000, in_chans: int = 3
) -> list[Sampled]:
    """Networks drawn uniformly over the choices of a space.

    >>> from fpnas_timm.spaces import get_space
    >>> [found.cost.macs for found in sample_costs(get_space('fpnas_l0'), 2)]
    [313619008, 358050936]
    """
    rng = random.Random(seed)
    archs = [space.sample_arch(rng) for _ in range(count)]
    return [Sampled(arch, cost(arch, None, num_classes, in_chans)) for arch in archs]
