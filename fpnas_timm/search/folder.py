"""The output folder of a search: its file names, the lock during the search, and the checks on resume."""
import contextlib
import hashlib
import json
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from torch.utils.data import Dataset

from ..errors import UsageError
from ..runs import folder as runs_folder
from ..runs.datasets import check_readable, class_indices, fingerprint
from ..runs.files import write_text
from .halves import Halves
from .names import ARGS_FILE, CHECKPOINT, PREVIOUS, RECORD, SPACE_FILE
from .options import build_parser
from .saved import changed_settings, fixed_settings, read_object

__all__ = [
    'CHECKPOINT', 'EXTRACT', 'RECORD', 'check_new', 'check_same', 'check_stamp', 'fingerprint_of', 'lock_folder',
    'read_record', 'saved_class_weights', 'saved_halves', 'stamp', 'write_start',
]

EXTRACT = 'extract'  # the resulting model, as a folder for timm's `local-dir:`
HALVES = 'halves of the data'
WORDS = {  # entries of the record
    'processes': 'number of processes', 'space': 'search space', 'images': 'images', 'class_names': 'class names',
    'class_weights': 'weights of the classes', 'latency': 'latency table', 'init_from': 'source of --init-from',
}

_logger = logging.getLogger('search')


def fingerprint_of(dataset: Dataset, recorded: object = None) -> str:
    """A digest of the images of a search, see `runs.datasets.fingerprint`.

    Args:
        dataset: the images.
        recorded: the digest in the folder of the search that is continued. If an earlier version made it, the result is
            one of the same kind: of classes and file names only.

    Raises:
        RunError: the images are not those recorded, and one of them is damaged.
    """
    if not isinstance(recorded, str) or recorded.startswith('2-'):
        found = fingerprint(dataset)
        if recorded and found != recorded:
            check_readable(dataset)
        return found
    names = getattr(getattr(dataset, 'dataset', None), 'filenames', None)
    text = repr([class_indices(dataset), names() if names else None])
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def read_record(folder: Path) -> dict[str, Any]:
    """What `write_start` recorded in the folder of a search; an empty dict if there is no such file.

    Raises:
        UsageError: the file is damaged.
    """
    path = folder / RECORD
    return read_object(path, 'restore it, or start a new search') if path.exists() else {}


