"""Costs as tables: against `arch.cost`, by enumeration, and in the decode."""
import itertools
import random

import numpy as np
import pytest

from fpnas_timm.arch.cost import cost
from fpnas_timm.spaces import SearchSpace, get_space
from fpnas_timm.spaces.costs import AdditiveCost, network_costs, tabulated
from fpnas_timm.spaces.decode import InfeasibleError, decode

from .cases import everything, tiny_space


def test_those_of_networks_are_those_of_their_strings() -> None:
    space = tiny_space()
    macs, params = network_costs(space, num_classes=7, in_chans=4)
    every = {choices: cost(space.to_arch(choices), num_classes=7, in_chans=4) for choices in everything(space)}
    assert all((macs(choices), params(choices)) == spent for choices, spent in every.items())
    assert macs.range() == (min(c.macs for c in every.values()), max(c.macs for c in every.values()))
    assert params.range() == (min(c.params for c in every.values()), max(c.params for c in every.values()))
    assert (macs.name, macs.unit, params.name, params.unit) == ('macs', 'multiply-adds', 'params', 'parameters')


def test_of_a_large_space_that_is_not_square() -> None:
    space = get_space('fpnas_s1pp').with_img_size((96, 160))
    macs, params = network_costs(space, num_classes=10)
    rng = random.Random(0)
    for choices in (space.sample(rng) for _ in range(50)):
        assert (macs(choices), params(choices)) == cost(space.to_arch(choices), num_classes=10)


def milliseconds(space) -> AdditiveCost:
    """A cost of one's own, which depends on the channels before."""
    rng = np.random.default_rng(0)
    sizes = [np.prod([len(c) for c in group.values()]) for group in space.groups]
    tables = [rng.uniform(1, 5, (rows, size)).tolist() for rows, size in zip((1, 2), sizes)]
    return AdditiveCost('ms', 'milliseconds', space, tables, [0.5, 1.25], 2.5, 'channels')


def test_the_decode_takes_windows_of_any_cost() -> None:
    space = tiny_space()
    ms, (macs, _) = milliseconds(space), network_costs(space, 10)
    rng = np.random.default_rng(1)
    log_probs = [rng.normal(size=[len(c) for c in group.values()]) for group in space.groups]
    every = list(everything(space))
    score = {a: sum(table[chosen] for table, chosen in zip(log_probs, a)) for a in every}
    times = sorted(map(ms, every))
    for low, high in ((0.0, times[20]), (times[90], times[110]), (times[200], float('inf'))):
        limit = sorted(macs(a) for a in every)[150]
        best = max((a for a in every if low <= ms(a) <= high and macs(a) <= limit), key=score.__getitem__)
        found = decode(space, log_probs, macs=limit, num_classes=10, others=[(ms, (low, high))])
        assert found.log_prob == pytest.approx(score[best], abs=1e-9)
        assert found.cost == cost(found.arch, num_classes=10)
    with pytest.raises(InfeasibleError, match=rf'has 0 to 1 milliseconds: the nearest has {times[0]:.6g} milliseconds'):
        decode(space, log_probs, num_classes=10, others=[(ms, 1)])


def test_a_cost_of_another_space_or_twice_the_same_name() -> None:
    space = tiny_space()
    log_probs = [np.zeros([len(c) for c in group.values()]) for group in space.groups]
    other = tabulated(SearchSpace('other', ({'a': (0, 1)},)), lambda arch: arch[0][0], 'ms')
    with pytest.raises(ValueError, match="cost 'ms': expected one of space 'tiny'"):
        decode(space, log_probs, others=[(other, 1)])
    with pytest.raises(ValueError, match='expected costs of different names, got macs, params, macs'):
        decode(space, log_probs, others=[(network_costs(space)[0], 1e6)])


@pytest.mark.parametrize('link', [None, 'width'])
def test_tables_of_a_function(link: str | None) -> None:
    space = SearchSpace('toy', (
        {'op': (0, 1, 2), 'width': (4, 8)}, {'width': (4, 6, 8), 'op': (0, 1)}, {'op': (0, 1, 2)}, {'width': (1, 3)},
    ))

    def function(arch) -> float:
        total, before = 5.0, 3
        for group, chosen in zip(space.groups, arch):
            at = dict(zip(group, chosen))
            width = group['width'][at['width']] if 'width' in group else before if link else 2
            total += (1 + at.get('op', 0)) * width * (before if link else 1)
            before = width if 'width' in group else 7
        return total

    found = tabulated(space, function, link=link)
    ranges = [[range(len(choices)) for choices in group.values()] for group in space.groups]
    every = list(itertools.product(*(itertools.product(*group) for group in ranges)))
    if link:  # what follows a group without the variable does not depend on the group before that
        assert found.states(2) == 1
    assert all(found(a) == pytest.approx(function(a)) for a in every)
    assert found.range() == pytest.approx((min(map(function, every)), max(map(function, every))))


def test_what_is_not_additive_is_refused() -> None:
    space = SearchSpace('cells', tuple({'width': (1, 2, 3)} for _ in range(4)))
    with pytest.raises(ValueError, match=r"^cost 'cost' is not additive: .* costs .*, the sum of its groups is"):
        tabulated(space, lambda arch: (1 + arch[0][0]) * (1 + arch[2][0]))
    with pytest.raises(ValueError, match=r"^cost 'ms': no group of space 'cells' has the link 'channels'"):
        tabulated(space, lambda arch: pytest.fail('called in vain'), 'ms', link='channels')


@pytest.mark.parametrize(('given', 'message'), [
    ({'tables': [[[0, 0]]]}, "space 'two' has 2 groups, not 1"),
    ({'tables': [[[0, 0]], [[0, 0, 0]]]}, 'group 1: expected 2 rows of 3 costs, got rows of .3.'),
    ({'tables': [[[0]], [[0, 0, 0]] * 2]}, 'group 0: expected 1 rows of 2 costs'),
    ({'tail': [1, 2]}, 'expected a tail of 3 costs, got 2'),
    ({'constant': float('nan')}, 'nan is not a finite number'),
    ({'link': 'width'}, "no group of space 'two' has the link 'width': expected one of w, or None"),
])
def test_tables_that_do_not_fit(given: dict, message: str) -> None:
    space = SearchSpace('two', ({'w': (1, 2)}, {'w': (1, 2, 3)}))
    good = {'tables': [[[0, 0]], [[0, 0, 0]] * 2], 'tail': [0, 0, 0], 'link': 'w'}
    AdditiveCost('c', 'units', space, **good)
    with pytest.raises(ValueError, match=message):
        AdditiveCost('c', 'units', space, **{**good, **given})
