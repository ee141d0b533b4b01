"""Images that two datasets have in common, as copies: accuracy on an image that was trained on says little."""
import filecmp
import logging
import os
from collections.abc import Iterable, Sequence, Sized
from typing import Any, cast

from torch.utils.data import Dataset, Subset

from .content import MAX_READ, MAX_SIZES, file_digest, is_read
from .datasets import Part
from .processes import log_on_primary

__all__ = ['copied_images', 'files_of', 'warn_of_copies']


def files_of(dataset: Any) -> list[str]:
    """The file of every image, by index; empty if they are not files of their own (a `.tar`, tensors, a stream)."""
    if isinstance(dataset, (Part, Subset)):
        whole = files_of(dataset.dataset)
        return [whole[i] for i in dataset.indices] if whole else []
    source = getattr(dataset, 'dataset', dataset)
    samples = getattr(getattr(source, 'reader', source), 'samples', None) or ()
    files = [sample[0] for sample in samples if isinstance(sample, tuple) and isinstance(sample[0], str)]
    return files if len(files) == len(samples) else []


def copied_images(one: Dataset, other: Dataset) -> list[tuple[str, str]]:
    """Images of `other` whose file has the same content as one of `one`; only files are compared.

    Of more than `content.MAX_READ` images in `other`, so many are looked at, evenly spaced; none if `one` has more than
    `content.MAX_SIZES`, whose sizes alone would take minutes on a network disk.

    Returns:
        (file in `other`, file in `one`) for each of them.
    """
    ours, theirs = files_of(one), files_of(other)
    if len(ours) > MAX_SIZES:
        return []
    theirs = [file for i, file in enumerate(theirs) if is_read(i, len(theirs))]
    sizes, own = _sizes(theirs), _sizes(ours)
    wanted, known = set(sizes.values()), set(own.values())
    by_digest: dict[str, str] = {}
    for file, size in own.items():
        if size in wanted:
            by_digest.setdefault(file_digest(file, True), file)
    pairs = [(file, by_digest.get(file_digest(file, True), '')) for file, size in sizes.items() if size in known]
    return [(file, twin) for file, twin in pairs if twin and _same_content(file, twin)]


def warn_of_copies(found: Sequence[tuple[str, str]], other: Dataset, what: str, logger: logging.Logger) -> None:
    """Log how many images are copies of training images, if any are.

    Args:
        found: from `copied_images`.
        other: the images that are to be others.
        what: what they are for, such as 'validation'.
        logger: of the command.
    """
    if found:
        count = len(cast(Sized, other))
        of = f'its {count:,} images' if count <= MAX_READ else f'the {MAX_READ:,} of its images that were compared'
        file, twin = found[0]
        log_on_primary(
            logger, f'{what} has copies of training images: {len(found):,} of {of}, such as {file} (the same as '
            f'{twin}): the accuracy on it will be too high', logging.WARNING,
        )


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
