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
from collections.abc import Callable, Sequence

import numpy as np
import torch

from ..spaces import Choices, MBConvSpace
from ..spaces.budgets import Window
from ..spaces.costs import AdditiveCost, network_costs
from ..spaces.decode import InfeasibleError, decode

__all__ = ['Draw', 'WindowSampler', 'network_sampler']

Draw = Callable[[torch.Generator], Choices]  # an architecture at random
Preferences = list[dict[str, np.ndarray]]  # of each group and variable: one number per choice

MAX_UNITS = 20_000  # entries of the table of counts, per group and state
MAX_DRAWS = 2_000  # draws outside of the exact windows in a row, before a solver is asked
MAX_REJECTED = 200_000  # without a solver

_logger = logging.getLogger('search')


class WindowSampler:
    """Draws architectures, all that are within a window of an additive cost with equal probability.

    As in `SearchSpace.sample`, every combination of choices counts, also if two are the same network because a group
    is bypassed: the draws are those of `SearchSpace.sample` given that the cost is within the window.

    >>> from fpnas_timm.spaces import SearchSpace
    >>> from fpnas_timm.spaces.costs import tabulated
    >>> space = SearchSpace('cells', tuple({'width': tuple(range(10))} for _ in range(12)))
    >>> draw = WindowSampler(tabulated(space, lambda arch: sum(k for group in arch for k in group)), (104, 104))
    >>> sorted(k for group in draw(torch.Generator().manual_seed(0)) for k in group)  # one of 1,365 in 10 ** 12
    [8, 8, 8, 8, 9, 9, 9, 9, 9, 9, 9, 9]
    """

    def __init__(
            self,
            cost: AdditiveCost,
            window: Window,
            others: Sequence[tuple[AdditiveCost, Window]] = (),
            solve: Callable[[Preferences], Choices] | None = None,
    ) -> None:
        """
        Args:
            cost: the cost that is counted.
            window: smallest and largest cost allowed.
            others: more costs with their windows; draws that are not within them are drawn again.
            solve: a solver for windows with next to nothing in them: the architecture within all of them that has the
                largest sum of preferences; raises InfeasibleError if there is none.
        """
        self.space, self.budgets, self.solve = cost.space, [(cost, window), *others], solve
        self._combinations = [list(itertools.product(*(range(len(c)) for c in g.values()))) for g in self.space.groups]
        self._after = [
            np.array([cost.state(i, chosen) for chosen in combinations])
            for i, combinations in enumerate(self._combinations)
        ]
        # Of each group the cheapest cost is left out of the count, so that none is negative.
        tables = [np.array(table, dtype=float) for table in cost.tables]
        tables[-1] = tables[-1] + np.array(cost.tail)[self._after[-1] if len(cost.tail) > 1 else 0]
        least = [table.min() for table in tables]
        ends = cost.range()
        low, high = (min(max(end, ends[0]), ends[1]) - cost.constant - math.fsum(least) for end in window)
        # A draw costs up to one unit per group more than it costs rounded: with this unit, most are within the window.
        whole = all(float(c).is_integer() for table in tables for c in np.unique(table))
        smallest = 1.0 if whole else (ends[1] - ends[0]) / 1e9 or 1.0
        self.unit = max((high - low) / (3 * len(tables)), high / MAX_UNITS, smallest)
        self._units = [
            np.clip((table - base) / self.unit - 1e-9, 0, 2 * MAX_UNITS).astype(np.int64)
            for table, base in zip(tables, least)
        ]
        self._ways = self._count(math.floor(low / self.unit) - len(tables), math.floor(high / self.unit))
        self._is_rare = not self._ways[0].any() or window[1] < ends[0] or window[0] > ends[1]

    def _count(self, low: int, high: int) -> list[np.ndarray]:
        """Before each group and at the end: the number of ways on into the window, [state, units spent so far]."""
        size = max(high + 1, 0)
        counts = [np.zeros((self._after[-1].max() + 1, size))]
        counts[0][:, max(low, 0) :] = 1
        for units, after_each in zip(reversed(self._units), reversed(self._after)):
            ways = np.zeros((len(units), size))
            for before, spent in enumerate(units):
                pairs, numbers = np.unique(np.stack([after_each, spent]), axis=1, return_counts=True)
                for (after, more), number in zip(pairs.T, numbers):
                    if more < size:
                        ways[before, : size - more] += number * counts[0][after, more:]
            counts.insert(0, ways)
        return counts

    def __call__(self, generator: torch.Generator) -> Choices:
        """An architecture within the windows.

        Raises:
            InfeasibleError: there is none; or none was found and there is no solver.
        """
        if not self._is_rare:
            for _ in range(MAX_DRAWS if self.solve else MAX_REJECTED):
                arch = self._draw(generator)
                if self.allows(arch):
                    return arch
            if self.solve:
                self._is_rare = True
                _logger.warning(
                    'so few architectures have %s that the solver looks for them, with random preferences for the '
                    'choices: not all of them are equally likely', self._wanted()
                )
        if self.solve is None:
            raise InfeasibleError(f'no architecture of space {self.space.name!r} was found that has {self._wanted()}')
        return self.solve([
            {v: torch.rand(len(c), generator=generator, dtype=torch.float64).log().numpy() for v, c in group.items()}
            for group in self.space.groups
        ])

    def allows(self, arch: Choices) -> bool:
        """Whether an architecture is within the windows."""
        return all(low <= cost(arch) <= high for cost, (low, high) in self.budgets)

    def _wanted(self) -> str:
        return ' and '.join(f'{low:,.15g} to {high:,.15g} {cost.unit}' for cost, (low, high) in self.budgets)

    def _draw(self, generator: torch.Generator) -> Choices:
        """An architecture within the rounded window."""
        state = spent = 0
        arch = []
        for units, after_each, ways, combinations in zip(
            self._units, self._after, self._ways[1:], self._combinations
        ):
            after = spent + units[state]
            possible = np.flatnonzero(after < ways.shape[1])
            weights = ways[after_each[possible], after[possible]].cumsum()
            at = float(torch.rand((), generator=generator, dtype=torch.float64)) * weights[-1]
            drawn = int(possible[min(np.searchsorted(weights, at, side='right'), len(possible) - 1)])
            state, spent = int(after_each[drawn]), int(after[drawn])
            arch.append(combinations[drawn])
        return tuple(arch)


def network_sampler(
        space: MBConvSpace,
        macs: Window | None = None,
        params: Window | None = None,
        num_classes: int = 1000,
        in_chans: int = 3,
        others: Sequence[tuple[AdditiveCost, Window]] = (),
) -> WindowSampler:
    """Draws networks of a space, all that are within the windows with equal probability.

    Args:
        space: the search space.
        macs: smallest and largest multiply-adds allowed; None: any, if there is another window.
        params: smallest and largest number of parameters allowed; None: any.
        num_classes: number of outputs of the classifier, which counts towards both.
        in_chans: number of image channels.
        others: other costs of the space with their windows.

    Returns:
        The sampler; if there is no such network, the message of the error that it raises has the nearest values.

    Raises:
        ValueError: there is no window.
    """
    costs = zip(network_costs(space, num_classes, in_chans), (macs, params))
    budgets = [*((cost, window) for cost, window in costs if window is not None), *others]
    if not budgets:
        raise ValueError('expected a window of multiply-adds or of parameters')

    def solve(preferences: Preferences) -> Choices:
        return decode(space, preferences, macs, params, num_classes, in_chans, others).choices

    return WindowSampler(*budgets[0], budgets[1:], solve)
