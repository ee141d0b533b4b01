"""timm's own scripts, from a checkout of its repository that `TIMM_SCRIPTS` names."""
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pipelines.on_digits import ARCH

ROOT = Path(__file__).parents[2]
SCRIPTS = Path(os.environ.get('TIMM_SCRIPTS', ''))
pytestmark = pytest.mark.skipif(
    'TIMM_SCRIPTS' not in os.environ, reason="TIMM_SCRIPTS names no checkout of timm's repository; no package has them"
)


def run(script: str, *argv: str, cwd: Path, start: str = '') -> str:
    """Run a script; `start` is code before it, for those without `--device-modules`."""
    code = (
        f'import sys, runpy\n{start}\nsys.argv = {[script, *argv]!r}\n'
        f'runpy.run_path({str(SCRIPTS / script)!r}, run_name="__main__")'
    )
    env = {**os.environ, 'PYTHONPATH': str(ROOT)}
    argv = (sys.executable, '-W', 'ignore', '-c', code)
    done = subprocess.run(argv, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout + done.stderr


def test_train_and_validate(digits: Path, tmp_path: Path) -> None:
    common = ('--device', 'cpu', '--no-prefetcher', '-j', '0', '-b', '64')
    out = run(
        'train.py', str(digits / 'data'), '--device-modules', 'fpnas_timm', '--model', 'fpnas', '--model-kwargs',
        f'arch={ARCH}', '--num-classes', '10', '--epochs', '1', '--opt', 'adamw', '--lr', '3e-3', '--output',
        str(tmp_path / 'out'), *common, cwd=tmp_path,
    )
    assert 'Best metric' in out
    out = run(
        'validate.py', str(digits / 'data'), '--model', f'local-dir:{digits}/saved', '--pretrained', '--split',
        'validation', *common, cwd=tmp_path, start='import fpnas_timm',
    )
    [top1] = [line for line in out.splitlines() if '"top1"' in line]
    assert float(top1.partition(':')[2].strip(' ,')) > 90
