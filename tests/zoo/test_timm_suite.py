"""timm's own model tests, unmodified, on all seven models.

The script that runs them lies beside the checkout where this project is developed (`TIMM_SUITE` names another place).
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(
    os.environ.get(
        'TIMM_SUITE', Path(__file__).parents[3] / 'shared' / 'tools' / 'timm_suite' / 'run_timm_suite.sh'
    )
)


@pytest.mark.timeout(900)
@pytest.mark.skipif(not SCRIPT.exists(), reason=f'{SCRIPT} is not here')
def test_timms_own_model_tests(tmp_path: Path) -> None:
    env = {
        **os.environ,
        'PYTHON': sys.executable,
        'SUITE_RETARGET': '1',
        'SUITE_WORKERS': '2',
        'SUITE_OUT': str(tmp_path),
    }
    for name in [n for n in env if n.startswith('PYTEST_')]:
        del env[name]
    run = subprocess.run(
        ['bash', str(SCRIPT), 'fpnas_timm', 'fpnas_*'],
        env=env,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-2000:]
    assert 'coverage: every core test ran for every model' in run.stdout
    assert '7 models (7 from outside timm)' in run.stdout
