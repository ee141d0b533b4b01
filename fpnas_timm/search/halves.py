"""The images of a search: its classes, two stratified halves, and batches that can start at any step.

The weights are trained on one half, alpha on the other (main paper, section 3). The images of a batch and their
augmentation depend only on the seed, the epoch and the step, not on earlier random draws, the number of DataLoader
workers or the number of training processes. A search can therefore resume in the middle of an epoch without reading
earlier batches again.
"""
import contextlib
import copy
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from ..errors import UsageError
from ..runs.images import READ_ERRORS, to_mode, unreadable
from ..runs.imbalance import draw_balanced
from ..runs.processes import end_workers, shield_workers, start_workers

__all__ = ['Half', 'HalfLoader', 'Halves', 'StepBatches', 'joined_halves', 'pick_classes', 'stratified_halves']


@dataclass(frozen=True)
class Halves:
    """Image indices of the half that trains the weights and of the half that trains alpha, and the classes used."""

    train: list[int]
    val: list[int]
    classes: list[int]


def pick_classes(targets: Sequence[int], count: int | None, seed: int) -> list[int]:
    """`count` randomly chosen classes, sorted (the paper uses 100 of ImageNet's); all classes if None.

    Raises:
        UsageError: `count` is below 2 or above the number of classes.
    """
    classes = sorted(set(targets))
    if count is None:
        return classes
    if not 2 <= count <= len(classes):
        raise UsageError(f'--search-classes {count}: expected 2 to {len(classes)}, the number of classes in the data')
    return sorted(random.Random(seed).sample(classes, count))


def stratified_halves(
        targets: Sequence[int], classes: Sequence[int], seed: int, names: Sequence[str] = ()
) -> Halves:
    """Randomly split the images of each class into two halves, one for the weights and one for alpha.

    Args:
        targets: the class of every image.
        classes: the classes to search on.
        seed: random seed of the split.
        names: names of the dataset's classes, for messages.

    Returns:
        The halves; their sizes differ by at most one image, both per class and in total.

    Raises:
        UsageError: a class has only one image.

    >>> halves = stratified_halves([0] * 5 + [1] * 5 + [2] * 5, classes=[0, 1, 2], seed=0)
    >>> len(halves.train), len(halves.val)
    (7, 8)
    """
    by_class: dict[int, list[int]] = {c: [] for c in classes}
    for index, target in enumerate(targets):
        if target in by_class:
            by_class[target].append(index)
    train: list[int] = []
    val: list[int] = []
    rng = random.Random(seed)
    few = [repr(names[c]) if c < len(names) else str(c) for c, indices in by_class.items() if len(indices) < 2]
    if few:
        others = f' (so have {", ".join(few[1:5])}{", .." if len(few) > 5 else ""})' if few[1:] else ''
        raise UsageError(
            f'class {few[0]} has 1 image{others}: expected at least 2, one for the weights and one for alpha'
        )
    for indices in by_class.values():
        rng.shuffle(indices)
        middle = len(indices) // 2
        if len(indices) % 2 and len(train) < len(val):  # the odd image goes to the half that has fewer so far
            middle += 1
        train += indices[:middle]
        val += indices[middle:]
    return Halves(sorted(train), sorted(val), list(classes))


def joined_halves(targets: Sequence[int], count: int, classes: Sequence[int]) -> Halves:
    """The first `count` images train the weights, the others alpha; only those of the `classes`.

    >>> joined_halves([0, 1, 2, 1, 0, 2], count=4, classes=[0, 1])
    Halves(train=[0, 1, 3], val=[4], classes=[0, 1])
    """
    wanted = set(classes)
    used = [i for i, target in enumerate(targets) if target in wanted]
    return Halves([i for i in used if i < count], [i for i in used if i >= count], list(classes))


class Half(Dataset):
    """A subset of a dataset with classes renumbered from 0; reading and augmenting are seeded per image and epoch."""

    def __init__(
            self, dataset: Dataset, indices: Sequence[int], classes: Sequence[int], transform: Any, mode: str, seed: int
    ) -> None:
        """
        Args:
            dataset: its items are (PIL image, class).
            indices: indices of the images in the dataset.
            classes: classes in the dataset; their positions in this list are the new classes.
            transform: a transform made by timm's `create_transform`.
            mode: PIL mode of the images: 'RGB' or 'L'.
            seed: random seed of the augmentation.
        """
        self.dataset = dataset
        self.indices = list(indices)
        self.class_index = {c: i for i, c in enumerate(classes)}
        self.transform = transform
        self.mode = mode
        self.seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        with _seeded((self.seed, self.epoch, self.indices[index])):  # a dataset may augment its images itself
            image, target = self.dataset[self.indices[index]]
            if isinstance(image, Image.Image):
                try:
                    image = to_mode(image, self.mode)
                except READ_ERRORS as e:
                    raise unreadable(f'image {self.indices[index]} of the dataset', e) from e
            image = self.transform(image)
        return image, self.class_index[int(target)]


