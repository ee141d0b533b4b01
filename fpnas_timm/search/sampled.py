"""A sample of what a search evaluated for alpha: cost and log-likelihood of some architectures, for its report.

Part of the state of the search, so that a resumed search records the same. At most `STEPS * ARCHS` pairs per epoch,
some 4 kB: the steps are spread evenly over the epoch, and of each the first architectures are taken.
"""
from typing import TypeAlias

import torch

__all__ = ['ARCHS', 'STEPS', 'Sampled', 'add_sampled', 'new_sampled']

STEPS = 16  # steps per epoch that are recorded, at most
ARCHS = 16  # architectures per step, at most

Sampled: TypeAlias = dict[str, list[float]]


def new_sampled() -> Sampled:
    """Nothing sampled yet: `step` (from 0), `cost`, and `log_likelihood` (nats, of the step's batch) of each."""
    return {'step': [], 'cost': [], 'log_likelihood': []}


def add_sampled(
        sampled: Sampled, step: int, steps: int, costs: torch.Tensor, log_likelihoods: torch.Tensor
) -> None:
    """Record the architectures of a step, if it is one of those that are recorded.

    Args:
        sampled: what is recorded in this epoch so far; changed in place.
        step: this step, from 0.
        steps: number of steps per epoch.
        costs: of the architectures of this step, shape (K,).
        log_likelihoods: of the same, nats, shape (K,).

    >>> sampled = new_sampled()
    >>> for step in range(40):
    ...     add_sampled(sampled, step, 40, torch.tensor([1000.0, 2000.0]), torch.tensor([-1.23456789, -2.5]))
    >>> sampled['step'][:4], sampled['cost'][:2], sampled['log_likelihood'][:2], len(sampled['cost'])
    ([0, 0, 3, 3], [1000, 2000], [-1.23457, -2.5], 28)
    """
    if step % -(-steps // STEPS):
        return
    for cost, value in zip(costs[:ARCHS].tolist(), log_likelihoods[:ARCHS].tolist()):
        sampled['step'].append(step)
        sampled['cost'].append(int(cost) if cost.is_integer() else float(f'{cost:.6g}'))
        sampled['log_likelihood'].append(float(f'{value:.6g}'))
