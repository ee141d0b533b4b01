"""The fast decode of every step against the list of all architectures, and the smallest change of alpha."""
import pytest
import torch

from fpnas_timm.search.distribution import Factorized, Joint
from fpnas_timm.search.mode import ModeWithin, make_mode
from fpnas_timm.spaces import get_space
from fpnas_timm.spaces.costs import network_costs
from fpnas_timm.spaces.decode import decode
from tests.spaces.cases import everything, tiny_space

from .test_expected import costs, randomised


@pytest.mark.parametrize('kind', [Factorized, Joint])
@pytest.mark.parametrize('cost', costs(), ids=lambda c: f'{c.name}-{c.space.name}')
def test_finds_the_most_probable_one(kind, cost) -> None:
    archs = list(everything(cost.space))
    values = sorted(map(cost, archs))
    for seed in range(4):
        distribution = randomised(kind, cost.space, seed)
        log_probs = distribution.log_prob(archs).detach()
        for low, high in ((0.1, 0.12), (0.5, 0.52), (0.9, 1.0)):
            window = values[int(low * (len(archs) - 1))], values[int(high * (len(archs) - 1))]
            inside = torch.tensor([window[0] <= cost(a) <= window[1] for a in archs])
            found = ModeWithin([cost], [window])(distribution)
            assert found is not None and window[0] <= cost(found) <= window[1]
            assert distribution.log_prob([found]).item() == pytest.approx(log_probs[inside].max().item(), abs=1e-9)
        nothing = values[-1] + 1, values[-1] + 2
        assert ModeWithin([cost], [nothing])(distribution) is None
        assert not ModeWithin([cost], [nothing]).finds_any() and ModeWithin([cost], [window]).finds_any()


def test_two_budgets_at_once() -> None:
    macs, params = network_costs(tiny_space(), 10)
    archs = list(everything(macs.space))
    middle = macs(archs[100]), params(archs[100])
    windows = [(0.9 * m, 1.1 * m) for m in middle]
    inside = [a for a in archs if all(low <= c(a) <= high for c, (low, high) in zip((macs, params), windows))]
    assert 0 < len(inside) < len(archs) / 2
    for seed in range(4):
        distribution = randomised(Joint, macs.space, seed)
        found = ModeWithin([macs, params], windows)(distribution)
        assert found in inside
        assert distribution.log_prob([found]).item() == pytest.approx(distribution.log_prob(inside).max().item())


def test_in_a_large_space_it_is_the_exact_decodes() -> None:
    macs, _ = network_costs(get_space('fbnetv2_f'))
    distribution = randomised(Factorized, macs.space)
    window = (63e6, 64e6)
    found = ModeWithin([macs], [window])(distribution)
    exact = decode(macs.space, distribution, macs=window)
    assert found is not None and window[0] <= macs(found) <= window[1]
    assert distribution.log_prob([found]).item() == pytest.approx(exact.log_prob, abs=1e-6)


@pytest.mark.parametrize('kind', [Factorized, Joint])
def test_the_smallest_change_that_makes_it_the_mode(kind) -> None:
    space = tiny_space()
    archs = list(everything(space))
    for seed in range(5):
        distribution = randomised(kind, space, seed)
        before, arch = distribution.alpha.detach().clone(), archs[37 * seed + 5]
        make_mode(distribution, arch, margin=1e-3)
        assert distribution.most_probable() == arch
        changed = distribution.alpha.detach() - before
        # no point between the two has it as the mode, and going further is further
        with torch.no_grad():
            distribution.alpha.copy_(before + 0.99 * changed)
        assert distribution.most_probable() != arch
        for logits, chosen in distribution.categoricals(arch):
            assert float(logits[chosen]) <= float(logits.max())
        with torch.no_grad():
            distribution.alpha.copy_(before)
        make_mode(distribution, distribution.most_probable(), margin=1e-9)
        assert torch.equal(distribution.alpha.detach(), before)  # where it is the mode already
