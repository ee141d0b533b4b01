"""A folder that is filled completely or not at all."""
import contextlib
import os
import platform
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from ..errors import RunError, one_line
from ..runs.files import replacing_folder
from ..weights.folder import CONFIG_FILE, check_empty

__all__ = ['check_free', 'filling']

INSIDE = '.incomplete-'
DAY = 24 * 3600


def check_free(folder: str | Path) -> None:
    """Check that a folder is empty or does not exist, but for what a killed `filling` has left there.

    Leftovers of more than a day are removed: those of today may be of a process at work, perhaps on another machine.

    Raises:
        UsageError: there is something else in the folder, or it is a file.
    """
    folder = Path(folder)
    inside = [*folder.iterdir()] if folder.is_dir() else []
    if not inside or not all(INSIDE in item.name for item in inside):
        check_empty(folder)
    for left in [*inside, *folder.parent.glob(f'.{folder.name}.*.tmp')]:
        with contextlib.suppress(OSError):
            if left.stat().st_mtime < time.time() - DAY:
                shutil.rmtree(left)


@contextlib.contextmanager
def filling(folder: str | Path) -> Iterator[Path]:
    """Yield a temporary folder; on exit without an error, its files are in `folder`, which `check_free` has accepted.

    A folder that exists may be a mount or somebody's working directory, so it is not replaced: its files are moved in,
    `config.json` last.

    Raises:
        RunError: the files cannot be written; `folder` is as before.
    """
    folder = Path(folder)
    try:
        if not folder.exists():
            folder.parent.mkdir(parents=True, exist_ok=True)
            with replacing_folder(folder) as temporary:
                yield temporary
        else:
            with _moving_in(folder) as temporary:
                yield temporary
    except OSError as e:
        raise RunError(f'{folder}: cannot be written, nothing is left there ({one_line(e)})') from None


@contextlib.contextmanager
def _moving_in(folder: Path) -> Iterator[Path]:
    complete = folder / f'{INSIDE}{platform.node()}-{os.getpid()}'
    moved: list[Path] = []
    try:
        with replacing_folder(complete) as temporary:
            yield temporary
        for file in sorted(complete.iterdir(), key=lambda file: file.name == CONFIG_FILE):
            moved.append(folder / file.name)
            os.replace(file, moved[-1])
    except BaseException:
        for file in moved:
            file.unlink(missing_ok=True)
        raise
    finally:
        shutil.rmtree(complete, ignore_errors=True)
