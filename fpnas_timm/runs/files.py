"""Files that are whole or not there: atomic writes."""
import contextlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

__all__ = ['first_line', 'replacing', 'write_jsonl', 'write_text']


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


def first_line(e: BaseException) -> str:
    return str(e).strip().partition('\n')[0] or type(e).__name__
