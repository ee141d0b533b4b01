"""Any space: groups of variables and choices, and fair sampling."""
import collections
import random

import pytest
import torch

from fpnas_timm.spaces import SearchSpace, get_space
from tests.spaces.cases import everything


def generator(kind, seed):
    return random.Random(seed) if kind == 'random' else torch.Generator().manual_seed(seed)


@pytest.mark.parametrize('kind', ['random', 'torch'])
def test_sampling_is_reproducible_and_leaves_the_global_generators_alone(kind):
    space = get_space('fpnas_l2')
    before = random.getstate(), torch.get_rng_state()
    one, two, other = generator(kind, 1), generator(kind, 1), generator(kind, 2)
    first = [space.sample_arch(one) for _ in range(5)]
    assert first == [space.sample_arch(two) for _ in range(5)]
    assert first != [space.sample_arch(other) for _ in range(5)]
    assert len(set(first)) == 5 and all(arch in space for arch in first)
    assert random.getstate() == before[0] and torch.equal(torch.get_rng_state(), before[1])


@pytest.mark.parametrize('kind', ['random', 'torch'])
def test_sampling_is_uniform(kind):
    space = SearchSpace('small', ({'a': (1, 2), 'b': ('x', 'y', 'z')}, {'c': (1, 2, 3, 4)}))
    draws, gen = 4800, generator(kind, 0)
    counts = collections.Counter(space.sample(gen) for _ in range(draws))
    assert set(counts) == set(everything(space)) and len(counts) == space.num_archs == 24
    expected = draws / 24
    chi_square = sum((n - expected) ** 2 / expected for n in counts.values())
    assert 7 < chi_square < 50  # 23 degrees of freedom: outside with probability 0.002, and the seed is fixed


@pytest.mark.parametrize('not_a_generator', [None, 0, random, torch])
def test_sampling_wants_a_generator(not_a_generator):
    with pytest.raises(TypeError, match=r'expected a random\.Random or a torch\.Generator'):
        get_space('fpnas_l0').sample(not_a_generator)


def test_a_space_of_anything():
    space = SearchSpace('cells', ({'op': ['conv', 'pool', None]}, {'op': ['conv', 'pool'], 'width': [8, 16]}))
    assert space.num_archs == 12
    assert [list(group) for group in space.groups] == [['op'], ['op', 'width']]
    assert space.values(((2,), (0, 1))) == [{'op': None}, {'op': 'conv', 'width': 16}]
    assert space.describe(((2,), (0, 1))) == '((2,), (0, 1))'


CHOICES_OF_OTHERS = [(), ((0,),), ((0,), (0, 0), (0,)), ((3,), (0, 0)), ((-1,), (0, 0)), ((0, 0), (0, 0))]


@pytest.mark.parametrize('choices', CHOICES_OF_OTHERS)
def test_choices_of_another_space_are_refused(choices):
    space = SearchSpace('cells', ({'op': ('a', 'b', 'c')}, {'op': ('a', 'b'), 'width': (8, 16)}))
    with pytest.raises(ValueError, match="space 'cells'"):
        space.values(choices)


@pytest.mark.parametrize(
    'groups, message',
    [
        ((), "space 'mine': expected at least one group"),
        (({'a': (1,)}, {}), "space 'mine', group 1: expected at least one variable"),
        (({'a': (1,), 'b': ()},), "space 'mine', group 0: variable 'b' has no choice"),
        (({'a': (1, 2, 1)},), "space 'mine', group 0: variable 'a' has a choice twice"),
        (({'a': (3, 3.0)},), "variable 'a' has a choice twice"),
    ],
)
def test_errors_of_a_space(groups, message):
    with pytest.raises(ValueError, match=message):
        SearchSpace('mine', groups)
