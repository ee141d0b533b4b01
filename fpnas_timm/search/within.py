"""Draws architectures uniformly among those within a budget, also where the window is narrow. Not in the paper.

The cost of a group depends on its own choices and on the channels before it, so an architecture is a path through a
layered graph (as in `spaces/decode.py`). Costs are rounded down to multiples of a unit, and the number of ways to go on
from each node to a total within the rounded window is counted from the last group to the first. Choices drawn in
proportion to these counts give every path within the rounded window the same probability. That window is wide enough
for whatever is lost in rounding, so it contains every architecture of the budget; what is outside of the exact window
is drawn again. Hence all architectures within the budget are equally likely (up to the precision of float64).
"""
import itertools
import logging
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from ..arch.cost import conv_cost, group_cost, group_costs
from ..arch.sizes import out_size
from ..spaces import Choices, MBConvSpace
from ..spaces.decode import decode
from ..spaces.mbconv import VARIABLES

__all__ = ['Draw', 'WindowSampler']

Draw = Callable[[torch.Generator], Choices]  # an architecture at random

MAX_UNITS = 20_000  # entries of the table of counts, per group and number of channels
MAX_DRAWS = 2_000  # draws outside of the exact window in a row, before the solver is asked

_logger = logging.getLogger('search')


class _Layer(NamedTuple):
    """A group: the combinations of those of its choices that cost something."""

    choices: list[tuple[int, ...]]  # of each combination: index of each variable's choice, 0 where it costs nothing
    after: np.ndarray  # of each combination: index of its channels
    macs: np.ndarray  # [index of the channels before the group, combination]


class WindowSampler:
    """Draws architectures of an `MBConvSpace`, all that are within a window of multiply-adds with equal probability.

    As in `SearchSpace.sample`, every combination of choices counts, also if two are the same network because a group
    is bypassed: the draws are those of `SearchSpace.sample` given that the cost is within the window.
    """

    def __init__(self, space: MBConvSpace, window: tuple[int, int], num_classes: int = 1000, in_chans: int = 3) -> None:
        """
        Args:
            space: the search space.
            window: smallest and largest multiply-adds allowed.
            num_classes: number of outputs of the classifier, which counts towards the multiply-adds.
            in_chans: number of image channels.
        """
        self.space, self.window = space, window
        self.num_classes, self.in_chans = num_classes, in_chans
        self.layers, self.fixed = _layers(space, num_classes, in_chans)
        low, high = (end - self.fixed for end in window)
        # A draw costs up to one unit per group more than it costs rounded: with this unit, most are within the window.
        self.unit = max(1.0, (high - low) / (3 * len(self.layers)), high / MAX_UNITS)
        self._units = [np.maximum(layer.macs / self.unit - 1e-9, 0).astype(np.int64) for layer in self.layers]
        self._ways = self._count(math.floor(low / self.unit) - len(self.layers), math.floor(high / self.unit))
        self._asks_solver = not self._ways[0].any()

    def _count(self, low: int, high: int) -> list[np.ndarray]:
        """Before each group and at the end: the number of ways on into the window, [channels, units spent so far]."""
        size = max(high + 1, 0)
        counts = [np.zeros((self.layers[-1].after.max() + 1, size))]
        counts[0][:, max(low, 0) :] = 1
        for layer, units in zip(reversed(self.layers), reversed(self._units)):
            ways = np.zeros((len(units), size))
            for before, spent in enumerate(units):
                pairs, numbers = np.unique(np.stack([layer.after, spent]), axis=1, return_counts=True)
                for (after, more), number in zip(pairs.T, numbers):
                    if more < size:
                        ways[before, : size - more] += number * counts[0][after, more:]
            counts.insert(0, ways)
        return counts

    def __call__(self, generator: torch.Generator) -> Choices:
        """An architecture within the window.

        Raises:
            InfeasibleError: there is none; the message has the nearest possible values.
        """
        if not self._asks_solver:
            for _ in range(MAX_DRAWS):
                arch, macs = self._draw(generator)
                if self.window[0] <= macs <= self.window[1]:
                    return arch
            self._asks_solver = True
            _logger.warning(
                'so few architectures have %s to %s multiply-adds that the solver looks for them, with random '
                'preferences for the choices: not all of them are equally likely', *(f'{end:,}' for end in self.window)
            )
        preferences = [
            {v: torch.rand(len(c), generator=generator, dtype=torch.float64).log().numpy() for v, c in group.items()}
            for group in self.space.groups
        ]
        found = decode(
            self.space, preferences, macs=self.window, num_classes=self.num_classes, in_chans=self.in_chans
        )
        return found.choices

    def _draw(self, generator: torch.Generator) -> tuple[Choices, int]:
        """An architecture within the rounded window, and its multiply-adds."""
        node = spent = macs = 0
        arch = []
        for layer, units, ways, group in zip(self.layers, self._units, self._ways[1:], self.space.groups):
            after = spent + units[node]
            possible = np.flatnonzero(after < ways.shape[1])
            weights = ways[layer.after[possible], after[possible]].cumsum()
            at = float(torch.rand((), generator=generator, dtype=torch.float64)) * weights[-1]
            drawn = int(possible[min(np.searchsorted(weights, at, side='right'), len(possible) - 1)])
            macs += int(layer.macs[node, drawn])
            node, spent = int(layer.after[drawn]), int(after[drawn])
            arch.append(tuple(
                index if variable.has_cost else int(torch.randint(len(choices), (), generator=generator))
                for variable, choices, index in zip(VARIABLES, group.values(), layer.choices[drawn])
            ))
        return tuple(arch), macs + self.fixed


def _layers(space: MBConvSpace, num_classes: int, in_chans: int) -> tuple[list[_Layer], int]:
    """The groups, and the multiply-adds of what has no choices: the stem and the classifier."""
    size = out_size(space.img_size, space.stem.stride)
    in_channels: tuple[int, ...] = (space.stem.channels,)
    layers = []
    for row in space.rows:
        options = row.variables
        costly = [range(len(options[v.name]) if v.has_cost else 1) for v in VARIABLES]
        combinations = list(itertools.product(*costly))
        groups = [row.group({n: c[i] for (n, c), i in zip(options.items(), chosen)}) for chosen in combinations]
        macs = [[group_cost(group, channels, size).macs for group in groups] for channels in in_channels]
        after = np.array([row.channels.index(group.channels) for group in groups])
        layers.append(_Layer(combinations, after, np.array(macs)))
        in_channels, size = row.channels, out_size(size, row.stride)
    heads = np.array([conv_cost(space.head, channels, size).macs for channels in in_channels])
    layers[-1] = layers[-1]._replace(macs=layers[-1].macs + heads[layers[-1].after])
    parts = group_costs(space.to_arch(tuple((0,) * len(g) for g in space.groups)), None, num_classes, in_chans)
    return layers, parts['stem'].macs + parts['classifier'].macs
