"""`search.py`, killed with SIGKILL and stopped with SIGTERM, ends where an uninterrupted search does.

Signals are sent when the process has written a certain line, so that they come where they are meant to.
"""

import json
import os
import re
import signal
from pathlib import Path

import pytest
import torch

from fpnas_timm.cli.runs import search_main

from ..helpers.preloaded import StartedScript


def wait_for(process: StartedScript, text: str) -> None:
    """Return when a line of the process's stderr holds `text`; fail if it ends before."""
    lines = []
    while text not in (lines[-1] if lines else ''):
        lines.append(process.stderr.readline())
        assert lines[-1], ''.join(lines)


def workers_of(process: StartedScript) -> list[int]:
    """The DataLoader workers of a search: two, one for each half."""
    found = [int(pid) for pid in Path(f'/proc/{process.pid}/task/{process.pid}/children').read_text().split()]
    assert len(found) == 2
    return found


@pytest.mark.timeout(400)
def test_killed_several_times_and_resumed(whole: Path, options: list[str], start, same_result, tmp_path: Path) -> None:
    out = tmp_path / 'killed'
    args = [*options, '--output', str(out)]
    # before the first checkpoint; as soon as an epoch is written; in the middle of an epoch; in the final
    for line in ('epoch 1 step 2/4', 'epoch 2/6', 'epoch 4 step 3/4', 'finalist 3/8'):
        process = start(*args, '--log-interval', '1')
        wait_for(process, line)
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        args = ['--resume', str(out), '--workers', '1']  # the number of workers makes no difference
    assert search_main(args) == 0
    assert same_result(out, whole)
    first, second = (json.loads((o / 'result.json').read_text())['finalists'] for o in (out, whole))
    assert first == second
    assert len(first) == 8


def test_terminated_in_the_middle_of_an_epoch(
        whole: Path, options: list[str], start, same_result, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / 'terminated'
    process = start(*options, '--output', str(out), '--log-interval', '1', '--workers', '1', start_new_session=True)
    wait_for(process, 'epoch 2 step 2/4')
    for worker in workers_of(process):  # before the process itself, as `timeout`, scancel and cgroups may do
        os.kill(worker, signal.SIGTERM)
    os.killpg(process.pid, signal.SIGTERM)
    stderr = process.communicate(timeout=100)[1]
    assert process.returncode == 128 + signal.SIGTERM, stderr
    assert 'Traceback' not in stderr
    assert re.fullmatch(rf'.*stopped in epoch \d; continue with --resume {out}', stderr.splitlines()[-1]), stderr
    state = torch.load(out / 'last.pt', weights_only=True)
    assert (state['epoch'], state['step']) >= (1, 2)
    (out / 'last.pt').write_bytes(b'damaged')  # the one before is of an earlier epoch: slower, but the same end
    assert search_main(['--resume', str(out)]) == 0
    assert 'is damaged' in caplog.text
    assert same_result(out, whole)


def test_a_killed_worker_is_a_sentence(options: list[str], start, tmp_path: Path) -> None:
    """As the kernel does it where memory runs out."""
    out = tmp_path / 'out'
    process = start(*options, '--output', str(out), '--log-interval', '1', '--workers', '1')
    wait_for(process, 'epoch 2 step 2/4')
    os.kill(workers_of(process)[0], signal.SIGKILL)
    stderr = process.communicate(timeout=100)[1]
    assert process.returncode == 1, stderr
    assert 'Traceback' not in stderr
    [error] = [line for line in stderr.splitlines() if line.startswith('error: ')]
    assert error.startswith('error: a DataLoader worker ')
    assert error.endswith(f'then continue with --resume {out}')
    assert search_main(['--resume', str(out), '--workers', '0', '--output', str(out)]) == 0
