"""Regularised evolution beside a second, plain implementation, and its mutations beside all that are possible."""
import itertools
from collections import Counter
from typing import Any

import pytest
import torch
from scipy.stats import chisquare

from fpnas_timm.errors import UsageError
from fpnas_timm.search.evolution import Evolution, EvolutionConfig
from fpnas_timm.spaces import Choices, SearchSpace

SPACE = SearchSpace('table', ({'a': (0, 1, 2), 'b': (0, 1)}, {'a': (0,), 'b': (0, 1)}, {'a': (0, 1, 2, 3)}))
PLACES = [(0, 0, 3), (0, 1, 2), (1, 1, 2), (2, 0, 4)]  # group, variable, number of choices
ALL = [
    tuple(groups) for groups in itertools.product(
        *(itertools.product(*(range(len(c)) for c in group.values())) for group in SPACE.groups)
    )
]


def score(arch: Choices) -> float:
    return float(arch[0][0] * (1 + arch[2][0]) - arch[0][1] + 0.5 * arch[1][1])


def reference(steps: int, population: int, tournament: int, generator: torch.Generator) -> list[Choices]:
    """Real et al. 2019, algorithm 1, with the birth of every member noted: all architectures in order."""
    history: list[Choices] = []
    members: list[dict[str, Any]] = []
    for birth in range(steps):
        if birth < population:
            child = SPACE.sample(generator)
        else:
            order = torch.randperm(population, generator=generator)
            best = None
            for i in order[:tournament]:
                if best is None or members[i]['score'] > best['score']:
                    best = members[i]
            assert best is not None
            flat = [list(group) for group in best['arch']]
            group, variable, size = PLACES[int(torch.randperm(len(PLACES), generator=generator)[0])]
            step = int(torch.randint(1, size, (), generator=generator))
            flat[group][variable] = (flat[group][variable] + step) % size
            child = tuple(tuple(g) for g in flat)
        history.append(child)
        members.append({'arch': child, 'score': score(child), 'birth': birth})
        if len(members) > population:
            oldest = min(members, key=lambda m: m['birth'])
            members = [m for m in members if m is not oldest]
    return history


@pytest.mark.parametrize(('population', 'tournament'), [(2, 1), (7, 3), (7, 7), (20, 5)])
def test_aging_and_tournament(population: int, tournament: int) -> None:
    strategy = Evolution(SPACE, lambda arch: True, SPACE.sample, EvolutionConfig(population, tournament))
    generator, history = torch.Generator().manual_seed(5), []
    for _ in range(120):
        history.append(strategy.ask(generator))
        strategy.tell(history[-1], score(history[-1]))
    assert history == reference(120, population, tournament, torch.Generator().manual_seed(5))
    assert [arch for arch, _ in strategy.population] == history[-population:]


def evolution(**settings) -> Evolution:
    return Evolution(SPACE, settings.pop('allowed', lambda arch: True), SPACE.sample, EvolutionConfig(**settings))


def differing(first: Choices, second: Choices) -> int:
    return sum(a != b for x, y in zip(first, second) for a, b in zip(x, y))


def test_mutations_are_equally_likely_by_variable() -> None:
    """Each variable in a quarter of the cases, and each of its other values as often as any other."""
    parent, generator, strategy = ((1, 0), (0, 1), (2,)), torch.Generator().manual_seed(0), evolution()
    counts = Counter(strategy._mutated(parent, generator) for _ in range(1200))
    near = [arch for arch in ALL if differing(arch, parent) == 1]
    assert set(counts) == set(near)
    sizes = {place[:2]: place[2] for place in PLACES}
    expected = []
    for arch in near:
        place = next((g, v) for g in range(3) for v in range(len(arch[g])) if arch[g][v] != parent[g][v])
        expected.append(1200 / 4 / (sizes[place] - 1))
    assert chisquare([counts[arch] for arch in near], expected).pvalue > 1e-3


def test_mutations_within_a_narrow_budget() -> None:
    """The sum of the indices must stay: any change of a variable is kept, with as few others as that takes."""
    parent, generator = ((1, 0), (0, 1), (2,)), torch.Generator().manual_seed(0)
    strategy = evolution(allowed=lambda arch: sum(map(sum, arch)) == 4)
    found = {strategy._mutated(parent, generator) for _ in range(400)}
    allowed, expected = [arch for arch in ALL if sum(map(sum, arch)) == 4], set()
    for group, variable, size in PLACES:
        for value in set(range(size)) - {parent[group][variable]}:
            these = [arch for arch in allowed if arch[group][variable] == value]
            fewest = min((differing(arch, parent) for arch in these), default=0)
            expected |= {arch for arch in these if differing(arch, parent) == fewest}
    assert found == expected
    assert {differing(arch, parent) for arch in found} == {2, 3}


def test_nothing_near_is_allowed() -> None:
    """Then a new one is drawn."""
    strategy = Evolution(SPACE, lambda arch: False, lambda generator: ALL[-1], EvolutionConfig(2, 1))
    assert strategy._mutated(ALL[0], torch.Generator().manual_seed(0)) == ALL[-1]


def test_crossover_takes_groups_of_two_parents() -> None:
    strategy, generator = evolution(population=2, tournament=1, crossover=1.0), torch.Generator().manual_seed(0)
    parents = (((0, 0), (0, 0), (0,)), ((1, 1), (0, 1), (3,)))
    for arch in parents:
        strategy.tell(arch, 0.0)
    seen = Counter(strategy.ask(generator) for _ in range(200))
    mixed = set(itertools.product(*zip(*parents))) - set(parents)
    assert mixed <= set(seen)  # the others: a parent was drawn twice, and its child is a mutation
    assert all(arch in mixed or min(differing(arch, p) for p in parents) == 1 for arch in seen)


@pytest.mark.parametrize(('settings', 'message'), [
    ({'population': 1}, 'population 1: expected at least 2'),
    ({'population': 5, 'tournament': 6}, 'tournament 6: expected at least 1 and at most the population, 5'),
    ({'tournament': 0}, 'tournament 0: expected'),
    ({'children': 0}, 'children 0: expected at least 1'),
    ({'crossover': 1.5}, r'crossover 1\.5: expected a probability'),
])
def test_wrong_settings(settings: dict, message: str) -> None:
    with pytest.raises(UsageError, match=f'^{message}'):
        EvolutionConfig(**settings)
