"""Cheap digests of image files, and the note of images that a run could not read; used by `datasets.fingerprint`."""
import contextlib
import hashlib
import json
import os
from pathlib import Path

__all__ = ['MAX_READ', 'MAX_SIZES', 'UNREADABLE', 'digest', 'file_digest', 'is_read', 'note_unreadable', 'read_notes']

MAX_READ = 10_000  # in larger datasets, only so many files are read, and the sizes of all are compared
MAX_SIZES = 200_000  # in even larger ones, the sizes of those that are read
UNREADABLE = 'unreadable.jsonl'  # the file of the notes in a run's folder
_PART = 4096  # bytes read at the start, in the middle and at the end of a file


def digest(*parts: bytes) -> str:
    """A digest of byte strings, which may contain anything; 16 hexadecimal digits."""
    total = hashlib.blake2b(digest_size=8)
    for part in parts:
        total.update(len(part).to_bytes(8, 'little') + part)
    return total.hexdigest()


def is_read(index: int, count: int) -> bool:
    """Whether the content of image `index` of `count` goes into a fingerprint: all, or `MAX_READ` evenly spaced."""
    return count <= MAX_READ or index * MAX_READ // count != (index - 1) * MAX_READ // count


def file_digest(path: str | Path, read: bool) -> str:
    """A digest of a file's size and, with `read`, of its start, middle and end (the whole file up to 12 KiB)."""
    try:
        if not read:
            return digest(str(os.stat(path).st_size).encode())
        with open(path, 'rb') as file:
            size = os.fstat(file.fileno()).st_size
            starts = [0] if size <= 3 * _PART else [0, (size - _PART) // 2, size - _PART]
            parts = []
            for start in starts:
                file.seek(start)
                parts.append(file.read(_PART if len(starts) > 1 else 3 * _PART))
    except OSError:
        return 'unreadable'
    return digest(str(size).encode(), *parts)


def note_unreadable(notes: Path, index: int, content: str) -> None:
    """Note that image `index`, whose digest is `content`, could not be read: a line is added to the file `notes`.

    When the image has been repaired and the run is resumed, the data are still the same: `read_notes`.
    """
    with contextlib.suppress(OSError), notes.open('a', encoding='utf-8') as file:
        file.write(json.dumps([index, content]) + '\n')


def read_notes(notes: Path | None) -> dict[int, str]:
    """The first digest noted for each unreadable image, by index; lines that are damaged are skipped."""
    found: dict[int, str] = {}
    if notes is None or not notes.exists():
        return found
    for line in notes.read_text(encoding='utf-8', errors='replace').splitlines():
        with contextlib.suppress(ValueError, TypeError):
            index, content = json.loads(line)
            if isinstance(index, int) and isinstance(content, str):
                found.setdefault(index, content)
    return found
