"""A torch dataset that a Python caller passes to the search: checked, and with the names of its classes."""
from collections.abc import Sized
from typing import Any, cast

from PIL import Image
from torch.utils.data import Dataset

from ..errors import UsageError
from ..runs.datasets import class_names

__all__ = ['GivenImages', 'check_images']


class GivenImages(Dataset):
    """A dataset of (PIL image, class), as `search` was given it."""

    def __init__(self, dataset: Dataset) -> None:
        self.images = dataset
        names = class_names(dataset) or [str(name) for name in getattr(dataset, 'classes', None) or ()]
        self.class_to_idx = {name: i for i, name in enumerate(names)}
        if hasattr(dataset, 'targets'):
            self.targets = dataset.targets

    def __len__(self) -> int:
        return len(cast(Sized, self.images))

    def __getitem__(self, index: int) -> tuple[Any, int]:
        image, target = self.images[index]
        return image, int(target)


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
