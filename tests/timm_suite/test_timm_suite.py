"""timm's own tests, unmodified, from the installed version's source archive, on all named models and one string."""
import ast
import json
import os
import subprocess
import sys
import warnings
from fnmatch import fnmatch
from pathlib import Path

import pytest

from fpnas_timm.zoo import ARCHS
from tests.helpers.timm_source import NoIndex, timm_source
from tests.timm_suite.timm_suite_table import FILES, LEFT_OUT, LISTED, NOT_OURS, POINTED

ROOT = Path(__file__).parents[2]
FULL = os.environ.get('TIMM_SUITE') == 'full'  # make test-timm
SEARCHED = 'searched_net'  # registered by the plugin
# two processes that take about as long, for two workers
LARGE = [n for n in ARCHS if n.startswith('fpnas_l')]
SMALL = [*(n for n in ARCHS if n not in LARGE), SEARCHED]


@pytest.fixture(scope='module')
def source() -> Path:
    try:
        return timm_source()
    except (ConnectionError, subprocess.TimeoutExpired) as e:
        reason = f"timm's own tests did NOT run: no package index has timm's source archive within reach\n{e}"
        if FULL:
            raise
        warnings.warn(reason, NoIndex, stacklevel=1)
        pytest.skip(reason)


def run_timms(source: Path, models: list[str], argv: list[str], report: Path) -> dict[str, dict[str, str]]:
    """Run files of timm's in a process of their own; test function -> model -> outcome."""
    env = {n: v for n, v in os.environ.items() if not n.startswith('PYTEST_')}
    env.pop('GITHUB_ACTIONS', None)  # timm drops tests where it is set
    path = [str(Path(__file__).parent), str(ROOT), env.get('PYTHONPATH', '')]
    env |= {
        'PYTHONPATH': os.pathsep.join(filter(None, path)),
        'PYTHONDONTWRITEBYTECODE': '1',
        'TIMM_SUITE_MODELS': ','.join(models),
        'TIMM_SUITE_REPORT': str(report),
    }
    command = [
        sys.executable, '-m', 'pytest', '-p', 'timm_suite_plugin', '-p', 'no:cacheprovider', '-p', 'no:xdist',
        '-c', os.devnull, '--rootdir', str(source), '-q', '--tb=short', '-W', 'ignore', *argv,
    ]
    run = subprocess.run(command, env=env, cwd=source, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-2000:]
    return json.loads(report.read_text())


def test_every_function_is_accounted_for(source: Path) -> None:
    """A function of test_models.py is run on our models, or the table says why not; the table names no others."""
    tree = ast.parse((source / 'tests' / 'test_models.py').read_text())
    names = {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name.startswith('test_')}
    ours = LISTED | POINTED
    assert ours <= names
    left_out = {n: [p for p in NOT_OURS if fnmatch(n, p)] for n in names - ours}
    assert [n for n, patterns in left_out.items() if len(patterns) != 1] == []
    assert {p for patterns in left_out.values() for p in patterns} == set(NOT_OURS)
    assert [n for n in ours if any(fnmatch(n, p) for p in NOT_OURS)] == []


@pytest.mark.timeout(900)
@pytest.mark.parametrize('models', [LARGE, SMALL], ids=['large', 'small'])
def test_timms_model_tests(source: Path, models: list[str], tmp_path: Path) -> None:
    ran = run_timms(source, models, ['tests/test_models.py'], tmp_path / 'report.json')
    for name in sorted(LISTED | POINTED):
        assert ran.get(name) == dict.fromkeys(models, 'passed'), f'{name}: a hole in the coverage'


@pytest.mark.timeout(900)
def test_timms_other_tests(source: Path, tmp_path: Path) -> None:
    """Loading, saving, the registry, losses and tasks, with our models registered; feature widths on our models."""
    left_out = [n for n in LEFT_OUT if not (FULL and n == 'test_distributed_metrics_exclude_padding')]
    argv = [*(f'tests/{f}' for f in FILES), '-k', ' and '.join(f'not {n}' for n in left_out)]
    models = [*ARCHS, SEARCHED]
    ran = run_timms(source, models, argv, tmp_path / 'report.json')
    assert ran['test_pruned_feature_info_matches_forward'] == dict.fromkeys(models, 'passed')
    assert sum('passed' in outcomes.values() for outcomes in ran.values()) > 60
