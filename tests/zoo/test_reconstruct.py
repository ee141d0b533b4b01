"""The exact solver finds every string again, and no other."""
import pytest

from fpnas_timm.arch.cost import cost
from fpnas_timm.cli.describe import reconstruct_main
from fpnas_timm.spaces import get_space
from fpnas_timm.spaces.decode import runner_up_gap
from fpnas_timm.zoo import ARCHS, reconstruct


@pytest.mark.parametrize('name', ARCHS)
def test_string_is_found_again(name: str) -> None:
    found = reconstruct.reconstruct(name)
    assert str(found.arch) == ARCHS[name]
    assert found.bound - found.log_prob <= 1e-6  # the proof
    assert found.cost == cost(found.arch)


@pytest.mark.parametrize('name', ['fpnas_s1pp', 'fpnas_l0'])
def test_optimum_is_the_only_one(name: str) -> None:
    space, found = get_space(name), reconstruct.reconstruct(name)
    gap = runner_up_gap(found, space, reconstruct.section_b_prior(space), *reconstruct.budget_windows(name))
    assert gap > 1e-4  # a hundred times the solver's tolerance


def test_prior_says_what_section_b_says() -> None:
    space = get_space('fpnas_l2')
    prior = reconstruct.section_b_prior(space)
    five_over_three = [p['kernel'][2] - p['kernel'][1] for p in prior]
    assert five_over_three == sorted(five_over_three)
    assert five_over_three[0] < 0 < five_over_three[-1]
    best_splits = [space.groups[i]['splits'][p['splits'].argmax()] for i, p in enumerate(prior)]
    assert best_splits == sorted(best_splits)
    assert (best_splits[0], best_splits[-1]) == (0, 4)
    assert all(abs(sum(2.718281828459045**x for x in v) - 1) < 1e-9 for p in prior for v in p.values())


def test_reconstruct_command(capsys: pytest.CaptureFixture) -> None:
    assert reconstruct_main(['fpnas_s4pp']) == 0
    assert capsys.readouterr().out.strip() == ARCHS['fpnas_s4pp']


def test_budget_out_of_reach_is_one_sentence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(reconstruct, 'budget_windows', lambda name: ((10**9, 10**9 + 10), (10**6, 10**6 + 1)))
    assert reconstruct_main(['fpnas_s1pp']) == 1
    err = capsys.readouterr().err
    assert 'the nearest has' in err
    assert err.count('\n') == 1
