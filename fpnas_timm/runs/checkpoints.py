"""Checkpoints that fall back to the previous one if damaged, and the random state stored in them."""
import logging
import pickle
import random
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import RunError, one_line
from .files import replacing

__all__ = ['load_checkpoint', 'previous', 'random_state', 'save_checkpoint', 'set_random_state']

_logger = logging.getLogger(__name__)


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
            torch.save(dict(state), temporary)
            if _is_intact(path):  # a damaged checkpoint must not replace its intact predecessor
                with replacing(previous(path)) as copy:  # copy, not rename: `path` must exist at all times
                    shutil.copyfile(path, copy)
    except (OSError, RuntimeError) as e:  # torch reports a full disk as a RuntimeError
        raise RunError(f'{path}: cannot be written ({one_line(e)}); the last good checkpoint is kept') from None


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
        except (OSError, RuntimeError, EOFError, ValueError, KeyError, zipfile.BadZipFile, pickle.UnpicklingError) as e:
            problems.append(f'{candidate} is damaged ({one_line(e)})')
            continue
        for problem in problems:
            _logger.warning('%s: continuing from %s', problem, candidate)
        return state
    if problems:
        raise RunError(f'{"; ".join(problems)}: no good checkpoint is left')
    raise FileNotFoundError(f'{path}: there is no checkpoint')


def _check_intact(path: Path) -> None:
    """Verify the checksum of every record, which torch itself does not; ValueError at the first mismatch."""
    with zipfile.ZipFile(path) as archive:
        bad = archive.testzip()
    if bad is not None:
        raise ValueError(f'{bad} has a wrong checksum')


def _is_intact(path: Path) -> bool:
    try:
        _check_intact(path)
    except (OSError, ValueError, zipfile.BadZipFile):
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
