"""A torch dataset that a Python caller passes to the search: checked, and with the names of its classes."""
from collections.abc import Sized
from typing import Any, cast

from PIL import Image
from torch.utils.data import Dataset, Subset

from ..errors import UsageError
from ..runs.datasets import class_indices, class_names

__all__ = ['GivenImages', 'check_images']


class GivenImages(Dataset):
    """A dataset of (PIL image, class), as `search` was given it."""

    def __init__(self, dataset: Dataset) -> None:
        self.images = dataset
        self.class_to_idx = {name: i for i, name in enumerate(_names(dataset))}
        self.targets = _targets(dataset)

    def __len__(self) -> int:
        return len(cast(Sized, self.images))

    def __getitem__(self, index: int) -> tuple[Any, int]:
        image, target = self.images[index]
        return image, int(target)


def _names(dataset: Dataset) -> list[str]:
    """The names of the classes; those of the whole dataset for a part of one, empty if it does not know them."""
    if isinstance(dataset, Subset):
        return _names(dataset.dataset)
    return class_names(dataset) or [str(name) for name in getattr(dataset, 'classes', None) or ()]


def _targets(dataset: Dataset) -> list[int]:
    """The class of every image; a part of a dataset (`random_split`) is asked for it without reading the images."""
    if isinstance(dataset, Subset):
        whole = _targets(dataset.dataset)
        return [whole[i] for i in dataset.indices]
    return class_indices(dataset)


def check_images(dataset: Any) -> Dataset:
    """The dataset, if the search can read it.

    Raises:
        UsageError: it has no length or no indices, is empty, or does not hold (PIL image, class).
    """
    try:
        if len(dataset) == 0:
            raise UsageError('dataset: holds no image')
        first = dataset[0]
    except (TypeError, NotImplementedError, AttributeError):
        raise UsageError(
            f'dataset: {type(dataset).__name__} has no length or cannot be indexed: expected a map-style torch dataset'
        ) from None
    if not isinstance(first, (tuple, list)) or len(first) != 2:
        raise UsageError(f'dataset: its first item is a {type(first).__name__}: expected a pair (PIL image, class)')
    image, target = first
    if not isinstance(image, Image.Image):
        raise UsageError(
            f'dataset: its first image is a {type(image).__name__}: expected a PIL image: make the dataset without a '
            'transform, the search has its own'
        )
    try:
        int(target)
    except (TypeError, ValueError):
        raise UsageError(f'dataset: its first class is {target!r}: expected a whole number') from None
    return GivenImages(dataset)
