"""The expected cost of a distribution in closed form, and its variance: no samples, no noise.

The groups of an architecture are independent. The cost of group l depends on its own choices and on the state of the
group before, such as its channels (`spaces.costs`). So, with P_l(c) the probability of a combination of choices, P_l(s)
that of a state and T_l the tables,

    E[C] = constant + sum_l sum_s sum_c P_{l-1}(s) P_l(c) T_l[s, c].

Terms of groups that are not neighbours are independent, so the variance is the sum of the terms' variances and of twice
the covariances of neighbours. Everything is differentiable with respect to alpha, in double precision.
"""
import math
from typing import NamedTuple

import torch
import torch.nn.functional as F

from ..spaces.costs import AdditiveCost
from .distribution import Distribution

__all__ = ['ExpectedCost', 'Moments']


class Moments(NamedTuple):
    """Mean and variance of a cost, and what each combination of choices changes.

    Attributes:
        mean: E[C], a scalar.
        variance: Var[C], a scalar.
        shift: E[C | group l has combination c] - E[C], shape (groups, combinations).
    """

    mean: torch.Tensor
    variance: torch.Tensor
    shift: torch.Tensor


class ExpectedCost:
    """The moments of one additive cost under distributions over its space.

    Args:
        cost: the cost.
    """

    def __init__(self, cost: AdditiveCost) -> None:
        groups = cost.space.groups
        sizes = [math.prod(map(len, group.values())) for group in groups]
        states = [len(table) for table in cost.tables] + [len(cost.tail)]
        self.cost = cost
        # What comes after the last group is one more group, of a single combination. Rows and columns are padded by 0.
        shape = len(groups) + 1, max(states), max(sizes)
        self.tables = torch.zeros(shape, dtype=torch.float64)
        self.leads = torch.zeros(shape, dtype=torch.float64)  # leads[l, s, c]: combination c of group l - 1 ends in s
        for i, table in enumerate((*cost.tables, [[t] for t in cost.tail])):
            self.tables[i, : len(table), : len(table[0])] = torch.tensor(table, dtype=torch.float64)
        self.squares = self.tables.square()
        self.leads[0, 0, 0] = 1
        for i, (group, size) in enumerate(zip(groups, sizes), 1):
            combinations = torch.cartesian_prod(*(torch.arange(len(c)) for c in group.values())).reshape(size, -1)
            variables = list(group)
            state = combinations[:, variables.index(cost.link)] if cost.link in variables else torch.zeros(size).long()
            self.leads[i, : states[i], :size] = F.one_hot(
                state if states[i] > 1 else torch.zeros_like(state), states[i]
            ).T.double()

    def moments(self, probs: torch.Tensor) -> Moments:
        """Mean, variance and the shift of each combination.

        Args:
            probs: probability of every combination of every group, (groups, combinations), 0 where there is none.
        """
        first = torch.zeros_like(probs[:1])
        first[0, 0] = 1
        before, own = torch.cat([first, probs]), torch.cat([probs, first])
        state = torch.einsum('lsc,lc->ls', self.leads, before)
        after = torch.einsum('lsc,ls->lc', self.tables, state)  # E[T_l | c]
        given = torch.einsum('lsc,lc->ls', self.tables, own)  # E[T_l | s]
        means = (after * own).sum(1)
        square = (torch.einsum('lsc,ls->lc', self.squares, state) * own).sum(1)
        ahead = torch.einsum('lsc,ls->lc', self.leads[1:], given[1:])  # E[T_{l+1} | c]
        covariance = (after[:-1] * ahead * probs).sum(1) - means[:-1] * means[1:]
        shift = after[:-1] - means[:-1, None] + ahead - means[1:, None]
        return Moments(means.sum() + self.cost.constant, (square - means**2).sum() + 2 * covariance.sum(), shift)

    def mean(self, distribution: Distribution) -> torch.Tensor:
        """E[C(A)] of a distribution, a scalar; differentiable with respect to alpha."""
        return self.moments(distribution.combinations()).mean
