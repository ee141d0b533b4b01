"""Signals to the processes of a training run: SIGTERM to all of them at once, and one DataLoader worker killed."""
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fpnas_timm.cli.runs import train_main

from ..train.common import TRAIN, at, state

ROOT = Path(__file__).parents[2]


@pytest.fixture
def argv(tiny_images: Path, tmp_path: Path) -> list[str]:
    return [*TRAIN, '--data-dir', str(tiny_images), '-j', '2', '--epochs', '300', '--log-interval', '1', *at(tmp_path)]


@pytest.fixture
def process(argv: list[str]) -> Iterator[subprocess.Popen]:
    """A run in the middle of its third epoch, with two workers each for training and validation."""
    started = subprocess.Popen(
        [sys.executable, '-m', 'fpnas_timm', 'train', *argv], cwd=ROOT, text=True, stderr=subprocess.PIPE,
        env={**os.environ, 'PYTHONPATH': str(ROOT)}, start_new_session=True,
    )
    assert started.stderr is not None
    lines = []
    while 'epoch 3 [2/4]' not in (lines[-1] if lines else ''):
        lines.append(started.stderr.readline())
        assert lines[-1], ''.join(lines)
    yield started
    if started.poll() is None:
        os.killpg(started.pid, signal.SIGKILL)
        started.communicate()


def workers_of(process: subprocess.Popen) -> list[int]:
    return [int(pid) for pid in Path(f'/proc/{process.pid}/task/{process.pid}/children').read_text().split()]


def is_gone(pid: int) -> bool:
    try:
        return Path(f'/proc/{pid}/stat').read_text().split()[2] == 'Z'
    except OSError:
        return True


def test_sigterm_to_all_of_them(process: subprocess.Popen, argv: list[str], tmp_path: Path) -> None:
    """As scancel, `timeout` and cgroups do; then the run goes on."""
    workers = workers_of(process)
    assert len(workers) >= 4
    for pid in (*workers, process.pid):
        os.kill(pid, signal.SIGTERM)
    stderr = process.communicate(timeout=60)[1]
    assert process.returncode == 128 + signal.SIGTERM, stderr
    assert 'Traceback' not in stderr
    assert 'error' not in stderr
    done = state(tmp_path / 'run')['epoch'] + 1
    assert f'Stopped in epoch {done + 1}: continue with --experiment run --resume auto, after epoch {done}.' in stderr
    assert (tmp_path / 'run' / 'export' / 'model.safetensors').exists()
    assert not list((tmp_path / 'run').glob('.*'))
    assert all(is_gone(pid) for pid in workers)
    assert train_main([*argv, '-j', '0', '--resume', 'auto', '--stop-epoch', str(done + 1)]) == 0
    assert state(tmp_path / 'run')['epoch'] == done


def test_a_killed_worker(process: subprocess.Popen, tmp_path: Path) -> None:
    """One sentence, and the checkpoint of the last epoch is good."""
    os.kill(workers_of(process)[0], signal.SIGKILL)
    stderr = process.communicate(timeout=60)[1]
    assert process.returncode == 1, stderr
    errors = [line for line in stderr.splitlines() if line.startswith('error: ')]
    assert len(errors) == 1
    assert errors[0].startswith('error: a DataLoader worker ')
    assert 'lack of memory' in errors[0]
    assert errors[0].endswith('lower --workers or --batch-size, then continue with --experiment run --resume auto')
    assert 'Traceback' not in stderr
    assert state(tmp_path / 'run')['epoch'] >= 1


def test_when_the_main_process_is_gone(process: subprocess.Popen) -> None:
    """Its workers, which ignore SIGTERM, end by themselves."""
    workers = workers_of(process)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    end = time.monotonic() + 20
    while not all(is_gone(pid) for pid in workers) and time.monotonic() < end:
        time.sleep(0.1)
    assert all(is_gone(pid) for pid in workers)
