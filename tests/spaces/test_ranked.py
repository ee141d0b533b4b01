"""The most probable networks within windows, against brute force: every combination of choices, sorted."""
import itertools
import math
import random

import numpy as np
import pytest

from fpnas_timm.arch import Conv
from fpnas_timm.arch.cost import cost
from fpnas_timm.spaces import MBConvSpace, Row, get_space, paths
from fpnas_timm.spaces.decode import InfeasibleError, decode
from fpnas_timm.spaces.ranked import decode_ranked, ranked_products
from tests.device.tables import made_up_table

from .test_decode import everything, random_log_probs, small_space


def networks(table: list[tuple]) -> list[tuple]:
    """(log-probability, cost, string) of every network, with the log-probability of its most probable choices."""
    found: dict[str, tuple] = {}
    for score, spent, arch in sorted(table, key=lambda row: -row[0]):
        found.setdefault(str(arch), (score, spent, str(arch)))
    return list(found.values())


@pytest.mark.parametrize('joint', [False, True])
def test_equals_brute_force(joint: bool) -> None:
    space, rng = small_space(), np.random.default_rng(5)
    log_probs = random_log_probs(space, rng, joint)
    table = networks(everything(space, log_probs))
    macs, params = sorted(c.macs for _, c, _ in table), sorted(c.params for _, c, _ in table)
    n = len(table)
    assert n < space.num_archs  # some choices give the same network
    for macs_window, params_window in (
            (None, None), ((macs[n // 4], macs[n // 3]), None), ((macs[n // 3], macs[n // 2]), (0, params[n // 2])),
    ):
        windows = [(macs_window, 'macs'), (params_window, 'params')]
        inside = [row for row in table if all(w is None or w[0] <= getattr(row[1], k) <= w[1] for w, k in windows)]
        found = decode_ranked(space, log_probs, 12, macs_window, params_window, num_classes=10)
        assert [str(f.arch) for f in found] == [string for _, _, string in inside[:12]]
        assert [f.cost for f in found] == [spent for _, spent, _ in inside[:12]]
        assert [f.log_prob for f in found] == pytest.approx([score for score, _, _ in inside[:12]], abs=1e-9)
        assert [str(space.to_arch(f.choices)) for f in found] == [str(f.arch) for f in found]
        best = decode(space, log_probs, macs_window, params_window, num_classes=10)
        assert (best.arch, best.choices) == (found[0].arch, found[0].choices)


def test_fewer_than_asked_for_and_none() -> None:
    """One group that is an identity if bypassed: everything else about it is then irrelevant."""
    row = Row((1, 2), (8,), 1, 1, kernel=(0, 3), act=('re', 'sw'), splits=(0, 2))
    space = MBConvSpace.from_rows('tiny', Conv(3, 2, 8, 'sw'), [row], Conv(1, 1, 16, 'sw'), 16)
    log_probs = random_log_probs(space, np.random.default_rng(0), True)
    found = decode_ranked(space, log_probs, 100)
    assert len(found) == 1 + 2 * 2 * 2 < space.num_archs == 16
    assert len({str(f.arch) for f in found}) == 9
    assert found == sorted(found, key=lambda f: -f.log_prob)
    spent = found[3].cost.macs
    assert all(f.cost.macs == spent for f in decode_ranked(space, log_probs, 100, macs=(spent, spent)))
    with pytest.raises(InfeasibleError, match='the nearest has'):
        decode_ranked(space, log_probs, 3, macs=(1, 2))
    with pytest.raises(ValueError, match='count 0: expected at least 1'):
        decode_ranked(space, log_probs, 0)


def test_by_enumeration_as_by_the_solver(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also with a time that is no whole number, and where there are fewer than asked for."""
    space = small_space()
    table = made_up_table(space)
    log_probs = random_log_probs(space, np.random.default_rng(3), False)
    low, high = table.cost().range()
    cases = [(5, (low, low + share * (high - low))) for share in (0.01, 0.3)] + [(50, (0, low * 1.0001))]
    first = [decode_ranked(space, log_probs, count, others=[(table.cost(), window)]) for count, window in cases]
    monkeypatch.setattr(paths, 'MAX_PARTS', 0)  # so that the solver is used
    for found, (count, window) in zip(first, cases):
        second = decode_ranked(space, log_probs, count, others=[(table.cost(), window)])
        assert [str(f.arch) for f in found] == [str(f.arch) for f in second]
        assert all(window[0] <= table.cost()(f.choices) <= window[1] for f in found)
    assert len(first[0]) < len(first[1]) == 5 and len(first[2]) < 50


def test_in_a_space_of_the_paper() -> None:
    """Finalists in seconds, all different, and none of their neighbours is more probable than the last."""
    space, rng = get_space('fpnas_s1pp'), random.Random(0)
    log_probs = random_log_probs(space, np.random.default_rng(0), joint=False)
    window = (58e6, 60e6)
    found = decode_ranked(space, log_probs, 8, macs=window)
    assert len({str(f.arch) for f in found}) == 8
    strings, last = {str(f.arch) for f in found}, found[-1].log_prob
    for f in found:
        for _ in range(40):
            near = tuple(tuple(k if rng.random() < 0.95 else rng.randrange(len(c)) for k, c in zip(chosen, g.values()))
                         for chosen, g in zip(f.choices, space.groups))
            arch = space.to_arch(near)
            if window[0] <= cost(arch).macs <= window[1] and str(arch) not in strings:
                score = sum(log_probs[i][v][k] for i, c in enumerate(near) for v, k in zip(space.groups[i], c))
                assert score <= last + 1e-9


def test_equally_probable_ones_are_all_different() -> None:
    space = small_space()
    flat = [{v: np.full(len(c), -math.log(len(c))) for v, c in group.items()} for group in space.groups]
    found = decode_ranked(space, flat, 40, macs='400K', num_classes=10)
    assert len({str(f.arch) for f in found}) == 40
    assert all(f.cost.macs <= 400_000 for f in found)


def test_products_are_those_of_sorting() -> None:
    rng = np.random.default_rng(0)
    scores = [sorted(rng.normal(size=n), reverse=True) for n in (3, 1, 4, 2)]
    found = list(ranked_products(scores))
    wanted = sorted((sum(row), at) for at, row in zip(
        itertools.product(*(range(len(s)) for s in scores)), itertools.product(*scores)))[::-1]
    assert [at for _, at in found] == [at for _, at in wanted]
    assert [score for score, _ in found] == pytest.approx([score for score, _ in wanted])
