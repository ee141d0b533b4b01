"""The folder of a search: its files, the lock while the search runs, the checks when it resumes."""
import contextlib
import fcntl
import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from ..arch.checks import load_json
from ..errors import UsageError
from ..runs.datasets import class_indices
from .halves import Halves
from .names import ARGS_FILE

__all__ = [
    'ARGS_FILE', 'CHECKPOINT', 'EXTRACT', 'RECORD', 'check_same', 'fingerprint_of', 'lock_folder', 'saved_halves',
]

CHECKPOINT = 'last.pt'
EXTRACT = 'extract'  # the result as a model, timm's `local-dir:`
RECORD = 'halves.json'  # what the search was made from


def fingerprint_of(dataset: Dataset) -> str:
    """A digest of the images' names, where the dataset knows them, and classes."""
    names = getattr(getattr(dataset, 'dataset', None), 'filenames', None)
    text = repr([class_indices(dataset), names() if names else None])
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def saved_halves(path: Path, targets: Sequence[int], classes: Sequence[int]) -> Halves | None:
    """The halves in a search's record; None if they are not two halves of the images of these classes."""
    saved = load_json(path.read_text(encoding='utf-8')) if path.exists() else {}
    train, val = saved.get('train'), saved.get('val')
    if not (isinstance(train, list) and isinstance(val, list) and saved.get('classes') == list(classes)):
        return None
    wanted = set(classes)
    images = [i for i, target in enumerate(targets) if target in wanted]
    if not all(type(i) is int for i in train + val) or sorted(train + val) != images:
        return None
    return Halves(train, val, list(classes))


def check_same(path: Path, record: dict[str, Any]) -> None:
    """Raise UsageError if what a search was made from has changed since."""
    words = {'processes': 'number of processes', 'space': 'search space', 'images': 'images of the data folder'}
    saved = load_json(path.read_text(encoding='utf-8')) if path.exists() else {}
    record = json.loads(json.dumps(record))
    for name, value in record.items():
        if saved.get(name) != value:
            what = words.get(name, 'halves of the data')
            shown = f' ({saved.get(name)} there, {value} here)' if name == 'processes' else ''
            raise UsageError(f'--resume {path.parent}: another {what}{shown} than when it started: start a new search')


@contextlib.contextmanager
def lock_folder(folder: Path, resume: bool) -> Iterator[None]:
    """Make the output folder if it is not there, and keep other searches out of it while this one runs.

    Raises:
        UsageError: it holds another search, or another process is using it.
    """
    if not resume and (folder / ARGS_FILE).exists():
        raise UsageError(f'--output {folder}: holds a search: --resume {folder} goes on with it, or name another one')
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / '.lock').open('w')
    except OSError as e:
        raise UsageError(f'--output {folder}: cannot be written ({e.strerror})') from None
    with lock:
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # not handed on to the loader's workers, as flock is
        except (BlockingIOError, PermissionError):
            raise UsageError(f'--output {folder}: another process is searching there: wait, or stop it') from None
        for left in folder.glob('.*.tmp'):  # of a process that was killed while it wrote
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        yield
