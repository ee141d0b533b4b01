"""Equation (2) against the exact gradient of equation (1), by enumeration of small spaces."""

import itertools
import math

import pytest
import torch

from fpnas_timm.search.distribution import Factorized, Joint
from fpnas_timm.search.estimator import (
    adaptive_num_samples,
    budget_cost,
    cost_weights,
    likelihood_weights,
    sample_weights,
    surrogate,
)
from fpnas_timm.spaces import SearchSpace

SPACE = SearchSpace('toy', ({'a': (0, 1, 2), 'b': (0, 1)}, {'c': (0, 1, 2)}))
ARCHS = list(itertools.product(itertools.product(range(3), range(2)), [(k,) for k in range(3)]))
BETA = 0.4


def problem(kind, seed: int = 0):
    """A distribution, and log P(y|A) and C(A) of every architecture."""
    generator = torch.Generator().manual_seed(seed)
    distribution = kind(SPACE)
    with torch.no_grad():
        distribution.alpha.copy_(0.7 * torch.randn(len(distribution.alpha), generator=generator, dtype=torch.float64))
    log_likelihoods = 0.8 * torch.randn(len(ARCHS), generator=generator, dtype=torch.float64)
    costs = (torch.rand(len(ARCHS), generator=generator, dtype=torch.float64) - 0.3).clamp(min=0)
    return distribution, log_likelihoods, costs


def exact_gradient(distribution, log_likelihoods, costs, beta: float) -> torch.Tensor:
    """Equation (1) differentiated as it stands: all architectures, no samples."""
    probs = distribution.log_prob(ARCHS).exp()
    loss = -(probs * log_likelihoods.exp()).sum().log() + beta * (probs * costs).sum().log()
    return torch.autograd.grad(loss, distribution.alpha)[0]


def estimates(distribution, log_likelihoods, costs, k: int, draws: int, weigh) -> torch.Tensor:
    """`draws` independent estimates of the gradient from K samples each, (draws, num_parameters)."""
    generator = torch.Generator().manual_seed(5)
    index = {arch: i for i, arch in enumerate(ARCHS)}
    drawn = [index[a] for a in distribution.sample(k * draws, generator)]
    # the gradient of -log P of every architecture, once: an estimate is a weighted sum of them
    grads = torch.stack([
        torch.autograd.grad(surrogate(distribution, [a], torch.ones(1)), distribution.alpha)[0] for a in ARCHS
    ])
    out = []
    for row in torch.tensor(drawn).reshape(draws, k):
        out.append(weigh(log_likelihoods[row], costs[row]) @ grads[row])
    return torch.stack(out)


@pytest.mark.parametrize('kind', [Factorized, Joint])
def test_unbiased_with_the_true_normalizers(kind) -> None:
    """With P(y|X, w, alpha) and C(alpha) themselves, the mean of (2) is the gradient of (1), within its error."""
    distribution, log_likelihoods, costs = problem(kind)
    probs = distribution.log_prob(ARCHS).exp().detach()
    normalizer = (probs * log_likelihoods.exp()).sum().log().item()
    mean_cost = (probs * costs).sum().item()

    def weigh(ll, c):
        return likelihood_weights(ll, normalizer=normalizer) - cost_weights(c, BETA, normalizer=mean_cost)

    found = estimates(distribution, log_likelihoods, costs, 4, 6000, weigh)
    exact = exact_gradient(distribution, log_likelihoods, costs, BETA)
    error = found.std(0) / math.sqrt(len(found))
    assert ((found.mean(0) - exact).abs() <= 4 * error + 1e-12).all()
    assert error.max() < 0.05 * exact.abs().max()  # a loose error would prove nothing


@pytest.mark.parametrize('baseline', [True, False])
def test_bias_of_self_normalising_shrinks_with_k(baseline: bool) -> None:
    """(2) as printed divides by sums over its own samples: a bias of order 1/K. The baseline does not change it."""
    distribution, log_likelihoods, costs = problem(Factorized)
    exact = exact_gradient(distribution, log_likelihoods, costs, BETA)
    bias = {}
    for k, draws in ((4, 8000), (16, 8000), (64, 4000)):
        found = estimates(
            distribution, log_likelihoods, costs, k, draws,
            lambda ll, c: sample_weights(ll, c, BETA, baseline=baseline),
        )
        bias[k] = (found.mean(0) - exact).norm().item()
    # a quarter of it for four times the samples; the margin is for the noise that is left
    assert bias[16] < 0.45 * bias[4]
    assert bias[64] < 0.5 * bias[16]
    assert bias[64] < 0.05 * exact.norm().item()


def test_baseline_keeps_the_mean_and_cuts_the_noise() -> None:
    distribution, log_likelihoods, costs = problem(Factorized, 1)
    with_, without = (
        estimates(distribution, log_likelihoods, costs, 4, 8000, lambda ll, c, b=b: sample_weights(ll, c, baseline=b))
        for b in (True, False)
    )
    error = ((with_.var(0) + without.var(0)) / len(with_)).sqrt()
    assert ((with_.mean(0) - without.mean(0)).abs() <= 4 * error + 1e-12).all()
    assert with_.var(0).sum() < 0.8 * without.var(0).sum()


