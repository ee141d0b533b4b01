"""The closed form of the expected cost, its variance and its gradient, against the sum over all architectures."""
import itertools

import pytest
import torch

from fpnas_timm.search.distribution import Factorized, Joint
from fpnas_timm.search.expected import ExpectedCost
from fpnas_timm.spaces import SearchSpace, get_space
from fpnas_timm.spaces.costs import AdditiveCost, network_costs
from tests.spaces.cases import everything, tiny_space

LINKED = SearchSpace('linked', (
    {'op': (0, 1, 2), 'width': (4, 8)}, {'width': (4, 6, 8), 'op': (0, 1)}, {'op': (0, 1, 2)}, {'width': (1, 3)},
))


def costs() -> list[AdditiveCost]:
    generator = torch.Generator().manual_seed(0)

    def table(rows: int, columns: int) -> list:
        return torch.rand(rows, columns, generator=generator, dtype=torch.float64).tolist()

    tables = [table(1, 6), table(2, 6), table(3, 3), table(1, 2)]
    linked = AdditiveCost('own', 'units', LINKED, tables, [0.3, 2.0], 1.5, 'width')
    plain = AdditiveCost('own', 'units', LINKED, [table(1, n) for n in (6, 6, 3, 2)])
    return [*network_costs(tiny_space(), 10), linked, plain]


def randomised(kind, space, seed: int = 1):
    distribution = kind(space)
    with torch.no_grad():
        generator = torch.Generator().manual_seed(seed)
        distribution.alpha.copy_(torch.randn(distribution.alpha.shape, generator=generator, dtype=torch.float64))
    return distribution


@pytest.mark.parametrize('kind', [Factorized, Joint])
@pytest.mark.parametrize('cost', costs(), ids=lambda c: f'{c.name}-{c.space.name}')
def test_value_variance_and_gradients(kind, cost: AdditiveCost) -> None:
    distribution = randomised(kind, cost.space)
    archs = list(everything(cost.space))
    values = torch.tensor([cost(a) for a in archs], dtype=torch.float64)
    probs = distribution.log_prob(archs).exp()
    mean = (probs * values).sum()
    variance = (probs * (values - mean) ** 2).sum()
    closed = ExpectedCost(cost).moments(distribution.combinations())
    assert closed.mean.item() == pytest.approx(mean.item(), rel=1e-12)
    assert closed.variance.item() == pytest.approx(variance.item(), rel=1e-9)
    for one, other in ((closed.mean, mean), (closed.variance, variance)):
        found, true = (torch.autograd.grad(x, distribution.alpha, retain_graph=True)[0] for x in (one, other))
        assert torch.allclose(found, true, rtol=1e-8, atol=1e-9 * float(true.abs().max()))
    for group, (size, rows) in enumerate(zip([len(list(c)) for c in combinations(cost.space)], closed.shift)):
        for c, chosen in enumerate(combinations(cost.space)[group]):
            mask = torch.tensor([a[group] == chosen for a in archs])
            given = (probs * values)[mask].sum() / probs[mask].sum() - mean
            assert rows[c].item() == pytest.approx(given.item(), rel=1e-6, abs=1e-9 * values.max().item())
        assert size <= len(rows)


def combinations(space: SearchSpace) -> list[list]:
    return [list(itertools.product(*(range(len(c)) for c in group.values()))) for group in space.groups]


@pytest.mark.parametrize('kind', [Factorized, Joint])
def test_a_sharper_distribution(kind) -> None:
    """It is that of alpha / temperature: close to its mode when that is small."""
    macs = network_costs(tiny_space(), 10)[0]
    distribution, sharp = randomised(kind, macs.space), kind(macs.space)
    with torch.no_grad():
        sharp.alpha.copy_(distribution.alpha / 0.3)
    assert torch.allclose(distribution.combinations(0.3), sharp.combinations())
    cold = ExpectedCost(macs).moments(distribution.combinations(1e-4))
    assert cold.mean.item() == pytest.approx(macs(distribution.most_probable()))
    assert cold.variance.item() == pytest.approx(0, abs=1e-3)


def test_joint_of_the_factors_has_the_same() -> None:
    macs = network_costs(get_space('fbnetv2_f'))[0]
    distribution, expected = randomised(Factorized, macs.space), ExpectedCost(macs)
    one, other = (expected.moments(d.combinations()) for d in (distribution, distribution.to_joint()))
    assert one.mean.item() == pytest.approx(other.mean.item(), rel=1e-12)
    assert one.variance.item() == pytest.approx(other.variance.item(), rel=1e-9)
    drawn = distribution.sample(2000, torch.Generator().manual_seed(0))
    values = torch.tensor([macs(a) for a in drawn], dtype=torch.float64)
    assert values.mean().item() == pytest.approx(one.mean.item(), abs=5 * values.std().item() / 2000**0.5)
