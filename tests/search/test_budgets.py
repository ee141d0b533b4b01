"""Budgets of multiply-adds and parameters, alone and together, in searches and in what refuses them."""
import json
import logging
from pathlib import Path

import pytest

from fpnas_timm.arch.cost import cost
from fpnas_timm.errors import UsageError
from fpnas_timm.search import SearchConfig, search
from fpnas_timm.search.candidates import CandidateConfig
from fpnas_timm.search.options import PRESETS, parse_search_args
from fpnas_timm.search.targets import check_target
from tests.spaces.cases import everything, tiny_space

from .test_api import SETTINGS, SPACE, Colours

EVERY = [cost(SPACE.to_arch(choices), num_classes=3) for choices in everything(SPACE)]
BOTH = sorted(EVERY)[len(EVERY) // 2]


@pytest.mark.parametrize('strategy', ['fp-nas', 'evolution'])
@pytest.mark.parametrize('names', [['params'], ['macs', 'params']])
def test_the_result_is_within_each(
        strategy: str, names: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, 'search')
    given = {f'target_{name}': getattr(BOTH, name) for name in names}
    if strategy == 'evolution':
        given |= {'strategy': strategy, 'evaluations': 20, 'population': 5, 'tournament': 3, 'score_batches': 1}
    settings = {k: v for k, v in SETTINGS.items() if strategy == 'fp-nas' or k not in ('warmup_epochs', 'lam')}
    result = search(SPACE, Colours(), tolerance=0.1, output=tmp_path / 'out', **{**settings, **given})
    written = json.loads((tmp_path / 'out' / 'result.json').read_text())
    for name in ('macs', 'params'):
        target = written[f'target_{name}']
        assert target == (getattr(BOTH, name) if name in names else None)
        assert target is None or 0.9 * target <= getattr(result, name) <= target
    if strategy == 'fp-nas':
        assert result.distribution is not None
        mode = cost(SPACE.to_arch(result.distribution.most_probable()), num_classes=3)
        assert all(0.9 * getattr(BOTH, n) <= getattr(mode, n) <= getattr(BOTH, n) for n in names)
        assert [k for k in result.history[-1] if k.startswith('multiplier')] == [f'multiplier_{n}' for n in names]
        assert (written['most_probable_macs'], written['most_probable_params']) == (mode.macs, mode.params)
        line = next(m for m in reversed(caplog.messages) if m.startswith('epoch '))
        row = result.history[-1]
        assert f'{row["cost"] / 1e6:.2f}M multiply-adds and {row["expected_params"] / 1e6:.3f}M parameters exp' in line
        multipliers = ', '.join(f'{row[f"multiplier_{n}"]:.2f} ({n})' for n in names)
        assert f'  multiplier {multipliers}  ' in line and 'beta' not in line
    lines = [m for m in caplog.messages if m.startswith('finalist ')]
    assert len(lines) == len(result.finalists)
    assert {m.rpartition(', ')[2] for m in lines} == {f'{f.params / 1e6:.3f}M parameters' for f in result.finalists}


def test_refused_before_the_search() -> None:
    space = tiny_space()
    every = [cost(space.to_arch(choices), num_classes=10) for choices in everything(space)]
    small, large = min(c.macs for c in every), max(c.params for c in every)
    for kind in (SearchConfig, CandidateConfig):
        check_target(space, kind(epochs=2, target=small, targets={'params': min(every).params}), 10, 3)
        with pytest.raises(UsageError, match=f'^--target-macs {small:,} and --target-params {large:,} exclude each '):
            check_target(space, kind(epochs=2, target=small, targets={'params': large}), 10, 3)
        with pytest.raises(UsageError, match=r'^--target-params 10: no architecture .* has 10 to 10 parameters: the'):
            check_target(space, kind(epochs=2, targets={'params': 10}), 10, 3)
        with pytest.raises(UsageError, match=r'^--target-params 0.5 with --tolerance 0.02: no whole number'):
            check_target(space, kind(epochs=2, targets={'params': 0.5}), 10, 3)


def test_options(caplog: pytest.LogCaptureFixture) -> None:
    args = parse_search_args(['--target-params', '0.3M', '--output', 'x'])
    assert (args.target_params, args.target_macs, args.cost_form) == (3e5, None, 'multiplier')
    assert not [m for m in caplog.messages if 'beta' in m]
    with caplog.at_level(logging.WARNING):
        parse_search_args(['--beta', '0.5', '--output', 'x'])
    assert '--beta 0.5 is not used: --cost-form multiplier finds it' in caplog.messages
    for name in PRESETS:  # the paper's form, which has a beta
        args = parse_search_args(['--preset', name, '--output', 'x'])
        assert (args.cost_form, args.beta) == ('relative', 0.3)
