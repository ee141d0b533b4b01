"""Signals to the processes of a training run: SIGTERM to all, SIGKILL to a DataLoader worker or to the main process.

The runs are forked from a process that has torch imported; they write their logs to files.
"""
import json
import os
import re
import signal
import time
from pathlib import Path

import pytest

from fpnas_timm.cli.runs import train_main

from ..helpers.preloaded import run_python
from ..train.common import ROOT, TRAIN, at, state

# Each scenario is a run that gets its signals in the middle of its third epoch.
CODE = """
import json, os, signal, sys, time
from pathlib import Path
import fpnas_timm.train.run  # once for all runs
from fpnas_timm.cli.runs import train_main

out = Path(os.environ['OUT'])
argv = json.loads(os.environ['ARGV'])
for name in ('all', 'worker', 'main'):
    log = out / f'{name}.log'
    pid = os.fork()
    if pid == 0:
        os.setsid()
        os.dup2(os.open(log, os.O_CREAT | os.O_WRONLY), 2)
        status = 99
        try:
            status = train_main([*argv, '--experiment', name])
            import atexit
            atexit._run_exitfuncs()
        finally:
            sys.stderr.flush()
            os._exit(status)
    while not log.exists() or 'epoch 3/' not in log.read_text():
        assert os.waitpid(pid, os.WNOHANG) == (0, 0), log.read_text()
        time.sleep(0.005)
    workers = [int(p) for p in Path(f'/proc/{pid}/task/{pid}/children').read_text().split()]
    if name == 'worker':
        os.kill(workers[0], signal.SIGKILL)
    elif name == 'main':
        os.kill(pid, signal.SIGKILL)
    else:
        for one in (*workers, pid):
            os.kill(one, signal.SIGTERM)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    (out / f'{name}.json').write_text(json.dumps([status, workers]))
"""


@pytest.fixture(scope='module')
def argv(tiny_images: Path) -> list[str]:
    return [*TRAIN, '--data-dir', str(tiny_images), '-j', '1', '--epochs', '300']


@pytest.fixture(scope='module')
def runs(argv: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp('signals')
    env = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1', 'OUT': str(out)}
    done = run_python(CODE, {**env, 'ARGV': json.dumps([*argv, '--output', str(out)])}, ROOT)
    assert done.returncode == 0, done.stderr
    return out


def outcome(runs: Path, name: str) -> tuple[int, list[int], str]:
    """Exit status, the process ids of the workers, and the log."""
    status, workers = json.loads((runs / f'{name}.json').read_text())
    assert len(workers) >= 2  # one for each split
    return status, workers, (runs / f'{name}.log').read_text()


def are_gone(pids: list[int], patience: float) -> bool:
    def is_gone(pid: int) -> bool:
        try:
            return Path(f'/proc/{pid}/stat').read_text().rpartition(') ')[2][0] == 'Z'
        except OSError:
            return True

    end = time.monotonic() + patience
    while not all(is_gone(pid) for pid in pids) and time.monotonic() < end:
        time.sleep(0.05)
    return all(is_gone(pid) for pid in pids)


def test_sigterm_to_all_of_them(runs: Path, argv: list[str]) -> None:
    """As scancel, `timeout` and cgroups do; then the run goes on."""
    status, workers, log = outcome(runs, 'all')
    assert status == 128 + signal.SIGTERM, log
    assert 'Traceback' not in log
    assert 'error' not in log
    done = state(runs / 'all')['epoch'] + 1
    assert f'Stopped in epoch {done + 1}: continue with --experiment all --resume auto, after epoch {done}.' in log
    assert (runs / 'all' / 'export' / 'model.safetensors').exists()
    assert not list((runs / 'all').glob('.*'))
    assert are_gone(workers, 1)
    assert train_main([*argv, '-j', '0', *at(runs, 'all'), '--resume', 'auto', '--stop-epoch', str(done + 1)]) == 0
    assert state(runs / 'all')['epoch'] == done


def test_a_killed_worker(runs: Path) -> None:
    """One sentence, and the checkpoint of the last epoch is good."""
    status, workers, log = outcome(runs, 'worker')
    assert status == 1, log
    errors = [line for line in log.splitlines() if line.startswith('error: ')]
    assert len(errors) == 1
    assert errors[0].startswith('error: a DataLoader worker ')
    assert 'lack of memory' in errors[0]
    assert errors[0].endswith('lower --workers or --batch-size, then continue with --experiment worker --resume auto')
    # of a thread of Python's own, if the worker was killed while it asked for a tensor of the main process
    sharing = r'Traceback [^\n]*\n  File "\S*/multiprocessing/resource_sharer.py".*(\n .*)*\nConnectionResetError: .*'
    assert 'Traceback' not in re.sub(sharing, '', log)
    assert state(runs / 'worker')['epoch'] >= 1
    assert are_gone(workers, 1)


def test_when_the_main_process_is_gone(runs: Path) -> None:
    """Its workers, which ignore SIGTERM, end by themselves."""
    status, workers, _ = outcome(runs, 'main')
    assert status == -signal.SIGKILL
    assert are_gone(workers, 20)
