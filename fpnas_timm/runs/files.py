"""Atomic writes: a file is complete, or it is the old one; and JSON lines."""
import contextlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

__all__ = ['read_jsonl', 'replacing', 'write_jsonl', 'write_text']


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A temporary path to write to, beside `path`; it replaces `path` at the end, unless there was an error.

    The bytes are synced to the disk before the file is renamed: a power cut leaves the old file or the new one.
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
    """Write a UTF-8 text file atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding='utf-8')


def write_jsonl(path: str | Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write one JSON object a line, atomically."""
    write_text(path, ''.join(json.dumps(row) + '\n' for row in rows))


def read_jsonl(path: str | Path) -> list[dict[str, Any]]:
    """The objects in a file of `write_jsonl`, one a line; none if there is no such file."""
    path = Path(path)
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding='utf-8').splitlines() if line.strip()]
