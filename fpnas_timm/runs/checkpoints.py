"""Checkpoints that fall back to the previous one if damaged, and the random state stored in them.

A checkpoint is a file of `torch.save`, a zip archive, whose comment holds the SHA-256 of everything before it: a change
of any bit is noticed, also in the archive's own headers, which no checksum of torch or zip covers. torch and timm read
such files like any other.
"""
import argparse
import contextlib
import hashlib
import logging
import random
import re
import shutil
import struct
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from ..errors import RunError, one_line
from .files import replacing
from .processes import lost_worker

__all__ = ['load_checkpoint', 'options_allowed', 'previous', 'random_state', 'save_checkpoint', 'set_random_state']

_logger = logging.getLogger(__name__)

SEAL = b'fpnas sha256:'  # followed by 64 hexadecimal digits
SEAL_SIZE = len(SEAL) + 64
END = struct.Struct('<4s4H2LH')  # the last record of a zip archive; its last field is the length of the comment


@contextlib.contextmanager
def options_allowed() -> Iterator[None]:
    """Within the context, `torch.load(weights_only=True)` also reads options: timm stores them as a Namespace."""
    allowed = torch.serialization.get_safe_globals()  # torch 2.4 has no `safe_globals`, which does this
    torch.serialization.add_safe_globals([argparse.Namespace])
    try:
        yield
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(allowed)


def previous(path: str | Path) -> Path:
    """The path at which the predecessor of the checkpoint at `path` is kept."""
    path = Path(path)
    return path.with_name(f'{path.stem}.previous{path.suffix}')


def save_checkpoint(path: str | Path, state: Mapping[str, Any]) -> None:
    """Write a checkpoint atomically and keep its predecessor as `previous(path)`.

    Args:
        path: a `.pt` file.
        state: only types that `torch.load(weights_only=True)` can read: tensors, numbers, strings, lists, dicts.

    Raises:
        RunError: the file cannot be written, e.g. on a full disk; existing checkpoints are unchanged.
    """
    path = Path(path)
    try:
        with replacing(path) as temporary:
            with temporary.open('wb') as f:  # given a path, torch would not say what is wrong with the disk
                torch.save(dict(state), f)
            _seal(temporary)
            if _is_intact(path):  # a damaged checkpoint must not replace its intact predecessor
                with replacing(previous(path)) as copy:  # copy, not rename: `path` must exist at all times
                    shutil.copyfile(path, copy)
    except (OSError, RuntimeError) as e:
        if lost_worker(e):  # raised by a handler of SIGCHLD, wherever the main process is
            raise
        kept = '; the last good checkpoint is kept' if path.exists() or previous(path).exists() else ''
        raise RunError(f'{path}: cannot be written ({_reason(e)}){kept}') from None


def _reason(e: BaseException) -> str:
    """What went wrong when a file was written: torch hides a full disk behind a RuntimeError."""
    inner: BaseException | None = e
    while inner is not None:
        if isinstance(inner, OSError) and inner.strerror:
            return inner.strerror
        inner = inner.__context__
    return one_line(e)


def load_checkpoint(path: str | Path, map_location: str | torch.device = 'cpu') -> dict[str, Any]:
    """Load the state saved at `path` or, if that file is damaged, the previous one (logs a warning).

    Raises:
        FileNotFoundError: neither file exists.
        RunError: no intact checkpoint is left.
    """
    path = Path(path)
    problems = []
    for candidate in (path, previous(path)):
        if not candidate.exists():
            continue
        try:
            _check_intact(candidate)
            state = torch.load(candidate, map_location=map_location, weights_only=True)
        except Exception as e:  # damage surfaces as anything: zlib, pickle, struct, UTF-8, NotImplementedError, ..
            if lost_worker(e):
                raise
            problems.append(f'{candidate} is damaged ({one_line(e)})')
            continue
        for problem in problems:
            _logger.warning('%s: continuing from %s', problem, candidate)
        return state
    if problems:
        raise RunError(f'{"; ".join(problems)}: no good checkpoint is left')
    raise FileNotFoundError(f'{path}: there is no checkpoint')


def _seal(path: Path) -> None:
    """Append the SHA-256 of the archive as its comment."""
    with path.open('r+b') as f:
        end = f.seek(0, 2) - 2
        f.seek(end)
        f.write(SEAL_SIZE.to_bytes(2, 'little'))  # torch writes no comment: the last two bytes are its length, 0
        digest = _sha256(f, end + 2)
        f.seek(end + 2)
        f.write(SEAL + digest.encode())


def _sha256(f: BinaryIO, size: int) -> str:
    """The SHA-256 of the first `size` bytes of an open file."""
    digest = hashlib.sha256()
    f.seek(0)
    while size and (chunk := f.read(min(size, 1 << 22))):
        digest.update(chunk)
        size -= len(chunk)
    return digest.hexdigest()


def _check_intact(path: Path) -> None:
    """Raise an exception if a checkpoint is damaged.

    Files without a seal, of timm or of an earlier version, have a checksum for every record but none for the headers,
    which are compared with what torch writes.
    """
    with path.open('rb') as f:
        size = f.seek(0, 2)
        f.seek(max(0, size - SEAL_SIZE))
        seal = f.read()
        if re.fullmatch(re.escape(SEAL) + b'[0-9a-f]{64}', seal):
            if _sha256(f, size - SEAL_SIZE) != seal[len(SEAL):].decode():
                raise ValueError('its contents do not match its SHA-256')
            return
        signature, *_, comment = END.unpack(seal[-END.size:]) if size >= END.size else (b'', 0)
        if signature != b'PK\5\6' or comment:
            raise ValueError('not a checkpoint, or cut short')
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            plain = entry.compress_type == entry.external_attr == entry.internal_attr == entry.volume == 0
            if not plain or entry.flag_bits & ~0x808 or entry.compress_size != entry.file_size:
                raise ValueError(f'{entry.filename} has a wrong header')  # torch would read it as something else
        bad = archive.testzip()
    if bad is not None:
        raise ValueError(f'{bad} has a wrong checksum')


def _is_intact(path: Path) -> bool:
    try:
        _check_intact(path)
    except Exception:
        return False
    return True


# Length of the state of a Mersenne Twister: 624 words, the position, and the cached second value of a Gaussian pair (a
# flag and the value).
PYTHON, NUMPY = 627, 627


def random_state() -> Tensor:
    """The states of Python's, NumPy's and torch's (CPU) generators as one float64 vector.

    The conversion is exact: the states are integers below 2^32, and the two cached Gaussian values are float64.
    """
    _, words, gauss = random.getstate()
    numpy: Any = np.random.get_state()  # NumPy's type hint is that of a different generator
    _, keys, position, has_gauss, cached = numpy
    return torch.cat([
        torch.tensor([*words, float(gauss is not None), gauss or 0.0], dtype=torch.float64),
        torch.from_numpy(np.concatenate([keys.astype(np.float64), [position, has_gauss, cached]])),
        torch.get_rng_state().double(),
    ])


def set_random_state(state: Tensor) -> None:
    """Restore the generators from a vector returned by `random_state`."""
    python, numpy, generator = state[:PYTHON], state[PYTHON:PYTHON + NUMPY], state[PYTHON + NUMPY:]
    words = tuple(int(w) for w in python[:-2].tolist())
    random.setstate((3, words, python[-1].item() if python[-2].item() else None))
    keys = numpy[:624].numpy().astype(np.uint32)
    np.random.set_state(('MT19937', keys, int(numpy[624].item()), int(numpy[625].item()), numpy[626].item()))
    torch.set_rng_state(generator.to(torch.uint8))