@contextlib.contextmanager
def _seeded(parts: tuple[int, ...]) -> Iterator[None]:
    """Within the context, the global random generators, which timm's transforms use, are seeded from `parts`."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    seed = int(np.random.SeedSequence(parts).generate_state(1)[0])
    random.seed(seed)
    np.random.seed(seed)
    torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed the GPUs too
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


class StepBatches:
    """A batch sampler: the batches of an epoch as lists of indices.

    Every step takes the next `world_size * accum_steps * batch_size` images of the epoch's permutation. They form
    `accum_steps` rounds of `world_size` batches; rank r gets the r-th batch of each round. N processes thus see the
    same images as one process with N times as many rounds.
    """

    def __init__(
            self,
            size: int,
            batch_size: int,
            seed: tuple[int, ...],
            accum_steps: int = 1,
            rank: int = 0,
            world_size: int = 1,
            targets: Sequence[int] | None = None,
            steps: int | None = None,
    ) -> None:
        """
        Args:
            size: number of images in the half.
            batch_size: images per batch (per process and round).
            seed: random seed of the permutations; must differ between the two halves, so that they are independent.
            accum_steps: rounds per step.
            rank: rank of this process.
            world_size: number of processes.
            targets: the class of every image, to draw all classes equally often (with replacement); None: the epoch is
                a permutation of the images.
            steps: number of steps per epoch; the images are repeated in another order where they do not suffice. None:
                as many complete steps as they suffice for.
        """
        self.size = size
        self.batch_size = batch_size
        self.seed = seed
        self.accum_steps = accum_steps
        self.rank = rank
        self.world_size = world_size
        self.targets = targets
        self.images_per_step = batch_size * accum_steps * world_size
        self.steps = size // self.images_per_step if steps is None else steps
        self.epoch = self.first_step = 0

    def __len__(self) -> int:
        return (self.steps - self.first_step) * self.accum_steps

    def __iter__(self) -> Iterator[list[int]]:
        rng = np.random.default_rng((*self.seed, self.epoch))
        order: list[int] = []
        while len(order) < max(self.size, self.steps * self.images_per_step):
            if self.targets is None:
                order += rng.permutation(self.size).tolist()
            else:
                order += draw_balanced(self.targets, self.size, rng)
        for round_ in range(self.first_step * self.accum_steps, self.steps * self.accum_steps):
            start = (round_ * self.world_size + self.rank) * self.batch_size
            yield order[start : start + self.batch_size]


class HalfLoader:
    """Loads the batches of a half, starting at any step of any epoch."""

    def __init__(self, half: Half, batches: StepBatches, workers: int = 0, pin_memory: bool = False) -> None:
        """
        Args:
            half: the images.
            batches: the batch sampler.
            workers: number of DataLoader workers.
            pin_memory: as in torch's `DataLoader`.
        """
        self.half = half
        self.batches = batches
        self.loader = DataLoader(
            half,
            batch_sampler=batches,
            num_workers=workers,
            pin_memory=pin_memory,
            generator=torch.Generator(),  # so that worker seeds do not come from torch's global generator
        )
        shield_workers(self.loader)
        self._running: Iterator[Any] = iter(())

    @property
    def steps(self) -> int:
        """Number of steps per epoch."""
        return self.batches.steps

    def whole(self) -> 'HalfLoader':
        """A loader whose epochs are all complete steps of this half; those here may be as long as the other half's."""
        batches = copy.copy(self.batches)
        batches.steps = batches.size // batches.images_per_step
        return HalfLoader(self.half, batches, self.loader.num_workers, self.loader.pin_memory)

    def start(self, epoch: int, step: int) -> Iterator[Any]:
        """The batches of `epoch`, starting at `step` (0 is the first)."""
        self.close()
        self.half.epoch = epoch
        self.batches.epoch, self.batches.first_step = epoch, step
        self._running = start_workers(self.loader)
        return self._running

    def rounds(self, world_size: int = 1) -> int:
        """Number of batches of `once`, of the process that has most of them."""
        return math.ceil(len(self.half) / (self.batches.batch_size * world_size))

    def once(self, rank: int = 0, world_size: int = 1) -> Iterator[Any]:
        """Every image of the half once, in order; each process has every n-th batch. The last batch may be smaller."""
        self.close()
        self.half.epoch = 0
        size = self.batches.batch_size
        starts = range(rank * size, len(self.half), world_size * size)
        loader: DataLoader = DataLoader(
            self.half,
            batch_sampler=[list(range(start, min(start + size, len(self.half)))) for start in starts],
            num_workers=self.loader.num_workers,
            pin_memory=self.loader.pin_memory,
            generator=torch.Generator(),
        )
        shield_workers(loader)
        self._running = start_workers(loader)
        return self._running

    def close(self) -> None:
        """End the workers of the batches that `start` or `once` returned last."""
        end_workers(self._running)
        self._running = iter(())
