"""Two datasets of a search: one trains the weights, the other alpha."""
import logging
import os
from collections.abc import Sequence, Sized
from typing import Any, cast

from torch.utils.data import Dataset, Subset

from ..errors import UsageError, did_you_mean
from ..runs.copies import copied_images, files_of
from ..runs.datasets import StrictImages, class_indices, class_names, fingerprint
from .dataset import GivenImages

__all__ = ['JoinedImages', 'check_copies', 'join_images']

_logger = logging.getLogger('search')


class JoinedImages(Dataset):
    """The images that train the weights, followed by those that train alpha, with the classes of the former."""

    def __init__(self, weights: Dataset, alpha: Dataset, alpha_targets: Sequence[int]) -> None:
        """
        Args:
            weights: the images that train the weights.
            alpha: the images that train alpha.
            alpha_targets: the class of every image in `alpha`, numbered as in `weights`.
        """
        self.parts = weights, alpha
        self.count = len(cast(Sized, weights))  # of images that train the weights
        self.targets = [*class_indices(weights), *alpha_targets]
        self.class_to_idx = {name: i for i, name in enumerate(class_names(weights))}

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        weights, alpha = self.parts
        image, _ = weights[index] if index < self.count else alpha[index - self.count]
        return image, self.targets[index]


def join_images(weights: Dataset, alpha: Dataset, name: str) -> JoinedImages:
    """Join the images that train the weights and those that train alpha; their classes are matched by name.

    Args:
        weights: the images that train the weights.
        alpha: the images that train alpha.
        name: the option that names `alpha`, for messages.

    Raises:
        UsageError: both contain the same image, or `alpha` has a class that `weights` has not.
    """
    images = [_images(dataset) for dataset in (weights, alpha)]
    both = [i for i in images[1] if i in images[0]]
    files = any(isinstance(i, str) for i in images[0])
    if both or (not files and fingerprint(weights) == fingerprint(alpha)):  # equal, but opened twice
        count = len(both) or len(cast(Sized, alpha))
        named = [i for i in both if isinstance(i, str)]
        example = f', such as {named[0]}' if named else ''
        raise UsageError(
            f'{name}: {count:,} of its {len(cast(Sized, alpha)):,} images train the weights too{example}: expected '
            'other images for alpha'
        )
    names, alpha_names = class_names(weights), class_names(alpha)
    known, targets = set(class_indices(weights)), class_indices(alpha)
    if names and alpha_names:
        index = {n: i for i, n in enumerate(names) if i in known}
        odd = sorted({alpha_names[t] for t in targets} - set(index))
        if odd:
            raise UsageError(f'{name}: has images of class {odd[0]!r}, of which there are none to train the weights'
                             f'{did_you_mean(odd[0], index)}')
        targets = [index[alpha_names[t]] for t in targets]
    elif not set(targets) <= known:
        raise UsageError(f'{name}: has images of class {min(set(targets) - known)}, of which there are none to train '
                         'the weights')
    missing = sorted(known - set(targets))
    if missing:
        shown = ', '.join(names[t] if names else str(t) for t in missing[:5]) + (', ..' if len(missing) > 5 else '')
        _logger.warning('%s: has no images of %d of %d classes: %s', name, len(missing), len(known), shown)
    return JoinedImages(weights, alpha, targets)


def check_copies(joined: JoinedImages, name: str) -> None:
    """Warn of images for alpha that are copies of those that train the weights; UsageError if all of them are."""
    weights, alpha = (d.images if isinstance(d, GivenImages) else d for d in joined.parts)
    copies = copied_images(weights, alpha)
    if copies.all:
        raise UsageError(f'{name}: has nothing but {copies}: expected other images for alpha')
    copies.warn(name, _logger)


def _images(dataset: Any) -> dict[Any, None]:
    """What identifies the images: the files, with links followed, or places in a Python object; empty if not known."""
    if isinstance(dataset, GivenImages):
        return _images(dataset.images)
    if isinstance(dataset, Subset):
        whole = list(_images(dataset.dataset))
        return {whole[i]: None for i in dataset.indices} if whole else {}
    if isinstance(dataset, (list, tuple)):
        return {id(item[0]): None for item in dataset}
    files = {os.path.realpath(file): None for file in files_of(dataset)}
    return files or ({} if isinstance(dataset, StrictImages) else {(id(dataset), i): None for i in range(len(dataset))})
