"""The budgeted decode against brute force over small spaces."""

import itertools
import math

import numpy as np
import pytest

from fpnas_timm.arch import Conv
from fpnas_timm.arch.cost import cost
from fpnas_timm.spaces import MBConvSpace, Row
from fpnas_timm.spaces.decode import InfeasibleError, decode, joint_log_probs, runner_up_gap


def small_space(num_rows: int = 3) -> MBConvSpace:
    rows = [
        Row((1, 3), (8, 16), 1, 1, kernel=(0, 3), act=('re', 'sw'), splits=(0, 2)),
        Row((2, 3), (8, 16, 24), 2, 2, kernel=(0, 3, 5), act=('re',), splits=(0, 1)),
        Row((3,), (16, 24), 3, 2, kernel=(3, 5), act=('re', 'sw'), splits=(0,)),
    ]
    return MBConvSpace.from_rows('small', Conv(3, 2, 8, 'sw'), rows[:num_rows], Conv(1, 1, 32, 'sw'), 32)


def random_log_probs(space: MBConvSpace, rng: np.random.Generator, joint: bool) -> list:
    out = []
    for group in space.groups:
        shape = tuple(len(c) for c in group.values())
        if joint:
            p = rng.dirichlet(np.ones(math.prod(shape))).reshape(shape)
            out.append(np.log(p))
        else:
            out.append({v: np.log(rng.dirichlet(np.ones(len(c)))) for v, c in group.items()})
    return out


def everything(space: MBConvSpace, log_probs: list) -> list[tuple]:
    """(log-probability, cost, architecture) of every combination of choices: the slow and obvious way."""
    out = []
    options = [list(itertools.product(*(range(len(c)) for c in g.values()))) for g in space.groups]
    for choices in itertools.product(*options):
        score = 0.0
        for group, chosen, given in zip(space.groups, choices, log_probs):
            if isinstance(given, dict):
                score += sum(given[v][k] for v, k in zip(group, chosen))
            else:
                score += given[chosen]
        arch = space.to_arch(choices)
        out.append((score, cost(arch, num_classes=10), arch))
    return out


@pytest.mark.parametrize('joint', [False, True])
@pytest.mark.parametrize('seed', range(4))
def test_equals_brute_force(seed: int, joint: bool) -> None:
    space, rng = small_space(), np.random.default_rng(seed)
    log_probs = random_log_probs(space, rng, joint)
    table = everything(space, log_probs)
    assert len(table) == space.num_archs == 32 * 36 * 8
    macs = sorted(c.macs for _, c, _ in table)
    params = sorted(c.params for _, c, _ in table)
    n = len(table)
    windows = [
        (None, None),
        ((macs[n // 4], macs[n // 3]), None),
        (None, (params[0], params[n // 10])),
        ((macs[n // 3], macs[2 * n // 3]), (params[n // 3], params[2 * n // 3])),
        ((macs[-1], macs[-1]), None),  # a window of one value
    ]
    for macs_window, params_window in windows:
        def inside(c) -> bool:
            return all(
                w is None or w[0] <= value <= w[1] for w, value in ((macs_window, c.macs), (params_window, c.params))  # noqa: B023
            )

        feasible = [row for row in table if inside(row[1])]
        if not feasible:
            with pytest.raises(InfeasibleError):
                decode(space, log_probs, macs_window, params_window, num_classes=10)
            continue
        best = max(feasible, key=lambda row: row[0])
        found = decode(space, log_probs, macs_window, params_window, num_classes=10)
        assert found.log_prob == pytest.approx(best[0], abs=1e-9)
        assert str(found.arch) == str(best[2])
        assert found.cost == best[1]
        assert 0 <= found.bound - found.log_prob <= 1e-6
        second = max((row[0] for row in feasible if str(row[2]) != str(best[2])), default=-math.inf)
        gap = runner_up_gap(found, space, log_probs, macs_window, params_window, num_classes=10)
        if second > -math.inf:
            assert gap == pytest.approx(best[0] - second, abs=1e-6)


def test_infeasible_says_the_nearest_values() -> None:
    space = small_space()
    log_probs = random_log_probs(space, np.random.default_rng(0), False)
    table = everything(space, log_probs)
    biggest, smallest = max(c.macs for _, c, _ in table), min(c.macs for _, c, _ in table)
    with pytest.raises(InfeasibleError, match=f'nearest has {biggest:,} multiply-adds') as e:
        decode(space, log_probs, macs=(biggest + 5, biggest + 10), num_classes=10)
    assert f'{smallest:,} to {biggest:,} multiply-adds' in str(e.value)
    with pytest.raises(InfeasibleError, match=f'nearest has {smallest:,} multiply-adds'):
        decode(space, log_probs, macs=(1, smallest - 1), num_classes=10)


def test_nearest_in_a_gap_between_reachable_values() -> None:
    space = small_space()
    log_probs = random_log_probs(space, np.random.default_rng(0), False)
    macs = sorted({c.macs for _, c, _ in everything(space, log_probs)})
    low, high = max(itertools.pairwise(macs), key=lambda pair: pair[1] - pair[0])
    window = (low + (high - low) // 4, low + (high - low) // 4 + 1)
    with pytest.raises(InfeasibleError, match=f'nearest has {low:,} multiply-adds'):
        decode(space, log_probs, macs=window, num_classes=10)


def test_probability_zero_is_never_taken() -> None:
    space = small_space()
    log_probs = random_log_probs(space, np.random.default_rng(1), False)
    free = decode(space, log_probs, num_classes=10)
    kernel = space.groups[1]['kernel'].index(free.arch.groups[1].kernel)
    log_probs[1]['kernel'][kernel] = -np.inf
    assert decode(space, log_probs, num_classes=10).arch.groups[1].kernel != free.arch.groups[1].kernel


@pytest.mark.parametrize(
    'spoil, message',
    [
        (lambda lp: lp.pop(), 'has 3 groups, not 2'),
        (lambda lp: lp[0].pop('act'), 'group 0: expected log-probabilities of kernel, act'),
        (lambda lp: lp[1].update(kernel=[0.0]), r'group 1, kernel: expected 3 values, got shape \(1,\)'),
        (lambda lp: lp[1].update(kernel=[0.0, np.nan, 0.0]), 'group 1: a log-probability is not a number'),
        (lambda lp: lp[2].update(splits=[-np.inf]), 'group 2: every choice has probability 0'),
        (lambda lp: lp.__setitem__(0, np.zeros((2, 2))), 'group 0: expected log-probabilities of shape'),
    ],
)
def test_wrong_log_probs(spoil, message: str) -> None:
    space = small_space()
    log_probs = random_log_probs(space, np.random.default_rng(0), False)
    spoil(log_probs)
    with pytest.raises(ValueError, match=message):
        joint_log_probs(space, log_probs)


def test_empty_window() -> None:
    space = small_space()
    with pytest.raises(ValueError, match='macs: the window from 2 to 1 is empty'):
        decode(space, random_log_probs(space, np.random.default_rng(0), True), macs=(2, 1))


def test_a_number_is_an_upper_limit() -> None:
    space = small_space()
    log_probs = random_log_probs(space, np.random.default_rng(3), False)
    costs = sorted(c.macs for _, c, _ in everything(space, log_probs))
    limit = costs[len(costs) // 10]
    assert decode(space, log_probs, macs=limit, num_classes=10) == decode(
        space, log_probs, macs=(0, limit), num_classes=10
    )
    best = max((row for row in everything(space, log_probs) if row[1].macs <= limit), key=lambda row: row[0])
    assert str(decode(space, log_probs, macs=limit, num_classes=10).arch) == str(best[2])
