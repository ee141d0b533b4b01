"""pytest plugin for timm's test files: its lists of models become ours; what ran goes to `$TIMM_SUITE_REPORT`.

`-p timm_suite_plugin`, a top-level module since timm's tests are a package `tests` too. timm's files are not touched.
`TIMM_SUITE_MODELS` holds the names, separated by commas.
"""
import json
import os
from pathlib import Path
from typing import Any

import pytest
import timm
import timm.models
from timm.models import _registry
from timm_suite_table import POINTED

import fpnas_timm

SEARCHED = 'searched_net'
STRING = (
    'i64-cn_k3_s2_c16_nsw-ir_k3_e1_c16_nre-ir_r2_k5_s2_e3.5_c24_nre_sp2-ir_k3_s2_e2_c40_nsw_sp1-'
    'ir_k5_s2_e4_c56_nhs_sp4-ir_k0_s2_c64_nsw-cn_k1_c128_nsw'
)
fpnas_timm.register_arch(SEARCHED, STRING)
NAMES = os.environ['TIMM_SUITE_MODELS'].split(',')
RUNS_ON_OURS = {*POINTED, 'test_pruned_feature_info_matches_forward'}
ran: dict[str, dict[str, str]] = {}  # test function -> model or '' -> outcome
collecting = False


def _restrict(original: Any) -> Any:
    def ours(*args: Any, **kwargs: Any) -> list[str]:
        if not collecting:
            return original(*args, **kwargs)
        kwargs.pop('module', None)  # names files of timm, where none of ours can be; timm's exclusions stay
        return [n for n in original(*args, **kwargs) if n.split('.')[0] in NAMES]

    return ours


for name in ('list_models', 'list_pretrained'):
    restricted = _restrict(getattr(_registry, name))
    for namespace in (timm, timm.models, _registry):
        setattr(namespace, name, restricted)


def pytest_collection() -> None:
    global collecting
    collecting = True


def pytest_collection_finish() -> None:
    global collecting
    collecting = False


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give a test with a fixed list of timm's models ours instead."""
    if metafunc.function.__name__ not in RUNS_ON_OURS:
        return
    marks = metafunc.definition.own_markers
    for i, mark in enumerate(marks):
        if mark.name == 'parametrize' and mark.args[0].startswith('model_name'):
            values = [(n, {}) if ',' in mark.args[0] else n for n in NAMES]
            marks[i] = pytest.mark.parametrize(mark.args[0], values).mark


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    found = sorted({item.originalname for item in items})
    if any(item.path.name == 'test_models.py' for item in items):
        kept = [i for i in items if getattr(i, 'callspec', None) and i.callspec.params.get('model_name') in NAMES]
        config.hook.pytest_deselected(items=[i for i in items if i not in kept])
        items[:] = kept
    ran.update({name: {} for name in found})


def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo) -> None:
    model = item.callspec.params.get('model_name', '') if hasattr(item, 'callspec') else ''
    if call.when == 'call':
        skipped = call.excinfo is not None and call.excinfo.errisinstance(pytest.skip.Exception)
        outcome = 'skipped' if skipped else 'failed' if call.excinfo else 'passed'
        ran[item.originalname][model] = outcome


def pytest_sessionfinish() -> None:
    Path(os.environ['TIMM_SUITE_REPORT']).write_text(json.dumps(ran))
