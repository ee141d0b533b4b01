"""The output folder of a search: its file names, the lock during the search, and the checks on resume."""
import contextlib
import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from ..arch.checks import load_json
from ..errors import UsageError
from ..runs import folder as runs_folder
from ..runs.datasets import class_indices
from .halves import Halves
from .names import ARGS_FILE

__all__ = [
    'ARGS_FILE', 'CHECKPOINT', 'EXTRACT', 'RECORD', 'check_same', 'fingerprint_of', 'lock_folder',
    'saved_class_weights', 'saved_halves',
]

CHECKPOINT = 'last.pt'
EXTRACT = 'extract'  # the resulting model, as a folder for timm's `local-dir:`
RECORD = 'halves.json'  # search space, data and halves, compared on resume


def fingerprint_of(dataset: Dataset) -> str:
    """A digest of the class of every image and, if the dataset has them, the file names."""
    names = getattr(getattr(dataset, 'dataset', None), 'filenames', None)
    text = repr([class_indices(dataset), names() if names else None])
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def saved_halves(path: Path, targets: Sequence[int], classes: Sequence[int]) -> Halves | None:
    """The halves recorded in a search folder; None unless they split exactly the images of these classes."""
    saved = load_json(path.read_text(encoding='utf-8')) if path.exists() else {}
    train, val = saved.get('train'), saved.get('val')
    if not (isinstance(train, list) and isinstance(val, list) and saved.get('classes') == list(classes)):
        return None
    wanted = set(classes)
    images = [i for i, target in enumerate(targets) if target in wanted]
    if not all(type(i) is int for i in train + val) or sorted(train + val) != images:
        return None
    return Halves(train, val, list(classes))


def saved_class_weights(path: Path, num_classes: int) -> list[list[float]] | None:
    """The weights of the classes recorded in a search folder, per half; None if there are none or they do not fit."""
    saved = load_json(path.read_text(encoding='utf-8')) if path.exists() else {}
    halves = saved.get('class_weights')
    if not isinstance(halves, list) or len(halves) != 2 or not all(isinstance(h, list) for h in halves):
        return None
    fits = all(len(h) == num_classes and all(type(w) is float and 0 < w < math.inf for w in h) for h in halves)
    return halves if fits else None


def check_same(path: Path, record: dict[str, Any]) -> None:
    """Raise UsageError if the search space, data or number of processes differ from those of the recorded search."""
    words = {'processes': 'number of processes', 'space': 'search space', 'images': 'images of the data folder',
             'class_weights': 'weights of the classes'}
    saved = load_json(path.read_text(encoding='utf-8')) if path.exists() else {}
    record = json.loads(json.dumps(record))
    for name, value in record.items():
        if saved.get(name) != value:
            what = words.get(name, 'halves of the data')
            shown = f' ({saved.get(name)} then, {value} now)' if name == 'processes' else ''
            raise UsageError(f'--resume {path.parent}: the {what} changed since it started{shown}: start a new search')


@contextlib.contextmanager
def lock_folder(folder: Path, resume: bool) -> Iterator[None]:
    """Create the output folder if necessary, and lock it against other runs while this one runs.

    Raises:
        UsageError: it already contains a search, or another process is using it.
    """
    if not resume and (folder / ARGS_FILE).exists():
        raise UsageError(
            f'--output {folder}: already contains a search: continue it with --resume {folder}, or choose a new folder'
        )
    with runs_folder.lock_folder(folder):
        yield
