"""The output folder of a search or a training run: locked while a run writes there, and tidied after a killed one."""
import contextlib
import fcntl
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from ..errors import UsageError

__all__ = ['LOCK_FILE', 'lock_folder', 'remove_leftovers']

_logger = logging.getLogger(__name__)

LOCK_FILE = '.lock'
_held: set[Path] = set()  # the kernel's locks are between processes, not between the threads of one


@contextlib.contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Create the output folder if necessary, lock it against other runs within the context, and remove leftovers.

    The lock ends with the process, however it ends. In a distributed run, only rank 0 locks the folder.

    Raises:
        UsageError: another process is using the folder, or it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        place = folder.resolve()
        lock = None if place in _held else _lock(folder)
    except OSError as e:
        raise UsageError(f'--output {folder}: cannot be written ({e.strerror}): choose another --output') from None
    if lock is None:
        raise UsageError(f'--output {folder}: another run is using this folder: wait for it, or stop it')
    with lock:
        _held.add(place)
        remove_leftovers(folder)
        try:
            yield
        finally:
            _held.discard(place)
            (folder / LOCK_FILE).unlink(missing_ok=True)  # still locked: whoever opened this file looks again


def _lock(folder: Path) -> IO[str] | None:
    """The open, locked file; None if another process has locked it."""
    path = folder / LOCK_FILE
    while True:
        lock = path.open('w')
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # unlike flock, not inherited by DataLoader workers
        except (BlockingIOError, PermissionError):
            lock.close()
            return None
        except OSError as e:  # a file system without locks
            _logger.warning('%s: cannot be locked (%s): let no other run write there', folder, e.strerror)
            return lock
        if path.exists() and os.path.samestat(os.fstat(lock.fileno()), path.stat()):
            return lock
        lock.close()  # its owner has just finished and removed it


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files that a killed process has left in `folder`; nobody else may be writing there."""
    for left in folder.glob('.*.tmp'):
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)
