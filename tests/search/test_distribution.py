"""Distributions against enumeration of small spaces, and the pairs: indices and choices, save and load, to_joint."""

import itertools
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from fpnas_timm.search.distribution import Factorized, Joint, load_distribution
from fpnas_timm.spaces import SearchSpace, get_space

KINDS = [Factorized, Joint]


def small_space() -> SearchSpace:
    return SearchSpace('small', ({'a': (1, 2, 3), 'b': ('x', 'y')}, {'c': (0.5, 1.5)}, {'d': (7,), 'e': (1, 2, 3, 4)}))


def everything(space: SearchSpace) -> list:
    groups = [list(itertools.product(*(range(len(c)) for c in g.values()))) for g in space.groups]
    return list(itertools.product(*groups))


def randomized(kind, space: SearchSpace, seed: int = 0):
    distribution = kind(space)
    with torch.no_grad():
        distribution.alpha.copy_(torch.randn(len(distribution.alpha), generator=torch.Generator().manual_seed(seed)))
    return distribution


def test_parameters_of_the_papers_example() -> None:
    """Variables with 3, 2, 2, 6 and 10 choices: 720 parameters jointly, 23 factorised (main paper, section 3)."""
    space = SearchSpace('example', ({v: tuple(range(n)) for v, n in zip('abcde', (3, 2, 2, 6, 10))},))
    assert Joint(space).num_parameters == 720
    assert Factorized(space).num_parameters == 23


def test_entropy_of_fbnetv2_f() -> None:
    """Uniform at the start: the log of the count; K = 14 at lambda = 1/4, as the paper prints (section 3)."""
    space = get_space('fbnetv2_f')
    for kind in KINDS:
        assert kind(space).entropy().item() == pytest.approx(math.log(space.num_archs))
    assert int(Factorized(space).entropy().item() / 4) == 14


@pytest.mark.parametrize('kind', KINDS)
def test_against_enumeration(kind) -> None:
    space = small_space()
    distribution = randomized(kind, space)
    archs = everything(space)
    log_probs = distribution.log_prob(archs)
    probs = log_probs.exp()
    assert probs.sum().item() == pytest.approx(1)
    assert distribution.entropy().item() == pytest.approx(-(probs * log_probs).sum().item())
    assert distribution.most_probable() == archs[int(probs.argmax())]
    ranked = list(distribution.ranked())
    assert [a for a, _ in ranked] == [archs[i] for i in probs.argsort(descending=True)]
    assert [p for _, p in ranked] == pytest.approx(log_probs.sort(descending=True).values.tolist())
    for g, (group, marginal) in enumerate(zip(space.groups, distribution.marginals())):
        for v, variable in enumerate(group):
            for k, p in enumerate(marginal[variable]):
                expected = sum(q for a, q in zip(archs, probs.tolist()) if a[g][v] == k)
                assert p == pytest.approx(expected)


@pytest.mark.parametrize('kind', KINDS)
def test_samples_follow_the_probabilities(kind) -> None:
    space = small_space()
    distribution = randomized(kind, space)
    drawn = distribution.sample(20_000, torch.Generator().manual_seed(1))
    archs = everything(space)
    expected = distribution.log_prob(archs).exp().detach() * len(drawn)
    counts = torch.tensor([drawn.count(a) for a in archs], dtype=torch.float64)
    chi_square = ((counts - expected) ** 2 / expected).sum().item()
    assert chi_square < 47 + 4 * math.sqrt(2 * 47)  # 48 architectures: mean 47, four standard deviations


def test_sampling_is_repeatable() -> None:
    distribution = randomized(Factorized, small_space())
    first, second = (distribution.sample(50, torch.Generator().manual_seed(3)) for _ in range(2))
    assert first == second


@given(seed=st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_to_joint_is_the_product(seed: int) -> None:
    space = small_space()
    factorized = randomized(Factorized, space, seed)
    joint = factorized.to_joint()
    archs = everything(space)
    torch.testing.assert_close(joint.log_prob(archs), factorized.log_prob(archs), rtol=0, atol=1e-12)
    assert joint.entropy().item() == pytest.approx(factorized.entropy().item(), abs=1e-12)


def test_gradients_of_log_prob_and_entropy() -> None:
    for kind in KINDS:
        distribution = randomized(kind, small_space())
        alpha = distribution.alpha
        archs = everything(distribution.space)[::7]

        def outputs(values, distribution=distribution, archs=archs):
            distribution.alpha = values
            return distribution.log_prob(archs).sum() + distribution.entropy()

        assert torch.autograd.gradcheck(outputs, (alpha,))


@pytest.mark.parametrize('kind', KINDS)
def test_save_and_load(kind, tmp_path) -> None:
    space = small_space()
    distribution = randomized(kind, space)
    path = tmp_path / 'distribution.safetensors'
    distribution.save(path)
    for loaded in (load_distribution(path, space), load_distribution(path)):
        assert type(loaded) is kind
        assert torch.equal(loaded.alpha, distribution.alpha)
        assert loaded.most_probable() == distribution.most_probable()
    with pytest.raises(ValueError, match="over space 'small'"):
        load_distribution(path, get_space('fbnetv2_f'))
    path.write_bytes(b'nothing of the kind')
    with pytest.raises(ValueError, match='not a distribution of a search'):
        load_distribution(path)


def test_an_architecture_of_another_space() -> None:
    with pytest.raises(ValueError, match='group 0'):
        Factorized(small_space()).log_prob([((5, 0), (0,), (0, 0))])


@pytest.mark.parametrize('kind', KINDS)
def test_equal_distributions_are_equal_files(kind, tmp_path: Path) -> None:
    """Each is written often enough for a random order to show; safetensors reads them."""
    distribution = randomized(kind, small_space())
    contents = set()
    for i in range(20):
        distribution.save(tmp_path / f'{i}.safetensors')
        contents.add((tmp_path / f'{i}.safetensors').read_bytes())
    assert len(contents) == 1
    assert torch.equal(load_file(tmp_path / '0.safetensors')['alpha'], distribution.alpha.detach())
    assert load_distribution(tmp_path / '0.safetensors').kind == kind.kind


def test_shown_in_a_notebook() -> None:
    distribution = Factorized(SearchSpace('two', ({'kernel': (3, 5)}, {'act': ('re', 'sw'), 'splits': (1, 2)})))
    with torch.no_grad():
        distribution.alpha.copy_(torch.tensor([0.25, 0.75, 0.5, 0.5, 0.9, 0.1]).log())
    assert repr(distribution) == (
        "Factorized('two': 6 logits, entropy 1.58 nats, most probable: ((1,), (0, 0)) (34 %))"
    )
    assert str(distribution).splitlines()[1:] == ['  0  kernel 3:25 5:75', '  1  act re:50 sw:50 | splits 1:90 2:10']
    for joint in (distribution.to_joint(), str(distribution.to_joint())):
        assert "Joint('two': 6 logits, entropy 1.58 nats" in f'{joint!r}'
