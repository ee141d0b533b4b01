"""Files that are whole or not there: atomic writes, and checkpoints that fall back to the one before."""
import contextlib
import json
import logging
import os
import pickle
import shutil
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from .errors import RunError

__all__ = ['load_checkpoint', 'previous', 'replacing', 'save_checkpoint', 'write_jsonl', 'write_text']

_logger = logging.getLogger(__name__)


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path`; what was written there takes its place at the end, and not if there was an error.

    The bytes are on the disk before the name changes, so that a power cut leaves the old file or the new one.
    """
    path = Path(path)
    temporary = path.with_name(f'.{path.name}.{os.getpid()}.tmp')
    try:
        yield temporary
        with temporary.open('rb') as f:
            os.fsync(f.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a UTF-8 text file in one step."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding='utf-8')


def write_jsonl(path: str | Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write one JSON object a line, in one step."""
    write_text(path, ''.join(json.dumps(row) + '\n' for row in rows))


def previous(path: str | Path) -> Path:
    """Where the checkpoint before the one at `path` is kept."""
    path = Path(path)
    return path.with_name(f'{path.stem}.previous{path.suffix}')


def save_checkpoint(path: str | Path, state: Mapping[str, Any]) -> None:
    """Write a checkpoint in one step and keep the one before it as `previous(path)`.

    Args:
        path: a `.pt` file.
        state: what `torch.load(weights_only=True)` reads: tensors, numbers, strings, lists, dicts.

    Raises:
        RunError: it cannot be written (a full disk, say); the checkpoints that were there are still there.
    """
    path = Path(path)
    try:
        with replacing(path) as temporary:
            torch.save(dict(state), temporary)
            if _is_whole(path):  # a damaged one must not take the place of the good one before it
                with replacing(previous(path)) as copy:  # so that there is no moment without a checkpoint at `path`
                    shutil.copyfile(path, copy)
    except (OSError, RuntimeError) as e:  # torch reports a full disk as a RuntimeError
        raise RunError(f'{path}: cannot be written ({_first_line(e)}); the last good checkpoint is kept') from None


def load_checkpoint(path: str | Path, map_location: str | torch.device = 'cpu') -> dict[str, Any]:
    """The state saved at `path`, or the one before it if that file is damaged (with a warning that says so).

    Raises:
        FileNotFoundError: there is neither.
        RunError: both are damaged.
    """
    path = Path(path)
    problems = []
    for candidate in (path, previous(path)):
        if not candidate.exists():
            continue
        try:
            _check_whole(candidate)
            state = torch.load(candidate, map_location=map_location, weights_only=True)
        except (OSError, RuntimeError, EOFError, ValueError, KeyError, zipfile.BadZipFile, pickle.UnpicklingError) as e:
            problems.append(f'{candidate} is damaged ({_first_line(e)})')
            continue
        for problem in problems:
            _logger.warning('%s: going on from %s', problem, candidate)
        return state
    if problems:
        raise RunError(f'{"; ".join(problems)}: no good checkpoint is left')
    raise FileNotFoundError(f'{path}: there is no checkpoint')


def _check_whole(path: Path) -> None:
    """Every record against its checksum: torch itself does not look at them."""
    with zipfile.ZipFile(path) as archive:
        bad = archive.testzip()
    if bad is not None:
        raise ValueError(f'{bad} has a wrong checksum')


def _is_whole(path: Path) -> bool:
    try:
        _check_whole(path)
    except (OSError, ValueError, zipfile.BadZipFile):
        return False
    return True


def _first_line(e: BaseException) -> str:
    return str(e).strip().partition('\n')[0] or type(e).__name__
