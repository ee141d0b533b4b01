"""SIGTERM before a run handles it itself: a line and exit status 143, as after it has started."""
import os
import signal

import pytest

from fpnas_timm.cli import ended_by_sigterm, exit_status


def test_a_line_and_143(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ('WORLD_SIZE', 'SLURM_NTASKS'):
        monkeypatch.delenv(name, raising=False)
    before = signal.getsignal(signal.SIGTERM)

    def run() -> int:
        os.kill(os.getpid(), signal.SIGTERM)
        return 0

    with pytest.raises(SystemExit) as e:
        exit_status(lambda: ended_by_sigterm(run))
    assert e.value.code == 143
    assert capsys.readouterr().err == 'stopped by SIGTERM\n'
    assert signal.getsignal(signal.SIGTERM) == before


def test_one_of_several_processes_ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """In C code, where it waits for the others, it would not run a handler."""
    monkeypatch.setenv('WORLD_SIZE', '2')
    assert ended_by_sigterm(lambda: signal.getsignal(signal.SIGTERM)) == signal.SIG_DFL
