"""A search of two processes: killed under torchrun's agent and started again, and with other files on one machine.

The processes are forked from one that has torch imported; agent, kills and restarts are real.
"""
import json
import os
import shutil
import time
from pathlib import Path

import pytest
import torch
import yaml

from fpnas_timm.search.distribution import load_distribution
from tests.helpers.preloaded import ROOT, run_python

ENV = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}

# An agent that starts two processes, and restarts both if one is lost. A thread kills a process or the agent itself
# when the history has a number of lines, given as pairs (lines, 'rank 1' or 'agent').
AGENT = '''
import os, signal, sys, threading, time
from pathlib import Path
from torch.distributed.launcher.api import LaunchConfig, elastic_launch
import fpnas_timm.search.run  # once for all processes
from fpnas_timm.cli.runs import search_main

args, kills, out = {args!r}, {kills!r}, Path({out!r})

def rank():
    Path(f'{{out}}.{{os.environ["RANK"]}}.pid').write_text(str(os.getpid()))
    status = search_main(args)
    if status:
        os._exit(status)

def kill():
    for lines, whom in kills:
        while not (out / 'history.jsonl').exists() or (out / 'history.jsonl').read_text().count('\\n') < lines:
            time.sleep(0.005)
        pid = os.getpid() if whom == 'agent' else int(Path(f'{{out}}.1.pid').read_text())
        os.kill(pid, signal.SIGKILL)
        print('killed', whom, file=sys.stderr, flush=True)

threading.Thread(target=kill, daemon=True).start()
elastic_launch(LaunchConfig(
    1, 1, 2, run_id='test', rdzv_backend='c10d', rdzv_endpoint='localhost:0', max_restarts=2, monitor_interval=0.05,
    start_method='fork',
), rank)()
'''

# Runs of two processes, each with its own arguments, one run after the other.
PAIRS = '''
import os, socket
import fpnas_timm.search.run  # once for all processes
from fpnas_timm.cli.runs import search_main

for pair in {pairs!r}:
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        port = str(s.getsockname()[1])
    children = []
    for rank, args in enumerate(pair):
        children.append(os.fork())
        if children[-1] == 0:
            os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE='2', MASTER_ADDR='127.0.0.1',
                              MASTER_PORT=port)
            status = 99
            try:
                status = search_main(args)
            finally:
                os._exit(status)
    print('ended:', *(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children), flush=True)
'''


# Before PAIRS: both processes get SIGTERM in the second epoch of the second finalist that is trained.
STOPPING = '''
import os, signal
from fpnas_timm.search.finalist_training import FinalistTraining

run = FinalistTraining.run
count = [0]

def stopping(self, tick, on_epoch):
    count[0] += 1

    def ticking():
        if count[0] == 2 and (self.epoch, self.step) == (1, 2):
            os.kill(os.getpid(), signal.SIGTERM)
        tick()

    run(self, ticking, on_epoch)

FinalistTraining.run = stopping
'''


def run_pairs(*pairs: tuple[list[str], list[str]]) -> tuple[list[str], list[str]]:
    """The exit statuses of both processes of each run, such as '0 0', and all errors."""
    run = run_python(PAIRS.format(pairs=pairs), ENV, ROOT)
    assert 'Traceback' not in run.stderr, run.stderr
    statuses = [line.removeprefix('ended: ') for line in run.stdout.splitlines() if line.startswith('ended: ')]
    return statuses, [line for line in run.stderr.splitlines() if line.startswith('error: ')]


def history(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / 'history.jsonl').read_text().splitlines()]


def is_running(pid: int) -> bool:
    """Whether a process is there, and has not ended."""
    try:
        return Path(f'/proc/{pid}/stat').read_text().rpartition(') ')[2][0] != 'Z'
    except OSError:
        return False


@pytest.fixture(scope='module')
def short(options: list[str]) -> list[str]:
    return [*options, '--batch-size', '3', '--epochs', '4', '--joint-epoch', '2']


