"""Architectures drawn within a budget, beside all of them: which there are, and that each is equally likely."""
import itertools
import logging
from collections import Counter

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from fpnas_timm.arch import Conv
from fpnas_timm.arch.cost import cost
from fpnas_timm.search import within
from fpnas_timm.search.within import WindowSampler, network_sampler
from fpnas_timm.spaces import Choices, MBConvSpace, Row, SearchSpace
from fpnas_timm.spaces.costs import AdditiveCost
from fpnas_timm.spaces.decode import InfeasibleError

# Bypassed groups that are identities and such that are not, repeats, variables without cost, one variable alone.
ROWS = [
    Row(expansion=(1, 2), channels=(8, 12), repeat=1, stride=1, kernel=(0, 3), act=('re', 'sw'), splits=(0, 2)),
    Row(expansion=(2,), channels=(8, 16), repeat=2, stride=2, kernel=(0, 5), act=('re',), splits=(0, 1)),
    Row(expansion=(1.5, 3), channels=(16,), repeat=2, stride=1, kernel=(3,), act=('re', 'hs'), splits=(0,)),
]
SPACE = MBConvSpace.from_rows('tiny', Conv(3, 2, 8, 'sw'), ROWS, Conv(1, 1, 24, 'sw'), (32, 48))
ALL = [
    tuple(groups) for groups in itertools.product(
        *(itertools.product(*(range(len(c)) for c in group.values())) for group in SPACE.groups)
    )
]


def costs(num_classes: int, in_chans: int) -> dict[Choices, int]:
    return {arch: cost(SPACE.to_arch(arch), num_classes=num_classes, in_chans=in_chans).macs for arch in ALL}


@pytest.mark.parametrize(('low', 'high', 'num_classes', 'in_chans'), [
    (0, 10**9, 10, 3), (400_000, 500_000, 10, 3), (540_000, 551_000, 7, 1), (600_000, 605_000, 1000, 4),
    (0, 300_000, 3, 3),
])
def test_all_within_the_window_are_equally_likely(low: int, high: int, num_classes: int, in_chans: int) -> None:
    assert len(ALL) == SPACE.num_archs == 1024
    spent = costs(num_classes, in_chans)
    inside = [arch for arch, macs in spent.items() if low <= macs <= high]
    assert len(inside) > 5
    draw, generator = network_sampler(SPACE, (low, high), None, num_classes, in_chans), torch.Generator().manual_seed(0)
    counts = Counter(draw(generator) for _ in range(max(6 * len(inside), 300)))
    assert set(counts) <= set(inside)
    assert chisquare([counts[arch] for arch in inside]).pvalue > 1e-3


@pytest.mark.parametrize('unit', [1, 137, 5000, 50_000])
def test_counts_however_costs_are_rounded(unit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of ways from the start is that of the architectures within the window, and little more."""
    low, high = 400_000, 450_000
    spent = costs(10, 3)
    exact = sum(low <= macs <= high for macs in spent.values())
    monkeypatch.setattr(within, 'MAX_UNITS', high // unit)
    draw = network_sampler(SPACE, (low, high), None, 10)
    assert draw.unit >= (high - low) / 9
    counted = draw._ways[0][0, 0]
    widest = 4 * draw.unit
    assert exact <= counted <= sum(low - widest <= macs <= high + widest for macs in spent.values())
    generator = torch.Generator().manual_seed(1)
    assert all(low <= spent[draw(generator)] <= high for _ in range(20))


def test_a_window_with_next_to_nothing_in_it(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """One exact cost: after some draws that miss it, the solver finds every architecture that has it."""
    spent = costs(10, 3)
    macs, number = next((m, n) for m, n in Counter(spent.values()).most_common() if n == 4)
    monkeypatch.setattr(within, 'MAX_DRAWS', 1)
    monkeypatch.setattr(within, 'MAX_UNITS', 5)
    draw, generator = network_sampler(SPACE, (macs, macs), None, 10), torch.Generator().manual_seed(0)
    with caplog.at_level(logging.WARNING):
        found = {draw(generator) for _ in range(60)}
    assert found == {arch for arch, m in spent.items() if m == macs} and len(found) == number
    assert [m for m in caplog.messages if m.startswith(f'so few architectures have {macs:,} to {macs:,} multiply-adds')]
    assert len(caplog.messages) == 1


@pytest.mark.parametrize('window', [(10, 20), (10**12, 10**13), (0, 1)])
def test_an_empty_window(window: tuple[int, int]) -> None:
    with pytest.raises(InfeasibleError, match='no architecture of space'):
        network_sampler(SPACE, window)(torch.Generator())


def test_the_same_generator_draws_the_same() -> None:
    draw = network_sampler(SPACE, (400_000, 500_000), None, 10)
    first, second = ([draw(g) for _ in range(5)] for g in (torch.Generator().manual_seed(i) for i in (3, 3)))
    assert first == second


def test_two_budgets() -> None:
    """Multiply-adds and parameters: all within both windows, and each equally likely."""
    both = {arch: cost(SPACE.to_arch(arch), num_classes=10) for arch in ALL}
    inside = [arch for arch, c in both.items() if 400_000 <= c.macs <= 600_000 and 3_000 <= c.params <= 4_000]
    assert 5 < len(inside) < len([c for c in both.values() if 400_000 <= c.macs <= 600_000])
    draw, generator = network_sampler(SPACE, (400_000, 600_000), (3_000, 4_000), 10), torch.Generator().manual_seed(0)
    counts = Counter(draw(generator) for _ in range(max(6 * len(inside), 300)))
    assert set(counts) <= set(inside) and chisquare([counts[arch] for arch in inside]).pvalue > 1e-3
    only = network_sampler(SPACE, params=(3_000, 4_000), num_classes=10)
    assert all(3_000 <= both[only(generator)].params <= 4_000 for _ in range(20))
    with pytest.raises(ValueError, match=r'^expected a window of multiply-adds or of parameters$'):
        network_sampler(SPACE)


@pytest.mark.parametrize('window', [(3.05, 3.3), (0, 99), (0, 1.0), (5.55, 9)])
def test_any_additive_cost(window: tuple[float, float]) -> None:
    """Not whole numbers, and with the choice of the group before: measured milliseconds."""
    two = (0, 1)
    space = SearchSpace('cells', ({'op': (0, 1, 2), 'width': two}, {'width': (0, 1, 2), 'op': two}, {'op': two}))
    rng = np.random.default_rng(0)
    tables = [rng.uniform(0.2, 2, (1, 6)), rng.uniform(0.2, 2, (2, 6)), rng.uniform(0.2, 2, (3, 2))]
    ms = AdditiveCost('ms', 'milliseconds', space, [t.tolist() for t in tables], (0.1,), constant=0.5, link='width')
    groups = (itertools.product(*(range(len(c)) for c in group.values())) for group in space.groups)
    inside = [arch for arch in itertools.product(*groups) if window[0] <= ms(arch) <= window[1]]
    draw, generator = WindowSampler(ms, window), torch.Generator().manual_seed(0)
    if not inside:
        with pytest.raises(InfeasibleError, match=r"^no architecture of space 'cells' was found that has 0 to 1 "):
            draw(generator)
        return
    counts = Counter(draw(generator) for _ in range(max(8 * len(inside), 300)))
    assert set(counts) <= set(inside) and chisquare([counts[arch] for arch in inside]).pvalue > 1e-3
