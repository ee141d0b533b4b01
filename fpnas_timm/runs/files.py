"""Atomic writes (readers see either the old or the complete new file or folder), and JSON lines."""
import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

__all__ = ['read_jsonl', 'replacing', 'replacing_folder', 'write_jsonl', 'write_text']


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path next to `path`; on exit without an error, the file written there replaces `path`.

    The data are synced to disk before the file is renamed, so that a power failure leaves the old or the new file. The
    umask decides about the new file's permissions, whatever wrote it: safetensors lets only the owner read its files.

    Raises:
        OSError: with `path` as its file name, also for errors that name no file, such as a full disk.
    """
    path = Path(path)
    temporary = _temporary(path)
    with _naming(path):
        try:
            temporary.touch()
            mode = temporary.stat().st_mode
            yield temporary
            _finish(temporary, mode)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing_folder(folder: str | Path) -> Iterator[Path]:
    """Yield a new folder next to `folder`; on exit without an error it replaces `folder`, completely.

    The files in it are treated as by `replacing`. A kill leaves the old folder, the new one, or (between two renames)
    none, but never a part of one.

    Raises:
        OSError: with `folder` as its file name if it names none.
    """
    folder = Path(folder)
    temporary, old = _temporary(folder), _temporary(folder, 'old')
    with _naming(folder):
        try:
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
            probe = temporary / '.mode'
            probe.touch()
            mode = probe.stat().st_mode
            probe.unlink()
            yield temporary
            for file in temporary.rglob('*'):
                if file.is_file():
                    _finish(file, mode)
            if folder.exists():
                os.replace(folder, old)
            try:
                os.replace(temporary, folder)
            except OSError:
                if old.exists():
                    os.replace(old, folder)
                raise
        finally:
            for left in (temporary, old):
                shutil.rmtree(left, ignore_errors=True)


def _temporary(path: Path, kind: str = '') -> Path:
    """Removed by `runs.folder.remove_leftovers` if the process is killed."""
    return path.with_name(f'.{path.name}.{os.getpid()}{kind}.tmp')


def _finish(path: Path, mode: int) -> None:
    path.chmod(mode)
    with path.open('rb') as f:
        os.fsync(f.fileno())


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Give an OSError without a file name the name of `path`: a write to a full disk says only `No space left`."""
    try:
        yield
    except OSError as e:
        if e.errno is not None and (e.filename is None or str(e.filename).endswith('.tmp')):
            raise OSError(e.errno, e.strerror, str(path)) from None
        raise
    except Exception as e:  # safetensors has an error of its own, with the number in its text
        number = re.search(r'\(os error (\d+)\)', str(e))
        if type(e).__name__ == 'SafetensorError' and number:
            raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from None
        raise


def write_text(path: str | Path, text: str, errors: str = 'strict') -> None:
    """Write a UTF-8 text file atomically; `errors` as in `open`, such as 'surrogateescape' for names of files."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding='utf-8', errors=errors)


def write_jsonl(path: str | Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write one JSON object per line, atomically."""
    write_text(path, ''.join(json.dumps(row) + '\n' for row in rows))


def read_jsonl(path: str | Path) -> list[dict[str, Any]]:
    """Read the objects of a file written by `write_jsonl`; an empty list if there is no such file."""
    path = Path(path)
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding='utf-8').splitlines() if line.strip()]
