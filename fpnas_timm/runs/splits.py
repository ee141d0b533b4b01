"""Finds the folder of a split, such as `train`, in a data folder."""
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import UsageError

__all__ = ['KINDS', 'NoSplitError', 'find_split', 'kind_of', 'visible_folders']

# kind of split -> its usual names, the first ones as in timm and in timm's order
KINDS = {
    'train': ('train', 'training'),
    'validation': ('val', 'valid', 'validation', 'eval', 'evaluation', 'dev'),
    'test': ('test', 'testing'),
}
_FILLERS = frozenset(('set', 'data', 'dataset', 'split', 'folder', 'image', 'images', 'img', 'imgs'))
_SYSTEM = frozenset((
    '__macosx', '__pycache__', '@eadir', '$recycle.bin', 'lost+found', 'system volume information', '#recycle',
    '#snapshot', 'thumbs.db', 'desktop.ini',
))


class NoSplitError(UsageError):
    """The data folder has no folder for a split; `splits` are those that it has."""

    def __init__(self, message: str, splits: Sequence[str]) -> None:
        super().__init__(message)
        self.splits = list(splits)


def is_hidden(name: str) -> bool:
    """Whether a file or folder belongs to the system or a tool, not to the data: `.git`, `__MACOSX`, `@eaDir`, ..

    >>> [is_hidden(name) for name in ('.ipynb_checkpoints', 'lost+found', '._cat.png', 'cat')]
    [True, True, True, False]
    """
    return name.startswith('.') or name.lower() in _SYSTEM


def visible_folders(root: str | Path) -> list[str]:
    """The names of the folders in `root`, sorted, without hidden ones and those of the system."""
    try:
        with os.scandir(root) as entries:
            return sorted(e.name for e in entries if e.is_dir() and not is_hidden(e.name))
    except OSError as e:
        raise UsageError(f'{root}: cannot be read ({e.strerror})') from None


def kind_of(name: str) -> str | None:
    """The kind of split that a folder's name stands for, without regard to case; None if it is another name.

    >>> kind_of('Train'), kind_of('val2017'), kind_of('Test_set'), kind_of('trainset'), kind_of('train station')
    ('train', 'validation', 'test', 'train', None)
    """
    words = [w for w in re.split('[^a-z]+', name.lower()) if w and w not in _FILLERS]
    if len(words) != 1:
        return None
    return next((kind for kind, names in KINDS.items() if words[0].removesuffix('set') in names), None)


def find_split(root: str | Path, split: str) -> Path:
    """The folder of a split.

    It is `root/split`, else a folder with another usual name of the same split (timm's first), in any case of its
    letters. If `root` has nothing but one folder with the splits, they are looked for there. If `root` has no splits
    at all and a usual split is asked for, it is `root` itself.

    Args:
        root: the data folder.
        split: name of the split.

    Raises:
        NoSplitError: there are only other splits, or no folder with this unusual name.
        UsageError: several folders could be meant.
    """
    root = Path(root)
    if split and (root / split).is_dir():
        return _without_doubled(root / split, split)
    folders = visible_folders(root)
    kinds = {name: kind for name in folders if (kind := kind_of(name)) is not None}
    if '[' in split:
        raise NoSplitError(f'{root}: has no folder {split!r}; of an image folder, no part of a split can be named', [])
    if not kinds and len(folders) == 1:
        deeper = _one_deeper(root / folders[0])
        if deeper is not None:
            return find_split(deeper, split)
    if not kinds and folders and all(any(map(kind_of, visible_folders(root / name))) for name in folders):
        raise UsageError(
            f'{root}: has no folder for the split {split!r}, but {" and ".join(folders[:3])} have such folders: use '
            f'one of them as the data folder, such as {root / folders[0]}'
        )
    kind = next((kind for kind, names in KINDS.items() if split.lower() in names), None)
    same = [name for name in folders if name.lower() == split.lower()]
    timms = [name for name in KINDS.get(kind or '', ()) if name in folders][:1]
    others = [name for name in folders if kind is not None and kinds.get(name) == kind]
    found = same or timms or others
    if len(found) > 1:
        raise UsageError(f'{root}: {" and ".join(found)} could be the split {split!r}: give one of these names')
    if found:
        return _without_doubled(root / found[0], split)
    _check_no_splits(root, split, kind, kinds, folders)
    return root


def _one_deeper(folder: Path, depth: int = 3) -> Path | None:
    """The folder with the splits, if there is nothing but one folder on each level above it; else None."""
    inner = visible_folders(folder)
    if any(map(kind_of, inner)):
        return folder
    return _one_deeper(folder / inner[0], depth - 1) if len(inner) == 1 and depth else None


def _without_doubled(folder: Path, split: str) -> Path:
    """`train/train`, if there is nothing else in `train`, as some archives are packed."""
    with os.scandir(folder) as entries:
        names = [e.name for e in entries if not is_hidden(e.name)]
    if len(names) != 1 or not (folder / names[0]).is_dir():
        return folder
    kind = kind_of(names[0])
    doubled = names[0] == folder.name or (kind is not None and kind == kind_of(split))
    return folder / names[0] if doubled else folder


def _check_no_splits(
        root: Path, split: str, kind: str | None, kinds: Mapping[str, str], folders: Sequence[str]
) -> None:
    """Raise unless `root` has no split folders and `split` is one of the usual names, so that all of it is meant."""
    if kinds:
        raise NoSplitError(
            f'{root}: has no folder for the split {split!r}, only for others: {", ".join(kinds)}', list(kinds)
        )
    if kind is None and split:
        listed = f'only {", ".join(folders[:5])}' if folders else 'no folders at all'
        raise NoSplitError(f'{root}: has no folder for the split {split!r}, {listed}', [])
    looks = {
        kind: next((f for f in folders if set(re.split('[^a-z]+', f.lower())) & set(names)), None)
        for kind, names in KINDS.items()
    }
    alike = [name for name in looks.values() if name]
    if looks['train'] and len(set(alike)) > 1:
        raise NoSplitError(
            f'{root}: has no folder for the split {split!r}, but {" and ".join(alike)} look like splits: give their '
            'names', alike,
        )
