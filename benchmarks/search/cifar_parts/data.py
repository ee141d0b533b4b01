"""CIFAR-10 as tensors on the device, and its batches: no image is read or decoded during a run."""
import contextlib
import copy
import io
import multiprocessing
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from .problem import CLASSES, SIZE, log

PAD = 4
FILL = (125, 123, 114)  # the mean colour, so that padding is near 0 after normalisation
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616)
HELD_OUT = 0.1  # of the training images of each class
ONCE = 500  # images of a batch where each is used once
CACHE = 'cifar10.npz'


class Images(NamedTuple):
    """Images (N, 32, 32, 3), uint8, and their classes (N,), int64."""

    pixels: torch.Tensor
    labels: torch.Tensor

    def pick(self, index: torch.Tensor) -> 'Images':
        return Images(self.pixels[index], self.labels[index])

    def to(self, device: torch.device) -> 'Images':
        return Images(self.pixels.to(device), self.labels.to(device))

    def padded(self) -> 'Images':
        """The images with a border of the mean colour, to crop from."""
        wide = torch.tensor(FILL, dtype=torch.uint8, device=self.pixels.device)
        wide = wide.repeat(len(self.pixels), SIZE + 2 * PAD, SIZE + 2 * PAD, 1)
        wide[:, PAD:-PAD, PAD:-PAD] = self.pixels
        return Images(wide, self.labels)


def _decode(packed: list[bytes]) -> np.ndarray:
    return np.stack([np.asarray(Image.open(io.BytesIO(b)).convert('RGB')) for b in packed])


def _files(source: Path) -> Iterator[tuple[str, bytes]]:
    """Name (`train/<class>/NNNN.jpg`) and content of every image, in the order of the names."""
    if source.is_dir():
        for path in sorted(p for part in ('train', 'test') for p in (source / part).glob('*/*.jpg')):
            yield path.relative_to(source).as_posix(), path.read_bytes()
        return
    with tarfile.open(source) as tar:
        members = [(m.name, tar.extractfile(m).read()) for m in tar if m.isfile() and m.name.endswith('.jpg')]
    yield from sorted((name.removeprefix('./'), content) for name, content in members)


def prepare(source: Path, cache: Path, procs: int) -> None:
    """Decode the JPEG files once, into `cache`."""
    if (cache / CACHE).exists():
        return
    files = list(_files(source))
    log(f'{source}: {len(files)} images read')
    parts: dict[str, np.ndarray] = {}
    names = sorted({name.split('/')[1] for name, _ in files})
    if len(names) != CLASSES:
        raise SystemExit(f'{source}: expected {CLASSES} classes in train and test, found {len(names)}')
    with multiprocessing.Pool(procs) as pool:
        for part in ('train', 'test'):
            own = [(name, content) for name, content in files if name.startswith(f'{part}/')]
            chunks = [[content for _, content in own[i : i + 1000]] for i in range(0, len(own), 1000)]
            parts[f'{part}_pixels'] = np.concatenate(pool.map(_decode, chunks))
            parts[f'{part}_labels'] = np.array([names.index(name.split('/')[1]) for name, _ in own])
    cache.mkdir(parents=True, exist_ok=True)
    temporary = cache / f'{CACHE}.{os.getpid()}.npz'
    np.savez(temporary, **parts)
    temporary.replace(cache / CACHE)
    log('images decoded')


