"""Holds out part of the training images for validation, and lists them in a file, so that others use the same ones."""
import random
from collections.abc import Sequence, Sized
from pathlib import Path
from typing import Any, cast

from torch.utils.data import Dataset, IterableDataset

from ..errors import UsageError
from .datasets import Part, class_indices
from .files import write_text

__all__ = ['VALIDATION_FILE', 'hold_out', 'image_names', 'listed_images', 'split_off', 'write_image_list']

VALIDATION_FILE = 'validation.txt'  # in the folder of a run


def split_off(targets: Sequence[int], fraction: float, seed: int) -> tuple[list[int], list[int]]:
    """Randomly choose a fraction of the images of each class.

    Args:
        targets: the class of every image.
        fraction: fraction of the images of each class, rounded; at least one image of a class with two or more is
            chosen, and one is not.
        seed: random seed.

    Returns:
        Indices of the images that remain, and of those that are chosen, both sorted.

    >>> rest, chosen = split_off([0] * 10 + [1] * 5, 0.2, seed=0)
    >>> len(rest), [i < 10 for i in chosen]
    (12, [True, True, False])
    """
    by_class: dict[int, list[int]] = {}
    for index, target in enumerate(targets):
        by_class.setdefault(target, []).append(index)
    rng = random.Random(seed)
    rest: list[int] = []
    chosen: list[int] = []
    for target in sorted(by_class):
        indices = by_class[target]
        rng.shuffle(indices)
        number = min(max(int(fraction * len(indices) + 0.5), 1), len(indices) - 1)
        chosen += indices[:number]
        rest += indices[number:]
    return sorted(rest), sorted(chosen)


def hold_out(dataset: Dataset, fraction: float, seed: int) -> tuple[Part, Part]:
    """`split_off` for a dataset: the part to train on and the part to validate on.

    Raises:
        UsageError: the dataset is a stream, or no class has two images.
    """
    if isinstance(dataset, IterableDataset):
        raise UsageError('--val-fraction: not for a streaming dataset, whose images cannot be chosen')
    rest, chosen = split_off(class_indices(dataset), fraction, seed)
    if not chosen:
        raise UsageError('--val-fraction: no class has two images or more, one to train on and one to hold out')
    return Part(dataset, rest), Part(dataset, chosen)


def image_names(dataset: Dataset) -> list[str]:
    """A name for each image: its file below the split's folder, or its number if it is no file."""
    if isinstance(dataset, Part):
        names = image_names(dataset.dataset)
        return [names[i] for i in dataset.indices]
    filenames: Any = getattr(getattr(dataset, 'dataset', dataset), 'filenames', None)
    names = [str(name) for name in filenames()] if filenames else []
    return names if len(set(names)) == len(names) > 0 else [str(i) for i in range(len(cast(Sized, dataset)))]


def write_image_list(path: Path, dataset: Dataset, heading: str) -> None:
    """Write the names of the images of a dataset to a file, one per line, below a comment; any bytes may be in them."""
    text = ''.join(f'{line}\n' for line in (f'# {heading}', *image_names(dataset)))
    write_text(path, text, errors='surrogateescape')


def listed_images(path: str | Path, dataset: Dataset, where: str) -> Part:
    """The images of a dataset that a file of `write_image_list` names.

    Args:
        path: the file.
        dataset: the whole split.
        where: the split, for messages.

    Raises:
        UsageError: the file cannot be read, is empty, or names images that are not there.
    """
    try:
        text = Path(path).read_text(encoding='utf-8', errors='surrogateescape')
    except OSError as e:
        raise UsageError(f'--val-images {path}: cannot be read ({e.strerror})') from None
    if '\0' in text:
        raise UsageError(f'--val-images {path}: cannot be read (not text)')
    index = {name: i for i, name in enumerate(image_names(dataset))}
    wanted = [line for line in text.split('\n') if line and (line in index or not line.startswith('# '))]
    missing = [name for name in wanted if name not in index]
    if missing:
        number = f'{len(missing)} of its {len(wanted)} images'
        raise UsageError(f'--val-images {path}: {number} are not in {where}, such as {missing[0]}')
    if not wanted:
        raise UsageError(f'--val-images {path}: names no images')
    return Part(dataset, sorted({index[name] for name in wanted}))
