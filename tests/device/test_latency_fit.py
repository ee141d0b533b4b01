"""The fit finds rates that are known, and says truly what it is worth."""
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fpnas_timm.device.latency_fit import GOOD, Worth, fit_rates, worth
from fpnas_timm.device.latency_table import network_work
from fpnas_timm.spaces import get_space
from tests.device.tables import made_up_table
from tests.spaces.cases import tiny_space


def measured(space, count, noise, seed=0):
    """Works and true times of random networks, and times with relative noise."""
    table, rng = made_up_table(space, seed), random.Random(seed)
    archs = [space.sample_arch(rng) for _ in range(count)]
    true = [table.predict(arch) for arch in archs]
    return [network_work(arch) for arch in archs], true, [t * rng.gauss(1, noise) for t in true]


@given(st.integers(0, 1000))
@settings(max_examples=5, deadline=None)
def test_times_without_noise_are_found_again(seed: int) -> None:
    works, true, _ = measured(tiny_space(), 150, 0, seed)
    fit = fit_rates(works[:100], true[:100])
    assert worth([fit.predict(w) for w in works[100:]], true[100:]).largest_error < 0.01
    assert all(rate >= 0 for part in fit.parts for rate in part.values()) and fit.constant >= 0


def test_noise_averages_out_in_a_space_of_the_paper() -> None:
    """With 3 % of noise on each network, the fit is nearer to the truth than what was measured."""
    works, true, noisy = measured(get_space('fpnas_s1pp'), 260, 0.03)
    fit = fit_rates(works[:200], noisy[:200])
    errors = [abs(fit.predict(w) / t - 1) for w, t in zip(works[200:], true[200:])]
    assert np.mean(errors) < 0.02


def test_worth_is_that_of_its_definition() -> None:
    found = worth([1.0, 2.0, 3.0, 4.0], [1.1, 2.0, 2.0, 5.0])
    assert found.mean_error == pytest.approx(np.mean([0.1 / 1.1, 0, 0.5, 0.2]))
    assert found.largest_error == pytest.approx(0.5) and found.within_10 == 0.5
    pairs = [(0, 1), (0, 2), (0, 3), (1, 3), (2, 3)]  # (1, 2) is a tie of what was measured
    assert found.tau == pytest.approx(len(pairs) / np.sqrt(6 * 5))
    assert worth([1.0, 1.0], [1.0, 2.0]).tau == 0  # a constant says nothing


def test_what_is_good() -> None:
    assert Worth(50, GOOD[0], 0.5, 0.5, GOOD[1]).is_good
    assert not Worth(50, 0.11, 0.5, 0.5, 0.99).is_good and not Worth(50, 0.01, 0.5, 0.5, 0.7).is_good
