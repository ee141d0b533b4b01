"""The lock of an output folder, and what a killed process leaves there."""
import subprocess
import sys
from pathlib import Path

import pytest

from fpnas_timm.errors import UsageError
from fpnas_timm.runs.folder import lock_folder

HOLD = """
import fcntl, sys
lock = open(sys.argv[1], 'w')
fcntl.lockf(lock, fcntl.LOCK_EX)
print('held', flush=True)
sys.stdin.read()
"""


def test_one_run_at_a_time(tmp_path: Path) -> None:
    """And a lock whose owner was killed does not count."""
    folder = tmp_path / 'run'
    with lock_folder(folder):
        assert (folder / '.lock').exists()
    assert not list(folder.iterdir())
    other = subprocess.Popen(
        [sys.executable, '-c', HOLD, str(folder / '.lock')], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None
    assert other.stdout.readline() == 'held\n'
    (folder / '.last.pt.1.tmp').write_bytes(b'being written')
    with pytest.raises(UsageError, match=f'^--output {folder}: another run is using this folder'):
        with lock_folder(folder):
            pytest.fail('locked twice')
    assert (folder / '.last.pt.1.tmp').exists()
    other.kill()
    other.communicate()
    with lock_folder(folder):
        assert not (folder / '.last.pt.1.tmp').exists()


def test_leftovers_are_removed(tmp_path: Path) -> None:
    (tmp_path / '.export.1.tmp').mkdir()
    (tmp_path / '.export.1.tmp' / 'model.safetensors').write_bytes(b'half')
    (tmp_path / '.last.pth.tar.1.tmp').write_bytes(b'half')
    (tmp_path / '.link.tmp').symlink_to('nowhere')
    (tmp_path / 'last.pth.tar').write_bytes(b'whole')
    with lock_folder(tmp_path):
        assert {p.name for p in tmp_path.iterdir()} == {'last.pth.tar', '.lock'}


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / 'file').write_text('')
    with pytest.raises(UsageError, match=r'^--output .*/run: cannot be written \(Not a directory\)'):
        with lock_folder(tmp_path / 'file' / 'run'):
            pytest.fail('locked')
