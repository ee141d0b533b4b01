"""`search.py`, killed with SIGKILL and stopped with SIGTERM, ends where an uninterrupted search does.

Signals are sent when the process has written a certain line, so that they come where they are meant to.
"""

import os
import signal
import subprocess
from pathlib import Path

import pytest
import torch

from fpnas_timm.cli.runs import search_main


def wait_for(process: subprocess.Popen, text: str) -> None:
    """Return when a line of the process's stderr holds `text`; fail if it ends before."""
    lines = []
    while text not in (lines[-1] if lines else ''):
        lines.append(process.stderr.readline())
        assert lines[-1], ''.join(lines)


@pytest.mark.timeout(400)
def test_killed_several_times_and_resumed(whole: Path, options: list[str], start, same_result, tmp_path: Path) -> None:
    out = tmp_path / 'killed'
    args = [*options, '--output', str(out)]
    # before the first checkpoint; as soon as an epoch is written; in the middle of an epoch
    for line in ('epoch 1 step 2/4', 'epoch 2/6', 'epoch 4 step 3/4'):
        process = start(*args, '--log-interval', '1')
        wait_for(process, line)
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        args = ['--resume', str(out), '--workers', '1']  # the number of workers makes no difference
    assert search_main(args) == 0
    assert same_result(out, whole)


def test_terminated_in_the_middle_of_an_epoch(
        whole: Path, options: list[str], start, same_result, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / 'terminated'
    process = start(*options, '--output', str(out), '--log-interval', '1', '--workers', '1', start_new_session=True)
    wait_for(process, 'epoch 2 step 2/4')
    os.killpg(process.pid, signal.SIGTERM)  # as `timeout` and cluster schedulers do: the workers get it too
    stderr = process.communicate(timeout=100)[1]
    assert process.returncode == 128 + signal.SIGTERM, stderr
    assert f'continue with --resume {out}' in stderr
    state = torch.load(out / 'last.pt', weights_only=True)
    assert (state['epoch'], state['step']) >= (1, 2)
    (out / 'last.pt').write_bytes(b'damaged')  # the one before is of an earlier epoch: slower, but the same end
    assert search_main(['--resume', str(out)]) == 0
    assert 'is damaged' in capsys.readouterr().err
    assert same_result(out, whole)
