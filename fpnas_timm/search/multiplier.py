"""Budgets that a search meets by itself: the cost form 'multiplier'. Not in the paper.

alpha is what was learned minus a multiplier times the cost:

1. After every step, alpha moves along the natural gradient of the expected cost until the expectation is where it
   should be. The natural gradient subtracts b E[cost | choice] from the logit of every choice, so the step is the one
   that changes the distribution least; b is Newton's solution of the dual problem. The expectation and its gradient are
   exact (`expected`): the budget adds no noise. In the first half of the steps the expectation goes from where it was
   to the target, since a sudden jump would leave the weights untrained for what is sampled next; then it stays there.
2. An expectation at the target does not put the *mode* there while the entropy is high. In the second half, where the
   most probable architecture leaves the budget, alpha is moved to the nearest point where it does not (`mode`).

The sum of all b, in nats per target's worth of cost, is the multiplier beta of the loss that the distribution is at an
optimum of; nobody needs to choose it.

What was taken from alpha for the budgets is added up, so that it can be given back: `without_budget` is what the images
alone have taught. A family of networks for other budgets is decoded from it (`family`).
"""
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch

from ..spaces import Choices
from ..spaces.costs import AdditiveCost
from .distribution import KINDS, Distribution, Factorized
from .expected import ExpectedCost
from .mode import ModeWithin, make_mode

__all__ = ['Limit', 'Multiplier', 'without_budget']

ARRIVED = 0.5  # share of the steps after which the expectation is at the target, and the mode is kept in the budget
ITERATIONS, CLOSE = 8, 1e-4  # of Newton's method, and relative error that ends them
STEP = 1.0  # largest change of a logit in an iteration, nats
NEVER = 1e-30  # a choice of this probability is never sampled: its logit stays, lest the step overflows


class Limit(NamedTuple):
    """A budget: `cost` between `low` and `high`."""

    cost: AdditiveCost
    low: float
    high: float

    def allows(self, arch: Choices) -> bool:
        return self.low <= self.cost(arch) <= self.high


class Multiplier:
    """Keeps a distribution to budgets. Deterministic.

    Attributes:
        limits: the budgets.
        betas: the multiplier of each, nats per target.
        moved: number of steps in which the mode was moved into the budget.
        taken: what was subtracted from alpha in all steps, of alpha's shape; None before the first step, and for a
            search that an earlier version started, which did not note it.
    """

    def __init__(self, limits: Sequence[Limit]) -> None:
        """`limits` must not be empty, and all be of one space."""
        self.limits = list(limits)
        self.expected = [ExpectedCost(limit.cost) for limit in limits]
        self.aims = torch.tensor([(limit.low + limit.high) / 2 for limit in limits], dtype=torch.float64)
        self.betas = torch.zeros(len(limits), dtype=torch.float64)
        self.moved = 0
        self.taken: torch.Tensor | None = None
        self._start: torch.Tensor | None = None
        self._within = ModeWithin([limit.cost for limit in limits], [(limit.low, limit.high) for limit in limits])

    def means(self, distribution: Distribution) -> torch.Tensor:
        """The exact expectation of each cost, shape (budgets,); differentiable with respect to alpha."""
        probs = distribution.combinations()
        return torch.stack([expected.moments(probs).mean for expected in self.expected])

    def apply(self, distribution: Distribution, progress: float) -> None:
        """Change alpha in place after a step of the search.

        Args:
            distribution: the distribution.
            progress: share of the search's steps that have been taken, up to 1.
        """
        if self._start is None:
            self._start = self.means(distribution).detach()
            self.taken = torch.zeros_like(distribution.alpha)
        before = distribution.alpha.detach().clone()
        left = max(0.0, 1 - progress / ARRIVED)
        self._meet(distribution, self.aims * (self._start / self.aims) ** left)
        if progress >= ARRIVED and not all(limit.allows(distribution.most_probable()) for limit in self.limits):
            nearest = self._within(distribution)
            if nearest is not None:
                make_mode(distribution, nearest)
                self.moved += 1
        if self.taken is not None:
            self.taken = _like(self.taken, distribution) + before - distribution.alpha.detach()

    def _meet(self, distribution: Distribution, aims: torch.Tensor) -> None:
        """Move alpha along the natural gradients until the expected costs are `aims`."""
        for _ in range(ITERATIONS):
            means = self.means(distribution)
            error = means.detach() / aims - 1
            if bool((error.abs() < CLOSE).all()):
                break
            probs = distribution.probs()
            shifts = torch.stack([
                torch.autograd.grad(mean, distribution.alpha, retain_graph=True)[0] for mean in means
            ]) / aims[:, None]
            natural = torch.where(probs > NEVER, shifts / probs, 0.0)
            gram = shifts @ natural.T
            scale = float(gram.diagonal().max())
            if not scale > NEVER or not math.isfinite(scale):
                break  # no choice changes the cost, or all are as good as made
            step = torch.linalg.solve(gram + 1e-9 * scale * torch.eye(len(gram), dtype=gram.dtype), error)
            change = step @ natural
            share = min(1.0, STEP / max(float(change.abs().max()), 1e-300))
            with torch.no_grad():
                distribution.alpha -= share * change
            self.betas += share * step * self.aims / aims

    def figures(self, distribution: Distribution) -> dict[str, float]:
        """What the history says at the end of an epoch."""
        means = self.means(distribution).detach()
        out: dict[str, float] = {}
        for limit, beta, mean in zip(self.limits, self.betas.tolist(), means.tolist()):
            out |= {f'expected_{limit.cost.name}': mean, f'multiplier_{limit.cost.name}': beta}
        return {**out, 'mode_moved': self.moved}

    def state_dict(self) -> dict[str, Any]:
        """The state that a resumed search needs."""
        return {'betas': self.betas.clone(), 'moved': self.moved, 'start': self._start, 'taken': self.taken}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a state returned by `state_dict`."""
        self.betas, self.moved, self._start = state['betas'].clone(), state['moved'], state['start']
        self.taken = state.get('taken')


def without_budget(distribution: Distribution, taken: torch.Tensor) -> Distribution:
    """The distribution with the `taken` of its `Multiplier` given back: what the images alone have taught."""
    found = KINDS[distribution.kind](distribution.space)
    with torch.no_grad():
        found.alpha.copy_(distribution.alpha + _like(taken, distribution))
    return found


def _like(taken: torch.Tensor, distribution: Distribution) -> torch.Tensor:
    """`taken` in the shape of alpha; that of a factorised distribution for the joint one that it became."""
    if taken.shape == distribution.alpha.shape:
        return taken
    factorized = Factorized(distribution.space)
    with torch.no_grad():
        factorized.alpha.copy_(taken)
    return factorized.to_joint().alpha.detach()  # up to a constant in each group, which changes no probability
