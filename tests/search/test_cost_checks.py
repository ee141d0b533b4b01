"""What a search with cost tables refuses before it starts, against the list of all architectures."""
import random

import pytest

from fpnas_timm.errors import UsageError
from fpnas_timm.search.cost_checks import is_impossible
from fpnas_timm.search.loop import Search, SearchConfig
from fpnas_timm.spaces import SearchSpace
from fpnas_timm.spaces.costs import network_costs, tabulated
from tests.spaces.cases import everything, tiny_space

from .test_expected import costs
from .test_loop import SPACE, Table

COST = tabulated(SPACE, Table().cost, 'macs', 'multiply-adds')  # 100 to 220 in steps of 10
MS = tabulated(SPACE, lambda arch: 13.0 - sum(map(sum, arch)), 'ms', 'milliseconds')  # what is small is slow: 13 to 1


def started(costs, epochs: int = 2, **settings) -> Search:
    return Search(SPACE, Table(), SearchConfig(epochs=epochs, **{'cost_form': 'multiplier', **settings}), costs=costs)


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'target': 500}, r'^target 500: no architecture of space .table. has 490 to 500 multiply-adds \(macs\) \(the '
                          r'space reaches 100 to 220 multiply-adds \(macs\)\): change a target or the tolerance$'),
        ({'target': 50}, '^target 50: no architecture'),
        ({'target': float('inf')}, '^target inf: no architecture'),
        ({'target': 108, 'tolerance': 0.05}, '^target 108: no architecture .* has 102.6 to 108 multiply-adds'),
        ({'targets': {'ms': 20.0}}, r"^targets\['ms'\] 20: no architecture .* reaches 1 to 13 milliseconds \(ms\)\)"),
        ({'target': 110, 'targets': {'ms': 2.0}}, r"^target 110 and targets\['ms'\] 2 exclude each other: no archit"
                                                  r'.* and 1.96 to 2 mill.* reaches 100 to 220 .* and 1 to 13 .* not'),
    ],
)
@pytest.mark.parametrize('form', ['multiplier', 'absolute'])
def test_budgets_that_no_architecture_meets(settings: dict, message: str, form: str) -> None:
    with pytest.raises(UsageError, match=message):
        started([COST, MS], cost_form=form, **settings)


@pytest.mark.parametrize('settings', [
    {'target': 100}, {'target': 220}, {'targets': {'ms': 1.0}}, {'targets': {'ms': 13.0}},
    {'target': 200, 'targets': {'ms': 3.0}}, {'target': 220, 'targets': {'ms': 1.0}},
    {'target': 100, 'targets': {'ms': 13.0}},
])
def test_the_least_and_the_most_that_is_possible(settings: dict) -> None:
    """The expectation that a budget asks for is below its target, so at the least cost nothing reaches it."""
    search = started([COST, MS], epochs=8, lam=1.0, alpha_lr=0.05, temperature=3.0, **settings)
    assert search.run()
    assert search.distribution.alpha.isfinite().all()
    assert COST(search.result()) == settings.get('target', COST(search.result()))
    assert MS(search.result()) == settings.get('targets', {}).get('ms', MS(search.result()))


@pytest.mark.parametrize('pair', [
    network_costs(tiny_space(), 10), [c for c in costs() if c.name == 'own'], [COST, MS],
    [MS, tabulated(SPACE, lambda arch: sum((3, 50)[b] * (1 + a) for a, b in arch), 'odd')],
], ids=['network', 'own', 'steps', 'gaps'])
def test_impossible_is_what_no_architecture_is_within(pair) -> None:
    every = [tuple(cost(arch) for cost in pair) for arch in everything(pair[0].space)]
    rng, seen = random.Random(0), []
    for _ in range(40):
        at = [rng.choice(every)[i] for i in range(2)]
        share = rng.choice((1e-4, 1e-2, 0.05))
        windows = [(value * (1 - share), value * (1 + share)) for value in at]
        seen.append(not any(all(low <= v <= high for v, (low, high) in zip(values, windows)) for values in every))
        assert is_impossible(pair, windows) == seen[-1]
        assert not is_impossible(pair[:1], windows[:1])
    assert 0 < sum(seen) < len(seen)


def test_a_table_that_contradicts_the_evaluator() -> None:
    double = tabulated(SPACE, lambda arch: 2 * Table().cost(arch), 'macs', 'x')
    with pytest.raises(UsageError, match=r"^costs: by the tables of 'macs', .* costs (\d+), by the evaluator \d+: exp"):
        started([double], target=160)
    with pytest.raises(UsageError, match=r"^costs: by the tables of 'ms'"):
        started([MS, COST], target=160)
    nearly = tabulated(SPACE, lambda arch: Table().cost(arch) * (1 + 1e-7), 'macs')  # of single precision
    assert started([nearly], target=160).budgets.windows


def test_two_costs_of_one_name() -> None:
    with pytest.raises(UsageError, match=r'^costs: expected costs of different names, got macs, macs'):
        started([COST, COST], target=160)


@pytest.mark.parametrize('groups', [
    ({'a': (0, 1)},), SPACE.groups[:3], ({'b': (0, 1), 'a': (0, 1, 2)},) * 4, ({'a': (0, 1, 3), 'b': (0, 1)},) * 4,
])
def test_a_table_of_another_space(groups) -> None:
    other = tabulated(SearchSpace('other', groups), lambda arch: sum(map(sum, arch)) + 1, 'ms')
    with pytest.raises(UsageError, match=r"^costs: the tables of cost 'ms' are of space 'other', which has other"):
        started([COST, other], target=160, targets={'ms': 3})


def test_costs_that_are_linked_by_different_variables() -> None:
    first = tabulated(SPACE, Table().cost, 'macs', link='a')
    second = tabulated(SPACE, lambda arch: 1.0 + sum(map(sum, arch)), 'ms', link='b')
    with pytest.raises(UsageError, match=r"^cost_form 'multiplier': the costs with targets are linked by a and b: exp"):
        started([first, second], target=160, targets={'ms': 6})
    assert started([first, second], target=160).budgets.multiplier is not None
