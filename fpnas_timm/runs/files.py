"""Atomic writes (readers see either the old or the complete new file), and JSON lines."""
import contextlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

__all__ = ['read_jsonl', 'replacing', 'write_jsonl', 'write_text']


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path next to `path`; on exit without an error, the file written there replaces `path`.

    The data are synced to disk before the file is renamed, so that a power failure leaves the old or the new file.
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
    """Write one JSON object per line, atomically."""
    write_text(path, ''.join(json.dumps(row) + '\n' for row in rows))


def read_jsonl(path: str | Path) -> list[dict[str, Any]]:
    """Read the objects of a file written by `write_jsonl`; an empty list if there is no such file."""
    path = Path(path)
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding='utf-8').splitlines() if line.strip()]
