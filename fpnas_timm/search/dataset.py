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
from ..runs.datasets import class_names, listed_classes
from ..runs.images import READ_ERRORS, open_image, unreadable

__all__ = ['GivenImages', 'check_images']


class GivenImages(Dataset):
    """A dataset of (PIL image, class) passed to `search`, with its class names and the class of every image."""

    def __init__(self, dataset: Dataset) -> None:
        self.images = _with_our_loader(dataset)
        names = _names(dataset)
        self.class_to_idx = {name: i for i, name in enumerate(names)}
        self.targets = _targets(dataset)
        top = max(self.targets)
        if names and top >= len(names):
            raise UsageError(
                f'dataset: it has {len(names)} class names, but {_named("class", self.targets.index(top))} is {top}: '
                f'expected classes from 0 to {len(names) - 1}'
            )
        self.notes: Path | None = None  # file in which images that cannot be read are noted, see `fingerprint`

    def __len__(self) -> int:
        return len(cast(Sized, self.images))

    def __getitem__(self, index: int) -> tuple[Any, int]:
        """The image and its class; `RunError` names an image that cannot be read."""
        try:
            item = self.images[index]
            if isinstance(item, (tuple, list)) and item and isinstance(item[0], Image.Image):
                item[0].load()  # PIL has only opened it
        except READ_ERRORS as e:
            raise self.error(index, e) from e
        found = _fault(item, index)
        if found is None and int(item[1]) != self.targets[index]:
            found = (
                f'{_named("class", index)} is {int(item[1])}, but {self.targets[index]} in its list of classes '
                '(targets): expected the same: leave target_transform out'
            )
        if found is not None:
            raise RunError(f'dataset: {found}')
        return item[0], int(item[1])

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
    names = getattr(dataset, 'classes', None)
    if names is None or isinstance(names, (int, str)):  # a number of classes is none of their names
        names = ()
    return class_names(dataset) or [str(name) for name in names]


def _targets(dataset: Dataset) -> list[int]:
    """The class of every image, also of a `Subset` (`random_split`), without reading the images where possible.

    Raises:
        UsageError: an item is not (PIL image, class), or there is not one class for each image.
    """
    count = len(cast(Sized, dataset))
    listed = listed_classes(dataset)
    if listed is not None and len(listed) != count:
        raise UsageError(f'dataset: it has {count} images, but lists the classes (targets) of {len(listed)}')
    targets = []
    for index in range(count):
        target: Any
        if listed is not None:
            target, fault = listed[index], _class_fault(listed[index], index)
        else:
            item = dataset[index]
            fault = _fault(item, index)
            target = item[1] if fault is None else None
        if fault is not None:
            raise UsageError(f'dataset: {fault}')
        targets.append(int(target))
    return targets


def _named(what: str, index: int) -> str:
    """What is meant in the item at `index`: 'its first image', 'image 7', 'the class of image 7'."""
    if index == 0:
        return f'its first {what}'
    return f'the class of image {index}' if what == 'class' else f'{what} {index}'


def _fault(item: object, index: int) -> str | None:
    """Why an item of a dataset is not (PIL image, class); None if it is."""
    if not isinstance(item, (tuple, list)) or len(item) != 2:
        return f'{_named("item", index)} is a {type(item).__name__}: expected a pair (PIL image, class)'
    image, target = item
    if image is None:
        return f'{_named("image", index)} is None: expected a PIL image'
    if not isinstance(image, Image.Image):
        return (
            f'{_named("image", index)} is a {type(image).__name__}: expected a PIL image: create the dataset without a '
            'transform, the search applies its own'
        )
    return _class_fault(target, index)


def _class_fault(target: Any, index: int) -> str | None:
    """Why `target` is not the number of a class; None if it is."""
    if type(target) is int and target >= 0:
        return None
    expected = 'expected a whole number from 0 on'
    try:
        if float(target) != int(target):
            return f'{_named("class", index)} is {float(target):g}: {expected}'
        if int(target) < 0:
            return f'{_named("class", index)} is {int(target)}: {expected}; leave out images without a class'
    except (TypeError, ValueError, OverflowError, RuntimeError):
        return f'{_named("class", index)} is {target!r:.80}: {expected}'
    return None


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
    except (TypeError, NotImplementedError, AttributeError, LookupError) as e:
        raise UsageError(
            f'dataset: {type(dataset).__name__} has no length or cannot be indexed ({one_line(e)}): expected a '
            'map-style torch dataset'
        ) from None
    fault = _fault(first, 0)
    if fault is not None:
        raise UsageError(f'dataset: {fault}')
    try:
        return GivenImages(dataset)
    except (OSError, SyntaxError, Image.DecompressionBombError) as e:  # the images are read for their classes
        raise UsageError(f'dataset: an image cannot be read: {one_line(e)}') from None
