"""The two ways to solve a decode find the same; what is said where nothing is found."""
import math
import random
from typing import NamedTuple

import numpy as np
import pytest

from fpnas_timm.spaces import decode as decoding
from fpnas_timm.spaces import get_space, milp, paths
from fpnas_timm.spaces.decode import InfeasibleError, decode, make_problem, solve

from .test_decode import everything, random_log_probs, small_space


@pytest.mark.parametrize('seed', range(2))
def test_by_enumeration_as_by_the_solver(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    space = small_space()
    log_probs = random_log_probs(space, np.random.default_rng(seed), joint=seed % 2 == 1)
    costs = sorted(c for _, c, _ in everything(space, log_probs))
    middle = costs[len(costs) // 2]
    windows = [{}, {'macs': (middle.macs * 0.9, middle.macs)}, {'params': (middle.params, math.inf)},
               {'macs': middle.macs, 'params': (0, middle.params)}]
    found = [decode(space, log_probs, **w, num_classes=10) for w in windows]
    monkeypatch.setattr(paths, 'MAX_PARTS', 0)  # so that the solver is used
    solved = []
    monkeypatch.setattr(decoding, 'solve', lambda *args: solved.append(args) or solve(*args))
    for w, first in zip(windows, found):
        second = decode(space, log_probs, **w, num_classes=10)
        assert (first.arch, first.cost) == (second.arch, second.cost)
        assert first.bound == pytest.approx(second.log_prob, abs=1e-6)
    assert len(solved) == len(windows)


def test_in_a_space_of_the_paper() -> None:
    """More probable than every other architecture within the windows that chance finds, and proved to be the best."""
    space, rng = get_space('fpnas_s1pp'), random.Random(0)
    log_probs = random_log_probs(space, np.random.default_rng(0), joint=False)
    problem = make_problem(space, log_probs, (60e6, 61e6), (5e6, 5.5e6), 1000, 3)
    found = decoding.decoded(problem)
    assert found.bound - found.log_prob < 1e-9
    assert 60e6 <= found.cost.macs <= 61e6 and 5e6 <= found.cost.params <= 5.5e6

    def score(choices) -> float:
        return math.fsum(log_probs[i][v][k] for i, c in enumerate(choices) for v, k in zip(space.groups[i], c))

    assert score(found.choices) == pytest.approx(found.log_prob)
    near = [tuple(tuple(k if rng.random() < 0.9 else rng.randrange(len(c)) for k, c in zip(chosen, group.values()))
                  for chosen, group in zip(found.choices, space.groups)) for _ in range(300)]
    inside = [c for c in near if problem.is_within(c)]
    assert len(inside) > 3 and all(score(c) <= found.log_prob + 1e-9 for c in inside)


@pytest.mark.parametrize('windows', [
    {'macs': 1}, {'macs': (10**12, math.inf)}, {'macs': (2_000_000, 2_000_001)},
    {'macs': 300_000, 'params': (10**6, 10**7)},
])
def test_near_where_nothing_is_within(windows: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    space = small_space()
    log_probs = random_log_probs(space, np.random.default_rng(0), joint=False)
    said = []
    for small in (milp.SMALL, 0):
        monkeypatch.setattr(milp, 'SMALL', small)
        with pytest.raises(InfeasibleError) as e:
            decode(space, log_probs, **windows, num_classes=10)
        said.append(str(e.value))
    proved, near = said
    assert 'the nearest has' in proved
    assert near == proved or 'one of the nearest has' in near


def test_costs_of_both_signs_that_must_add_up_to_nothing() -> None:
    class Edge(NamedTuple):
        in_chs: int
        out_chs: int
        score: float
        spent: tuple[float, ...]

    layers = [[Edge(1, c, s, (v,)) for c, s, v in ((1, 0.0, 2.0), (2, -1.0, -3.0))],
              [Edge(c, 1, s, (v,)) for c, s, v in ((1, -0.5, 1.0), (1, -2.0, -2.0), (2, 0.0, 3.0), (2, -0.1, 0.0))]]
    assert paths.best_path(layers, [(0, 0.0, 0.0)]) == ([1, 2], -1.0)
    assert paths.best_path(layers, [(0, -1.0, 0.0)]) == ([1, 2], -1.0)
    assert paths.best_path(layers, []) == ([0, 0], -0.5)
    assert paths.best_path(layers, [(0, 3.5, 4.0)]) is None
    assert paths.near_path(layers, [(0, 3.5, 4.0, 1.0)]) == ([0, 0], True)


def test_no_path_at_all() -> None:
    assert paths.best_path([[], []], []) is None
    assert paths.near_path([[]], []) == (None, True)
