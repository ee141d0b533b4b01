"""timm's source archive of the installed version: the wheel leaves out `tests/`, the archive has it."""
import fcntl
import os
import subprocess
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path

import pytest

CACHE = Path(os.environ.get('XDG_CACHE_HOME', Path.home() / '.cache')) / 'fpnas_timm_tests'


class NoIndex(pytest.PytestWarning):
    """timm's archive could not be downloaded, so its tests did not run."""


def timm_source() -> Path:
    """The unpacked archive, downloaded once per version into the user's cache.

    The archive of timm 1.0.31 holds `timm/`, `tests/` and `pyproject.toml`, but not timm's scripts (`train.py`, ..).

    Raises:
        ConnectionError: no package index could be reached; the message is pip's.
        RuntimeError: pip failed for another reason.
    """
    folder = CACHE / f'timm-{version("timm")}'
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / 'lock').open('w') as lock:  # xdist's workers ask at the same time
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / 'tests' / 'test_models.py').is_file():
            with tarfile.open(_download()) as archive:
                fresh = CACHE / f'fresh-{os.getpid()}'
                archive.extractall(fresh, filter='data')
            (fresh / folder.name).rename(folder)
            fresh.rmdir()
    return folder


def _download() -> Path:
    name = f'timm-{version("timm")}.tar.gz'
    command = [
        sys.executable, '-m', 'pip', 'download', '-q', '--disable-pip-version-check', '--no-deps', '--no-binary',
        'timm', '-d', str(CACHE), f'timm=={version("timm")}',
    ]
    if not (CACHE / name).is_file():
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        if not (CACHE / name).is_file():
            # what pip says where it reached no index; anything else is an error of the test
            offline = 'from versions: none' in done.stderr
            raise (ConnectionError if offline else RuntimeError)(done.stderr[-1500:])
    return CACHE / name
