"""The architecture gradient: equation (2) of the supplement, its number of samples, and its cost term.

The loss is L(w, alpha) = -log P(y|X, w, alpha) + beta log C(alpha) (1), its gradient with respect to alpha

    sum_k m_k grad(-log P(A_k|alpha)),   m_k = P_k / sum P - beta C_k / sum C   (2)

for K architectures A_k drawn from P(A|alpha), with P_k = P(y_val|X_val, w, A_k) and C_k = C(A_k).

(2) is biased because it divides by sums over the same K samples instead of by P(y|X, w, alpha) and C(alpha): a ratio
of two averages differs from the ratio of their expectations by a term of order 1/K. The `normalizer` arguments
substitute the true values; with them (2) is unbiased at every K (`tests/search/test_estimator.py` verifies both by
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
    """K = lambda * H(P(A|alpha)), H in nats, rounded down; at least 2.

    A single sample would always have weight 1: every update would only make it more probable.

    >>> adaptive_num_samples(59, lam=0.25), adaptive_num_samples(0.1, lam=0.25)  # 59 and 1/4 are the paper's
    (14, 2)
    """
    return max(MIN_SAMPLES, int(lam * entropy))


def budget_cost(costs: torch.Tensor, target: float, form: str = 'relative') -> torch.Tensor:
    """C(A): max(0, FLOPS(A) / TAR - 1), the relative excess over the target.

    'two-sided' takes the absolute value of FLOPS(A) / TAR - 1 instead. 'expected' keeps negative values, since the
    hinge is applied to the mean later.

    Args:
        costs: multiply-adds, any shape.
        target: multiply-adds up to which an architecture has no cost.
        form: as in `cost_weights`.
    """
    off = costs / target - 1
    if form in ('expected', 'multiplier'):
        return off
    return off.abs() if form == 'two-sided' else off.clamp(min=0)


def likelihood_weights(
        log_likelihoods: torch.Tensor, temperature: float = 1.0, normalizer: float | None = None
) -> torch.Tensor:
    """P_k / sum P from log P_k: a softmax over the samples.

    Args:
        log_likelihoods: log P(y_val|X_val, w, A_k) in nats, summed over the images, shape (K,).
        temperature: divides the log-likelihoods. The paper uses 1; the number of images turns their sum into a mean.
        normalizer: log P(y|X, w, alpha), if known, instead of the mean over the samples.

    Returns:
        Weights (K,); without `normalizer` they sum to 1.
    """
    scaled = log_likelihoods / temperature
    if normalizer is None:
        return scaled.softmax(0)
    return (scaled - normalizer / temperature).exp() / len(scaled)


def cost_weights(
        costs: torch.Tensor, beta: float, form: str = 'relative', normalizer: float | None = None
) -> torch.Tensor:
    """The cost term that is subtracted from each sample's weight.

    Args:
        costs: C(A_k), shape (K,).
        beta: weight of the cost in the loss.
        form: one of

            * 'relative': the paper's beta C_k / sum C. It depends on the ratios of the costs, but not on how far the
              samples exceed the target; 0 if all C_k are 0.
            * 'absolute': beta C_k / K, the gradient of beta C(alpha) instead of beta log C(alpha). It vanishes only
              once all samples are within the target, so while samples vary the expected cost ends well below it.
            * 'two-sided': the same, but C(A) also increases below the target, so that the search ends at the target.
              Like 'absolute', it prefers distributions whose samples vary little in cost.
            * 'expected': the gradient of beta max(0, FLOPS(alpha) / TAR - 1), where FLOPS(alpha) is the mean over the
              samples; it has no such preference.
            * 'multiplier': 0: not by the samples, but by `multiplier.py`, after the step.
        normalizer: C(alpha), if known, instead of the mean over the samples ('relative' only).

    Raises:
        ValueError: an unknown form.
    """
    if form == 'multiplier':
        return torch.zeros_like(costs)
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

    `baseline` subtracts the mean over the samples. Since grad log P has expectation 0, this does not change the
    expected gradient and removes the noise between equally good samples: if all architectures are equally good, the
    entropy does not change. The paper has no baseline. The cost term has exceptions, since its mean depends on the
    samples: with 'absolute' and 'two-sided', its gradient is scaled by 1 - 1/K; with 'expected' it shrinks too, not by
    one factor; with 'relative' it shrinks (to about half at K = 2) if samples often contain no architecture over the
    target, since the mean is then 0 in those draws.
    """
    weights = likelihood_weights(log_likelihoods, temperature) - cost_weights(costs, beta, form)
    return weights - weights.mean() if baseline else weights


def surrogate(distribution: Distribution, archs: Sequence[Choices], weights: torch.Tensor) -> torch.Tensor:
    """sum_k m_k (-log P(A_k|alpha)): a scalar whose gradient with respect to alpha is equation (2)."""
    if len(archs) != len(weights):
        raise ValueError(f'{len(archs)} architectures, but {len(weights)} weights')
    return -(weights.detach() * distribution.log_prob(archs)).sum()
