"""The architecture gradient: equation (2) of the supplement, the number of samples it takes, and the cost in it.

The loss is L(w, alpha) = -log P(y|X, w, alpha) + beta log C(alpha) (1), its gradient with respect to alpha

    sum_k m_k grad(-log P(A_k|alpha)),   m_k = P_k / sum P - beta C_k / sum C   (2)

for K architectures A_k drawn from P(A|alpha), with P_k = P(y_val|X_val, w, A_k) and C_k = C(A_k).

Where (2) is biased: it divides by the sums over the same K samples instead of by P(y|X, w, alpha) and C(alpha). A
ratio of two averages misses the ratio of their expectations by a term of order 1/K. The arguments `normalizer` put the
true values in its place, for which (2) is exact at every K (`tests/search/test_estimator.py` measures both by
enumeration).
"""
from collections.abc import Sequence

import torch

from ..spaces import Choices
from .distribution import Distribution
from .names import COST_FORMS

__all__ = [
    'COST_FORMS', 'adaptive_num_samples', 'budget_cost', 'cost_weights', 'likelihood_weights', 'sample_weights',
    'surrogate',
]

MIN_SAMPLES = 2


def adaptive_num_samples(entropy: float, lam: float) -> int:
    """K = lambda * H(P(A|alpha)), H in nats, rounded down; never below 2.

    A single sample would have weight 1 whatever it is: the update would only make it more probable.

    >>> adaptive_num_samples(59, lam=0.25), adaptive_num_samples(0.1, lam=0.25)  # 59 and 1/4 are the paper's
    (14, 2)
    """
    return max(MIN_SAMPLES, int(lam * entropy))


def budget_cost(costs: torch.Tensor, target: float, form: str = 'relative') -> torch.Tensor:
    """C(A): max(0, FLOPS(A) / TAR - 1), how far over the target as a fraction of it.

    'two-sided' is how far from it; 'expected' is negative below it, as the hinge is then of the mean.

    Args:
        costs: multiply-adds, any shape.
        target: multiply-adds that cost nothing.
        form: as `cost_weights`.
    """
    off = costs / target - 1
    if form == 'expected':
        return off
    return off.abs() if form == 'two-sided' else off.clamp(min=0)


def likelihood_weights(
        log_likelihoods: torch.Tensor, temperature: float = 1.0, normalizer: float | None = None
) -> torch.Tensor:
    """P_k / sum P from log P_k: a softmax over the samples.

    Args:
        log_likelihoods: log P(y_val|X_val, w, A_k) in nats, summed over the images, shape (K,).
        temperature: divides them. 1 is the paper's; the number of images makes their mean of the sum.
        normalizer: log P(y|X, w, alpha) where it is known, in place of the samples' mean.

    Returns:
        Weights (K,); they sum to 1, without `normalizer`.
    """
    scaled = log_likelihoods / temperature
    if normalizer is None:
        return scaled.softmax(0)
    return (scaled - normalizer / temperature).exp() / len(scaled)


def cost_weights(
        costs: torch.Tensor, beta: float, form: str = 'relative', normalizer: float | None = None
) -> torch.Tensor:
    """What is subtracted from each sample's weight for its cost.

    Args:
        costs: C(A_k), shape (K,).
        beta: its weight in the loss.
        form: one of

            * 'relative', the paper's beta C_k / sum C. It depends on the ratios of the costs, but not on how far over
              the target the samples are; 0 where all C_k are.
            * 'absolute', beta C_k / K: the gradient of beta C(alpha) in place of beta log C(alpha). It fades as the
              samples come within the target, so while they vary it ends well below.
            * 'two-sided', the same with a C(A) that also rises below the target; it ends on the target. Like
              'absolute', it prefers distributions whose samples vary little in cost.
            * 'expected', the gradient of beta max(0, FLOPS(alpha) / TAR - 1), with FLOPS(alpha) the mean over the
              samples: it has no such preference.
        normalizer: C(alpha) where it is known, in place of the samples' mean ('relative' only).

    Raises:
        ValueError: another form.
    """
    if form in ('absolute', 'two-sided'):
        return beta * costs / len(costs)
    if form == 'expected':
        return beta * (costs.mean() > 0) * costs / len(costs)
    if form != 'relative':
        raise ValueError(f'cost form {form!r}: expected one of {", ".join(COST_FORMS)}')
    total = costs.sum() if normalizer is None else normalizer * len(costs)
    return torch.zeros_like(costs) if total == 0 else beta * costs / total


def sample_weights(
        log_likelihoods: torch.Tensor,
        costs: torch.Tensor,
        beta: float = 0.0,
        form: str = 'relative',
        temperature: float = 1.0,
        baseline: bool = True,
) -> torch.Tensor:
    """m_k of equation (2), shape (K,).

    `baseline` subtracts the mean over the samples. As grad log P has expectation 0, this leaves the expectation of the
    gradient unchanged and removes the noise of equally good samples: a flat landscape keeps its entropy exactly.
    Two exceptions, both in the cost: with the forms that are not relative the mean depends on the samples, and the
    cost's gradient shrinks by a K-th; with the relative form it shrinks where often no sample is over the target (to
    about half at K = 2), since the mean is then 0 in some draws and not in others.
    """
    weights = likelihood_weights(log_likelihoods, temperature) - cost_weights(costs, beta, form)
    return weights - weights.mean() if baseline else weights


def surrogate(distribution: Distribution, archs: Sequence[Choices], weights: torch.Tensor) -> torch.Tensor:
    """sum_k m_k (-log P(A_k|alpha)): a scalar whose gradient with respect to alpha is equation (2)."""
    if len(archs) != len(weights):
        raise ValueError(f'{len(archs)} architectures, but {len(weights)} weights')
    return -(weights.detach() * distribution.log_prob(archs)).sum()