def write_start(folder: Path, record: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Write the files that `--resume` needs; `args.yaml` last, since it marks the folder as a search."""
    (folder / ARGS_FILE).unlink(missing_ok=True)  # of a search that `--resume auto` starts anew
    noted = {**record, 'settings': fixed_settings(settings)}
    write_text(folder / SPACE_FILE, json.dumps(record['space'], indent=1) + '\n')
    write_text(folder / RECORD, json.dumps(noted) + '\n')
    write_text(folder / ARGS_FILE, yaml.safe_dump(dict(settings)))


def saved_halves(folder: Path, targets: Sequence[int], classes: Sequence[int]) -> Halves | None:
    """The halves recorded in a search folder; None unless they split exactly the images of these classes."""
    saved = read_record(folder)
    train, val = saved.get('train'), saved.get('val')
    if not (isinstance(train, list) and isinstance(val, list) and saved.get('classes') == list(classes)):
        return None
    wanted = set(classes)
    images = [i for i, target in enumerate(targets) if target in wanted]
    if not all(type(i) is int for i in train + val) or sorted(train + val) != images:
        return None
    return Halves(train, val, list(classes))


def saved_class_weights(folder: Path, num_classes: int) -> list[list[float]] | None:
    """The weights of the classes recorded in a search folder, per half; None if there are none or they do not fit."""
    halves = read_record(folder).get('class_weights')
    if not isinstance(halves, list) or len(halves) != 2 or not all(isinstance(h, list) for h in halves):
        return None
    fits = all(len(h) == num_classes and all(type(w) is float and 0 < w < math.inf for w in h) for h in halves)
    return halves if fits else None


def check_same(folder: Path, record: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Check that space, data, number of processes and settings are those with which a search was started.

    Args:
        folder: the folder of the search.
        record: as passed to `write_start`.
        settings: the options, read from `args.yaml`.

    Raises:
        UsageError: something changed; the message says what.
    """
    saved = read_record(folder)
    if not saved:
        raise UsageError(f'--resume {folder}: {RECORD} is missing: restore it, or start a new search')
    for name, value in json.loads(json.dumps(dict(record))).items():
        if saved.get(name) != value:
            shown = f' ({saved.get(name)} then, {value} now)' if name == 'processes' else ''
            raise UsageError(
                f'--resume {folder}: the {WORDS.get(name, HALVES)} changed since it started{shown}: start a new search'
            )
    if isinstance(saved.get('settings'), dict):
        changed = _changes(saved['settings'], settings)
        if changed:
            raise UsageError(
                f'--resume {folder}: {ARGS_FILE} changed since the search started ({"; ".join(changed)}): undo that to '
                'continue it, or start a new search with these settings in another --output'
            )


def stamp(record: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """What a checkpoint holds about its search, so that it is not continued as another one."""
    return {'settings': fixed_settings(settings), 'record': _digests(record)}


def check_stamp(folder: Path, state: Mapping[str, Any], record: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Raise UsageError unless the checkpoint `state` belongs to the search of this record and these settings."""
    if not isinstance(state.get('record'), dict) or not isinstance(state.get('settings'), dict):
        _logger.warning(
            '%s: of an earlier version, which did not record settings and images there: whether args.yaml or the '
            'images were changed since then is not known', folder / CHECKPOINT,
        )
        return
    changed = _changes(state['settings'], settings)
    if changed:
        raise UsageError(
            f'--resume {folder}: the settings in {CHECKPOINT} are not those in {ARGS_FILE} ({"; ".join(changed)}): if '
            f'{ARGS_FILE} was edited, undo that; else {CHECKPOINT} is of another search: restore the one that was '
            'there, or start a new search in another --output'
        )
    now = _digests(record)
    for name, digest in state['record'].items():
        if now.get(name) != digest:
            raise UsageError(
                f'--resume {folder}: the {WORDS.get(name, HALVES)} in {CHECKPOINT} and {RECORD} are of different '
                'searches: restore the files of one of them, or start a new search'
            )


def _changes(then: Mapping[str, Any], settings: Mapping[str, Any]) -> list[str]:
    defaults = fixed_settings(vars(build_parser().parse_args([])))
    return changed_settings(then, fixed_settings(settings), defaults)


def _digests(record: Mapping[str, Any]) -> dict[str, str]:
    return {
        name: hashlib.blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=16).hexdigest()
        for name, value in record.items()
    }


@contextlib.contextmanager
def lock_folder(folder: Path, resume: bool, anew: bool = False) -> Iterator[None]:
    """Create the output folder if necessary, and lock it against other runs while this one runs.

    Args:
        folder: the output folder.
        resume: continue the search there.
        anew: if not `resume`, replace a search there that has no checkpoint yet.

    Raises:
        UsageError: it already contains a search, or another process is using it.
    """
    if not resume:
        check_new(folder, anew)
    with runs_folder.lock_folder(folder):
        if not resume:
            check_new(folder, anew)  # what another process wrote until it released the lock
        yield


def check_new(folder: Path, anew: bool = False) -> None:
    """Raise UsageError if the folder of a new search contains one; `anew`: one without a checkpoint may be there."""
    started = (folder / ARGS_FILE).exists()
    if started and not anew:
        raise UsageError(
            f'--output {folder}: already contains a search: continue it with --resume {folder}, or choose a new folder'
        )
    old = [name for name in (CHECKPOINT, PREVIOUS) if (folder / name).exists()]
    if old:
        found = 'another process has just searched there: run the command again' if started else (
            f'contains the state of another search ({" and ".join(old)}): delete it, or choose a new folder'
        )
        raise UsageError(f'--output {folder}: {found}')