def test_absolute_form_is_the_gradient_of_the_expected_cost() -> None:
    """1 - 1/K of the gradient of beta C(alpha), with the baseline, as its docstring says."""
    distribution, log_likelihoods, costs = problem(Factorized)
    k = 4
    found = estimates(
        distribution, torch.zeros_like(log_likelihoods), costs, k, 32_000,
        lambda ll, c: sample_weights(ll, c, BETA, form='absolute'),
    )
    probs = distribution.log_prob(ARCHS).exp()
    exact = (1 - 1 / k) * BETA * torch.autograd.grad((probs * costs).sum(), distribution.alpha)[0]
    error = found.std(0) / math.sqrt(len(found))
    assert ((found.mean(0) - exact).abs() <= 4 * error + 1e-12).all()


@pytest.mark.parametrize(('shift', 'active'), [(1.0, 1), (-1.0, 0)])
def test_expected_form_is_the_gradient_of_the_hinge_of_the_expected_cost(shift: float, active: int) -> None:
    """Where the samples' mean is surely over the target, or surely below; 1 - 1/K of it, with the baseline."""
    distribution, log_likelihoods, costs = problem(Factorized)
    k, signed = 4, costs - 0.3 + shift
    found = estimates(
        distribution, torch.zeros_like(log_likelihoods), signed, k, 32_000,
        lambda ll, c: sample_weights(ll, c, BETA, form='expected'),
    )
    mean = (distribution.log_prob(ARCHS).exp() * signed).sum()
    assert (mean > 0) == bool(active)
    exact = (1 - 1 / k) * BETA * torch.autograd.grad(mean.clamp(min=0), distribution.alpha)[0]
    error = found.std(0) / math.sqrt(len(found))
    assert ((found.mean(0) - exact).abs() <= 4 * error + 1e-12).all()
    assert bool(exact.abs().max() > 0.01) == bool(active)


@pytest.mark.parametrize('form', ['relative', 'absolute', 'expected'])
def test_a_flat_landscape_keeps_its_entropy(form: str) -> None:
    """Equally good architectures within the budget teach nothing, whatever was drawn."""
    distribution = Factorized(SPACE)
    optimizer = torch.optim.Adam([distribution.alpha], lr=0.1)
    generator = torch.Generator().manual_seed(0)
    for _ in range(300):
        archs = distribution.sample(3, generator)
        weights = sample_weights(torch.full((3,), -100.0), torch.zeros(3), 1.0, form)
        optimizer.zero_grad()
        surrogate(distribution, archs, weights).backward()
        optimizer.step()
    assert distribution.entropy().item() == pytest.approx(math.log(len(ARCHS)), abs=1e-9)


def test_cost_terms_by_hand() -> None:
    costs = torch.tensor([0.0, 1.0, 3.0])
    assert cost_weights(costs, 0.5).tolist() == [0.0, 0.125, 0.375]
    assert cost_weights(costs, 0.5, 'absolute').tolist() == pytest.approx([0.0, 0.5 / 3, 0.5])
    assert cost_weights(torch.zeros(3), 0.5).tolist() == [0, 0, 0]  # 0/0 would be NaN
    off = torch.tensor([-0.5, 0.0, 1.0])
    assert cost_weights(off, 0.6, 'expected').tolist() == pytest.approx([-0.1, 0.0, 0.2])
    assert cost_weights(off - 0.3, 0.6, 'expected').tolist() == [0, 0, 0]  # in the mean, within the target
    macs = torch.tensor([50.0, 100.0, 138.0])
    assert budget_cost(macs, 100).tolist() == pytest.approx([0, 0, 0.38])
    assert budget_cost(macs, 100, 'expected').tolist() == pytest.approx([-0.5, 0, 0.38])
    assert budget_cost(macs, 100, 'two-sided').tolist() == pytest.approx([0.5, 0, 0.38])
    with pytest.raises(ValueError, match='expected one of relative, absolute, expected, two-sided'):
        cost_weights(costs, 0.5, 'printed')


def test_likelihood_weights_by_hand() -> None:
    log_likelihoods = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64).log()
    assert likelihood_weights(log_likelihoods).tolist() == pytest.approx([1 / 7, 2 / 7, 4 / 7])
    assert likelihood_weights(log_likelihoods - 5000).tolist() == pytest.approx([1 / 7, 2 / 7, 4 / 7])  # no underflow
    assert likelihood_weights(log_likelihoods, temperature=2).tolist() == pytest.approx(
        [1 / (3 + 2**0.5), 2**0.5 / (3 + 2**0.5), 2 / (3 + 2**0.5)]
    )


def test_number_of_samples() -> None:
    assert adaptive_num_samples(59.0, 0.25) == 14  # as printed for FBNetV2-F
    assert adaptive_num_samples(0.1, 0.25) == 2
    assert [adaptive_num_samples(h, 0.5) for h in (40, 20, 10, 4, 1)] == [20, 10, 5, 2, 2]


def test_samples_and_weights_must_match() -> None:
    with pytest.raises(ValueError, match='2 architectures, but 3 weights'):
        surrogate(Factorized(SPACE), ARCHS[:2], torch.ones(3))
