"""Balanced sampling of the training images: every class equally often, for data with rare classes."""
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from torch.utils.data import Sampler

from ..runs.imbalance import draw_balanced

__all__ = ['BalancedSampler', 'use_balanced_sampling']


class BalancedSampler(Sampler[int]):
    """Image indices of an epoch, drawn with replacement, every class with the same probability.

    An epoch has as many images as without it. The draws depend on seed and epoch only, so that a resumed run draws the
    same; each process takes every `world_size`-th of them.
    """

    def __init__(self, targets: Sequence[int], seed: int, rank: int = 0, world_size: int = 1) -> None:
        """
        Args:
            targets: the class of every image.
            seed: random seed.
            rank: rank of this process.
            world_size: number of processes.
        """
        self.targets = targets
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Call this before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-len(self.targets) // self.world_size)

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng((self.seed, self.epoch))
        drawn = draw_balanced(self.targets, len(self) * self.world_size, rng)
        return iter(drawn[self.rank :: self.world_size])


def use_balanced_sampling(loader: Any, targets: Sequence[int], seed: int, rank: int, world_size: int) -> None:
    """Replace the sampler of a loader made by timm's `create_loader`, which takes none; arguments as above."""
    loader.batch_sampler.sampler = BalancedSampler(targets, seed, rank, world_size)
