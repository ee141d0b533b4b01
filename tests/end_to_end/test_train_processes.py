"""Two processes (gloo, CPU) that do not see the same files, as on two machines without a shared disk."""
import json
import os
import re
import shutil
from pathlib import Path

import pytest
import torch

from ..helpers.preloaded import run_python
from ..helpers.together import together
from ..train.common import ROOT, TRAIN, state

# An agent like that of torchrun, which restarts both processes if one is lost. The second one is killed once there is a
# checkpoint.
AGENT = """
import json, os, signal, sys, threading, time
from pathlib import Path
from torch.distributed.launcher.api import LaunchConfig, elastic_launch
import fpnas_timm.train.run  # once for all processes
from fpnas_timm.cli.runs import train_main

argv, last, pid = json.loads(os.environ['ARGV']), Path(os.environ['LAST']), Path(os.environ['LAST'] + '.pid')

def rank():
    if os.environ['RANK'] == '1':
        pid.parent.mkdir(parents=True, exist_ok=True)
        pid.write_text(str(os.getpid()))
    status = train_main(argv)
    if status:
        os._exit(status)

def kill():
    while not last.exists():
        time.sleep(0.001)
    os.kill(int(pid.read_text()), signal.SIGKILL)
    print('killed', file=sys.stderr, flush=True)

if not last.exists():
    threading.Thread(target=kill, daemon=True).start()
elastic_launch(LaunchConfig(
    1, 1, 2, run_id='test', rdzv_backend='c10d', rdzv_endpoint='localhost:0', max_restarts=2, monitor_interval=0.05,
    start_method='fork',
), rank)()
"""


def common(data: Path, epochs: int = 3) -> list[str]:
    return [*TRAIN, '--data-dir', str(data), '-b', '6', '--epochs', str(epochs), '--drop', '0.2', '--model-ema',
            '--model-ema-decay', '0.5', '--experiment', 'run']


@pytest.fixture(scope='module')
def half(tiny_images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two processes after two of three epochs; each has a folder of its own, the second one's is empty."""
    out = tmp_path_factory.mktemp('half')
    argv = [*common(tiny_images), '--stop-epoch', '2']
    statuses, stderr = together(*([*argv, '--output', str(out / str(rank))] for rank in range(2)))
    assert statuses == [0, 0], stderr
    assert not (out / '1').exists()
    return out


@pytest.mark.parametrize('theirs', ['missing', 'earlier'])
def test_all_go_on_from_the_first_ones_checkpoint(
    tiny_images: Path, half: Path, tmp_path: Path, theirs: str
) -> None:
    """Whatever the second one has: the weights are those of an uninterrupted run."""
    whole = half / 'whole'
    if not whole.exists():
        statuses, stderr = together(*[[*common(tiny_images), '--output', str(whole)]] * 2)
        assert statuses == [0, 0], stderr
    shutil.copytree(half / '0', tmp_path / '0')
    if theirs != 'missing':
        shutil.copytree(half / '0', tmp_path / '1')
        last = tmp_path / '1' / 'run' / 'last.pth.tar'
        last.unlink()  # a link to the same bytes as others
        shutil.copy(tmp_path / '1' / 'run' / 'checkpoint-0.pth.tar', last)
    argv = [*common(tiny_images), '--resume', 'auto']
    statuses, stderr = together(*([*argv, '--output', str(tmp_path / str(rank))] for rank in range(2)))
    assert statuses == [0, 0], stderr
    assert 'Traceback' not in stderr
    for key in ('state_dict', 'state_dict_ema'):
        ours, expected = (state(folder / 'run')[key] for folder in (tmp_path / '0', whole))
        assert all(torch.equal(ours[name], expected[name]) for name in expected)


def test_a_killed_rank(tiny_images: Path, tmp_path: Path) -> None:
    """One command starts, goes on after the kill of a rank, and says that it is finished."""
    argv = [*common(tiny_images, epochs=8), '--output', str(tmp_path), '--resume', 'auto']
    last = tmp_path / 'run' / 'last.pth.tar'
    env = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1', 'ARGV': json.dumps(argv), 'LAST': str(last)}
    done = run_python(AGENT, env, ROOT)
    assert done.returncode == 0, done.stderr
    assert 'killed' in done.stderr
    assert 'epochs 1 to 8 of' in done.stderr
    assert re.search('epochs [2-8] to 8 of', done.stderr), done.stderr
    rows = [json.loads(line) for line in (tmp_path / 'run' / 'history.jsonl').read_text().splitlines()]
    assert [row['epoch'] for row in rows] == list(range(8))
    again = run_python(AGENT, env, ROOT)
    assert (again.returncode, 'finished: all 8 epochs are done' in again.stderr) == (0, True), again.stderr


def test_a_sentence_from_all_of_them(tiny_images: Path, half: Path, tmp_path: Path) -> None:
    """Quickly, instead of some that wait: the same experiment again, other data."""
    argv = [*common(tiny_images), '--output', str(half / '0')]
    statuses, stderr = together(argv, argv)
    assert (statuses, stderr.count('already holds a run')) == ([2, 2], 2), stderr
    other = tmp_path / 'data'
    shutil.copytree(tiny_images, other)
    for image in sorted((other / 'train' / 'red').iterdir())[2:]:
        image.unlink()
    new = ['--output', str(tmp_path / 'new')]
    statuses, stderr = together([*common(tiny_images), *new], [*common(other), *new])
    assert (statuses, stderr.count('differs between the processes of this run')) == ([2, 2], 2), stderr
    assert 'Traceback' not in stderr
    assert not (tmp_path / 'new').exists()