def stratified(labels: torch.Tensor, share: float, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Indices of `share` of the images of every class, drawn at random, and of the others; both sorted."""
    generator = torch.Generator().manual_seed(seed)
    taken = torch.zeros(len(labels), dtype=torch.bool)
    for c in range(CLASSES):
        own = (labels == c).nonzero().flatten()
        taken[own[torch.randperm(len(own), generator=generator)[: round(len(own) * share)]]] = True
    return taken.nonzero().flatten(), (~taken).nonzero().flatten()


def load(cache: Path, limit: int | None = None) -> dict[str, Images]:
    """The images on the CPU: 'train' (45,000), 'held' (5,000, for choosing anything) and 'test' (10,000).

    `limit`: only so many of each, for a quick try.
    """
    with np.load(cache / CACHE) as saved:
        whole, test = (
            Images(torch.from_numpy(saved[f'{part}_pixels']), torch.from_numpy(saved[f'{part}_labels']).long())
            for part in ('train', 'test')
        )
    held, train = stratified(whole.labels, HELD_OUT, seed=0)
    parts = {'train': whole.pick(train), 'held': whole.pick(held), 'test': test}
    if limit is not None:
        shuffled = np.random.default_rng(0)
        parts = {k: v.pick(torch.from_numpy(shuffled.permutation(len(v.labels))[:limit])) for k, v in parts.items()}
    return parts


class Normalise:
    """Pixels (B, H, W, 3), uint8 -> images (B, 3, H, W), float32, in channels_last; copies nothing from the host."""

    def __init__(self, device: torch.device) -> None:
        self.mean, self.std = (torch.tensor(v, device=device) * 255 for v in (MEAN, STD))
        self.span = torch.arange(SIZE, device=device)

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        return ((pixels - self.mean) / self.std).permute(0, 3, 1, 2)

    def crops(self, padded: torch.Tensor, plan: torch.Tensor) -> torch.Tensor:
        """The images of a batch, cropped and flipped.

        Args:
            padded: (N, 40, 40, 3), uint8.
            plan: (4, B), int64: image, row and column of the crop's corner, and 1 to flip, as `crop_plan` makes it.
        """
        index, top, left, flip = plan[:, :, None]
        rows = top + self.span
        columns = left + torch.where(flip.bool(), SIZE - 1 - self.span, self.span)
        return self(padded[index[:, :, None], rows[:, :, None], columns[:, None, :]])


def crop_plan(size: int, steps: int, batch: int, seed: tuple[int, ...]) -> np.ndarray:
    """Which images a run of steps sees and how they are cropped, (steps, 4, batch), int64: epochs of permutations."""
    rng = np.random.default_rng(seed)
    per_epoch = max(1, size // batch)
    epochs = [rng.permutation(size) for _ in range(-(-steps // per_epoch))]
    if size < batch:
        index = np.concatenate([np.resize(e, batch) for e in epochs])
    else:
        index = np.concatenate([e[: per_epoch * batch] for e in epochs])
    plan = np.empty((steps, 4, batch), dtype=np.int64)
    plan[:, 0] = index[: steps * batch].reshape(steps, batch)
    plan[:, 1:3] = rng.integers(0, 2 * PAD + 1, (steps, 2, batch))
    plan[:, 3] = rng.integers(0, 2, (steps, batch))
    return plan


class MemoryLoader:
    """Batches of images that are on the device already: what the evaluator needs of `search.halves.HalfLoader`."""

    def __init__(self, images: Images, batch: int, steps: int, seed: int, augment: bool = True) -> None:
        """
        Args:
            images: on the device.
            batch: images of a batch.
            steps: steps of an epoch; the images are repeated in another order where they do not suffice.
            seed: of the order and the crops.
            augment: crop and flip.
        """
        self.images = images.padded()
        self.batch, self.steps, self.seed, self.augment = batch, steps, seed, augment
        self.device = images.pixels.device
        self.normalise = Normalise(self.device)
        self.half = None
        self.batches = SimpleNamespace(size=len(images.labels), images_per_step=batch, targets=None)

    def whole(self) -> 'MemoryLoader':
        """A loader whose epochs are all complete batches."""
        loader = copy.copy(self)
        loader.steps = len(self.images.labels) // self.batch
        return loader

    def start(self, epoch: int, step: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """The batches of `epoch` from `step` on; all complete ones, also if an epoch has fewer steps."""
        count = len(self.images.labels)
        plan = crop_plan(count, max(self.steps, count // self.batch), self.batch, (self.seed, epoch))
        if not self.augment:
            plan[:, 1:3], plan[:, 3] = PAD, 0
        plan = torch.from_numpy(plan[step:]).to(self.device)
        for row in plan:
            yield self.normalise.crops(self.images.pixels, row), self.images.labels[row[0]]

    def once(self, rank: int = 0, world_size: int = 1) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Every image once, in order, not augmented; there is one process only."""
        inner = self.images.pixels[:, PAD:-PAD, PAD:-PAD]
        for pixels, labels in zip(inner.split(ONCE), self.images.labels.split(ONCE)):
            yield self.normalise(pixels), labels

    def rounds(self, world_size: int = 1) -> int:
        """Number of batches of `once`."""
        return -(-len(self.images.labels) // ONCE)

    def close(self) -> None:
        """There are no workers."""


@contextlib.contextmanager
def precision(device: torch.device, bf16: bool) -> Iterator[None]:
    """bfloat16 where asked for; what is cast is not kept, so that a CUDA graph may be captured inside."""
    with torch.autocast(device.type, torch.bfloat16, enabled=bf16, cache_enabled=False):
        yield