@pytest.fixture(scope='module')
def pair(short: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted search by two processes."""
    out = tmp_path_factory.mktemp('pair') / 'out'
    args = [*short, '--output', str(out)]
    assert run_pairs((args, args)) == (['0 0'], [])
    return out


def test_killed_ranks_and_a_killed_agent(short: list[str], pair: Path, same_result, tmp_path: Path) -> None:
    """The same command every time. A lost rank: the agent restarts both. A lost agent: its ranks save and end."""
    out = tmp_path / 'out'
    args = [*short, '--output', str(out), '--resume', 'auto']
    run = run_python(AGENT.format(args=args, kills=[(1, 'rank 1'), (2, 'agent')], out=str(out)), ENV, ROOT)
    assert run.returncode == -9, run.stderr
    pids = [int(Path(f'{out}.{rank}.pid').read_text()) for rank in range(2)]
    deadline = time.monotonic() + 60
    while any(is_running(pid) for pid in pids):
        assert time.monotonic() < deadline, 'the processes of a killed agent go on'
        time.sleep(0.02)
    state = torch.load(out / 'last.pt', weights_only=True)
    assert 2 <= state['epoch'] < 4 or state['step'] > 0
    again = run_python(AGENT.format(args=args, kills=[], out=str(out)), ENV, ROOT)
    assert again.returncode == 0, again.stderr
    assert 'continuing at epoch' in again.stderr
    assert same_result(out, pair)


def test_the_final_stopped_while_a_finalist_is_trained(short: list[str], tmp_path: Path) -> None:
    """Both processes train and score the same networks, and go on where they were."""
    final = ['--finalists', '3', '--refine', '12', '--finalist-epochs', '2']
    given = [*short, '--epochs', '2', '--joint-epoch', '1', *final]
    whole, out = ([*given, '--output', str(tmp_path / name)] for name in ('whole', 'out'))
    stopping = STOPPING + PAIRS.format(pairs=[(out, out)])
    first = run_python(stopping, ENV, ROOT)
    assert 'ended: 143 143' in first.stdout, first.stderr
    assert f'stopped in the final; continue with --resume {tmp_path / "out"}' in first.stderr
    assert torch.load(tmp_path / 'out' / 'finalists.pt', weights_only=True)['training']['epoch'] == 1
    again = ['--resume', str(tmp_path / 'out')]
    assert run_pairs((whole, whole), (again, again)) == (['0 0', '0 0'], [])
    found, wanted = (json.loads((tmp_path / n / 'result.json').read_text())['finalists'] for n in ('out', 'whole'))
    assert found == wanted
    assert [f['rounds'] for f in found] == [2, 2, 1]
    weights = [(tmp_path / name / 'extract' / 'model.safetensors').read_bytes() for name in ('out', 'whole')]
    assert weights[0] == weights[1]


def test_a_checkpoint_that_one_machine_lacks(short: list[str], pair: Path, same_result, tmp_path: Path) -> None:
    """Only the first process reads it: the copy of another machine is damaged, of another epoch, or missing."""
    folders = [Path(shutil.copytree(pair, tmp_path / name)) for name in 'ab']
    for folder in folders:
        (folder / 'last.previous.pt').rename(folder / 'last.pt')
        (folder / 'result.json').unlink()
    (folders[1] / 'last.pt').write_bytes(b'damaged')
    first, second = (['--resume', str(folder)] for folder in folders)
    assert run_pairs((first, second)) == (['0 0'], [])
    assert same_result(folders[0], pair)


def test_processes_that_read_different_things(short: list[str], pair: Path, tiny_images: Path, tmp_path: Path) -> None:
    """All processes say so before anything is run or written."""
    first, other, edited, data = (tmp_path / name for name in ('first', 'other', 'edited', 'data'))
    shutil.copytree(pair, first)
    auto = [*short, '--resume', 'auto', '--output']
    shutil.copytree(pair, edited)
    settings = yaml.safe_load((edited / 'args.yaml').read_text())
    (edited / 'args.yaml').write_text(yaml.safe_dump({**settings, 'lam': 0.5}))
    shutil.copytree(tiny_images, data)
    red, blue = data / 'train' / 'red' / '0.png', data / 'train' / 'blue' / '0.png'
    red.write_bytes(blue.read_bytes())
    new = [*short, '--output', str(tmp_path / 'new')]
    statuses, errors = run_pairs(
        ([*auto, str(first)], [*auto, str(other)]),
        (['--resume', str(first)], ['--resume', str(edited)]),
        (new, [*new, '--data-dir', str(data)]),
    )
    assert statuses == ['2 2'] * 3
    differ = 'process 1 does not have the settings and data of the first process'
    for message in (
            'the first process sees a search to continue there, process 1 no search to continue',
            f'{differ} (lam was 0.3, is 0.5)', f'{differ} (its images are others)',
    ):  # from both processes, whose lines may run into each other on the one stderr
        assert '\n'.join(errors).count(message) == 2, '\n'.join(errors)
    assert not (tmp_path / 'new').exists()
    assert not other.exists()


def test_the_uninterrupted_pair(pair: Path) -> None:
    assert [row['epoch'] for row in history(pair)] == [0, 1, 2, 3]
    assert load_distribution(pair / 'distribution.safetensors').alpha.abs().max() > 0.05
