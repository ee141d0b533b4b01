"""Images that two datasets have in common, as copies: accuracy on an image that was trained on says little."""
import filecmp
import logging
import os
from collections import defaultdict
from collections.abc import Iterable, Sized
from dataclasses import dataclass
from typing import Any, cast

from torch.utils.data import Dataset, Subset

from .content import MAX_READ, MAX_SIZES, file_digest
from .datasets import Part
from .processes import log_on_primary

__all__ = ['Copies', 'copied_images', 'files_of']


def files_of(dataset: Any) -> list[str]:
    """The file of every image, by index; empty if they are not files of their own (a `.tar`, tensors, a stream)."""
    if isinstance(dataset, (Part, Subset)):
        whole = files_of(dataset.dataset)
        return [whole[i] for i in dataset.indices] if whole else []
    source = getattr(dataset, 'dataset', dataset)
    samples = getattr(getattr(source, 'reader', source), 'samples', None)
    samples = samples if isinstance(samples, (list, tuple)) else []
    files = [sample[0] for sample in samples if isinstance(sample, tuple) and isinstance(sample[0], str)]
    return files if len(files) == len(samples) else []


@dataclass(frozen=True)
class Copies:
    """Images whose file has the same content as that of an image to train on.

    Attributes:
        pairs: (file, file of the image to train on) for each of them.
        count: number of images that were to be others.
        complete: all images were compared, on both sides.
    """

    pairs: list[tuple[str, str]]
    count: int
    complete: bool

    @property
    def all(self) -> bool:
        """Whether none is another image."""
        return len(self.pairs) == self.count > 0

    def __str__(self) -> str:
        """How many there are, with an example: 'copies of training images: 2 of its 12 images, such as ..'."""
        file, twin = self.pairs[0]
        number = f'{"" if self.complete else "at least "}{len(self.pairs):,} of its {self.count:,} images'
        return f'copies of training images: {number}, such as {file} (the same as {twin})'

    def warn(self, what: str, logger: logging.Logger) -> None:
        """Log them, if there are any; `what` are the images for, such as 'validation'."""
        if self.pairs:
            note = f'{what} has {self}: the accuracy on it will be too high'
            log_on_primary(logger, note, logging.WARNING)


def copied_images(one: Dataset, other: Dataset) -> Copies:
    """The images of `other` that are copies of images in `one`, which are to train on; only files are compared.

    Files are opened if their size is one that both datasets have: of each dataset at most `content.MAX_READ`, evenly
    spaced. With more than `content.MAX_SIZES` images in either, nothing is compared: on a network disk the sizes alone
    would take minutes.
    """
    ours, theirs = files_of(one), files_of(other)
    count = len(cast(Sized, other)) if hasattr(other, '__len__') else 0
    if not ours or not theirs or max(len(ours), len(theirs)) > MAX_SIZES:
        return Copies([], count, False)
    own, sizes = _sizes(ours), _sizes(theirs)
    common = set(own.values()) & set(sizes.values()) - {0}  # empty files are no images
    own_files, files = ([file for file, size in known.items() if size in common] for known in (own, sizes))
    by_digest = defaultdict(list)
    for file in _spaced(own_files):
        by_digest[file_digest(file, True)].append(file)
    found = []
    for file in _spaced(files):
        twins = by_digest.get(file_digest(file, True), ())
        if twin := next((t for t in twins if _same_content(file, t)), ''):
            found.append((file, twin))
    return Copies(found, count, max(len(own_files), len(files)) <= MAX_READ)


def _spaced(files: list[str]) -> list[str]:
    """All files, or `MAX_READ` of them, evenly spaced."""
    count = min(len(files), MAX_READ)
    return [files[i * len(files) // count] for i in range(count)]


def _sizes(files: Iterable[str]) -> dict[str, int]:
    """The size of each file that is there, in bytes."""
    found = {}
    for file in files:
        try:
            found[file] = os.stat(file).st_size
        except OSError:  # reading it says what is wrong
            continue
    return found


def _same_content(one: str, other: str) -> bool:
    try:
        return filecmp.cmp(one, other, shallow=False)
    except OSError:
        return False
