"""Checks and wraps a torch dataset that a Python caller passes to the search."""
import copy
from collections.abc import Sized
from functools import partial
from pathlib import Path
from typing import Any, cast

from PIL import Image
from torch.utils.data import Dataset, Subset
from torchvision.datasets import DatasetFolder
from torchvision.datasets.folder import default_loader

from ..errors import RunError, UsageError, one_line
from ..runs.content import note_unreadable
from ..runs.datasets import class_indices, class_names
from ..runs.images import READ_ERRORS, open_image, unreadable

__all__ = ['GivenImages', 'check_images']


class GivenImages(Dataset):
    """A dataset of (PIL image, class) passed to `search`, with its class names and the class of every image."""

    def __init__(self, dataset: Dataset) -> None:
        self.images = _with_our_loader(dataset)
        self.class_to_idx = {name: i for i, name in enumerate(_names(dataset))}
        self.targets = _targets(dataset)
        self.notes: Path | None = None  # file in which images that cannot be read are noted, see `fingerprint`

    def __len__(self) -> int:
        return len(cast(Sized, self.images))

    def __getitem__(self, index: int) -> tuple[Any, int]:
        """The image and its class; `RunError` names an image that cannot be read."""
        try:
            image, target = self.images[index]
            if isinstance(image, Image.Image):
                image.load()  # PIL has only opened it
        except READ_ERRORS as e:
            raise self.error(index, e) from e
        return image, int(target)

    def error(self, index: int, e: BaseException) -> RunError:
        """The error for an image that cannot be read or converted; it is noted, see `fingerprint`."""
        if isinstance(e, RunError):
            return e
        if self.notes is not None:
            note_unreadable(self.notes, index, 'unreadable')
        return unreadable(getattr(e, 'filename', None) or f'image {index} of the dataset', e)


def _with_our_loader(dataset: Dataset) -> Dataset:
    """torchvision's `ImageFolder` with files read by `open_image`: torchvision would clip 16-bit pixels."""
    if isinstance(dataset, DatasetFolder) and dataset.loader is default_loader:
        ours = copy.copy(dataset)
        ours.loader = partial(open_image, mode='RGB')
        return ours
    if isinstance(dataset, Subset):
        return Subset(_with_our_loader(dataset.dataset), dataset.indices)
    return dataset


def _names(dataset: Dataset) -> list[str]:
    """The class names, or an empty list if the dataset has none; a `Subset` has those of the whole dataset."""
    if isinstance(dataset, Subset):
        return _names(dataset.dataset)
    return class_names(dataset) or [str(name) for name in getattr(dataset, 'classes', None) or ()]


def _targets(dataset: Dataset) -> list[int]:
    """The class of every image, also of a `Subset` (`random_split`), without reading the images where possible."""
    if isinstance(dataset, Subset):
        whole = _targets(dataset.dataset)
        return [whole[i] for i in dataset.indices]
    return class_indices(dataset)


def check_images(dataset: Any) -> Dataset:
    """Check that the search can read the dataset, and wrap it.

    Raises:
        UsageError: it has no length, cannot be indexed, is empty, or its items are not (PIL image, class).
    """
    try:
        if len(dataset) == 0:
            raise UsageError('dataset: contains no images')
        first = dataset[0]
    except (OSError, SyntaxError, Image.DecompressionBombError) as e:
        raise UsageError(f'dataset: its first image cannot be read: {one_line(e)}') from None
    except (TypeError, NotImplementedError, AttributeError) as e:
        raise UsageError(
            f'dataset: {type(dataset).__name__} has no length or cannot be indexed ({one_line(e)}): expected a '
            'map-style torch dataset'
        ) from None
    if not isinstance(first, (tuple, list)) or len(first) != 2:
        raise UsageError(f'dataset: its first item is a {type(first).__name__}: expected a pair (PIL image, class)')
    image, target = first
    if not isinstance(image, Image.Image):
        raise UsageError(
            f'dataset: its first image is a {type(image).__name__}: expected a PIL image: create the dataset without a '
            'transform, the search applies its own'
        )
    try:
        int(target)
    except (TypeError, ValueError):
        raise UsageError(f'dataset: its first class is {target!r}: expected a whole number') from None
    try:
        return GivenImages(dataset)
    except (OSError, SyntaxError, Image.DecompressionBombError) as e:  # the images are read for their classes
        raise UsageError(f'dataset: an image cannot be read: {one_line(e)}') from None
