"""Opens datasets with timm, with clear errors for missing or empty folders and unreadable images."""
import hashlib
import os
from collections.abc import Iterator, Sized
from pathlib import Path
from typing import Any, cast

from PIL import Image
from timm.data import create_dataset
from timm.data.dataset import ImageDataset
from torch.utils.data import Dataset

from ..errors import RunError, UsageError, one_line
from .content import digest, file_digest, is_read, note_unreadable, read_notes

__all__ = ['StrictImages', 'class_indices', 'class_names', 'fingerprint', 'open_dataset']


class StrictImages(Dataset):
    """A timm image dataset that raises an error for an unreadable file, instead of using the next image like timm."""

    def __init__(self, dataset: ImageDataset) -> None:
        self.dataset = dataset
        self.transform = None  # timm's `create_loader` sets it
        self.notes: Path | None = None  # file in which images that cannot be read are noted, see `fingerprint`

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        """The transformed image and its class; `RunError` names an image that cannot be read."""
        try:
            file, target = self.dataset.reader[index]
            with file:
                image = Image.open(file).convert(self.dataset.input_img_mode)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as e:  # what PIL raises
            name = self.dataset.filename(index, absolute=True)
            if self.notes is not None:
                note_unreadable(self.notes, index, self.content(index))
            raise RunError(f'{name}: this image cannot be read ({one_line(e)}): fix it, then resume') from None
        return (image if self.transform is None else self.transform(image)), target

    def content(self, index: int) -> str:
        """A digest of an image's file: of its size alone if the dataset is large, see `content.MAX_READ`."""
        reader = self.dataset.reader
        sample = reader.samples[index] if hasattr(reader, 'samples') else None
        read = is_read(index, len(self))
        if isinstance(sample, tuple) and isinstance(sample[0], str):
            return file_digest(sample[0], read)
        if sample is not None:  # in a .tar, which workers must open themselves
            return digest(repr((sample[0].size, sample[0].mtime)).encode())
        if not read:
            return ''
        with reader[index][0] as file:
            return digest(file.read())


def open_dataset(name: str, root: str | Path | None, split: str, **kwargs: Any) -> Dataset:
    """timm's `create_dataset`, for a finite dataset with random access.

    Args:
        name: as in timm's `--dataset`: '' for an image folder, 'torch/NAME', 'hfds/NAME', ..
        root: folder of the data.
        split: as in timm's `--train-split`.
        kwargs: further arguments of `create_dataset`.

    Raises:
        UsageError: no such folder or dataset, or it contains no images.
    """
    where = f'{name or "image folder"} {root or ""} (split {split!r})'.replace('  ', ' ')
    remote = kwargs.get('download') or name.partition('/')[0] in ('hfds', 'hfids', 'tfds', 'wds')
    if not remote and (root is None or not Path(root).exists()):
        raise UsageError(f'{root or "the data folder"}: no such folder: pass the image folder with --data-dir')
    if not name and root is not None and not _has_split(Path(root), split):
        raise UsageError(f'{root}: has no folder for the split {split!r}, only for others (timm would use all)')
    try:
        dataset = create_dataset(name, root=None if root is None else str(root), split=split, **kwargs)
        empty = len(dataset) == 0
    except (AssertionError, ImportError, OSError, RuntimeError, TypeError, ValueError) as e:
        raise UsageError(f'{where}: cannot be opened: {one_line(e)}') from None
    if empty:
        raise UsageError(f'{where}: contains no images')
    return StrictImages(dataset) if type(dataset) is ImageDataset else dataset


def _has_split(root: Path, split: str) -> bool:
    """Whether `root` has a folder for `split`, or no split folders at all (then timm uses all of `root`).

    If there are folders for other splits only, timm would use all of them.
    """
    kinds = (('train', 'training'), ('val', 'valid', 'validation', 'eval', 'evaluation'), ('test',))  # timm's synonyms
    names = next((kind for kind in kinds if split in kind), (split,))
    known = [name for kind in kinds for name in kind if (root / name).is_dir()]
    return not known or (root / split).is_dir() or any(name in known for name in names)


def fingerprint(dataset: Dataset) -> str:
    """A digest of a dataset's classes, images and file names, to notice on resume that they have changed.

    Of every file it takes the size and a few kilobytes of its content; of datasets above 10,000 images the content of
    10,000. It does not depend on where the folder is. Of datasets that are not read from files, it takes the pixels of
    64 images; none if they are augmented at random.

    An image that a run could not read (noted in the file `dataset.notes`, if that is set) counts with the content that
    it had then: the run can be resumed when it has been repaired.

    Returns:
        '2-' and 32 hexadecimal digits: equal for equal data.
    """
    total = hashlib.blake2b(repr(class_indices(dataset)).encode(), digest_size=16)
    names = getattr(getattr(dataset, 'dataset', None), 'filenames', None)
    for name in names() if names else ():
        total.update(os.fsencode(str(name)) + b'\0')
    noted = read_notes(getattr(dataset, 'notes', None))
    for index, content in enumerate(_contents(dataset)):
        total.update(noted.get(index, content).encode() + b'\0')
    return f'2-{total.hexdigest()}'


def _contents(dataset: Dataset) -> Iterator[str]:
    """A digest of each image, or of a few: in the order of their indices, the same for equal data."""
    count = len(cast(Sized, dataset))
    if isinstance(dataset, StrictImages):
        yield from (dataset.content(i) for i in range(count))
        return
    few = sorted({i * count // 64 for i in range(64)}) if count else []
    twice = [[_pixels(dataset, i) for i in few] for _ in range(2)]
    if twice[0] == twice[1]:
        yield from twice[0]


def _pixels(dataset: Dataset, index: int) -> str:
    """A digest of the pixels of an image that a dataset returns."""
    try:
        image = dataset[index][0]
    except (ArithmeticError, AttributeError, LookupError, OSError, RuntimeError, SyntaxError, TypeError, ValueError):
        return 'unreadable'
    if isinstance(image, Image.Image):
        return digest(repr((image.mode, image.size)).encode(), image.tobytes())
    return ''


def class_indices(dataset: Dataset) -> list[int]:
    """The class of every image; reads the images only if the dataset has no list of classes."""
    source = dataset.dataset if isinstance(dataset, StrictImages) else dataset
    reader = getattr(source, 'reader', source)
    targets = getattr(reader, 'targets', None)  # of torchvision's datasets, and of timm's reader of .tar files
    if targets is not None:
        return [int(t) for t in targets]
    if hasattr(reader, 'samples'):
        return [int(sample[1]) for sample in reader.samples]
    if hasattr(reader, 'iter_targets'):
        return [int(t) for t in reader.iter_targets()]
    return [int(source[i][1]) for i in range(len(cast(Sized, source)))]


def class_names(dataset: Dataset) -> list[str]:
    """The class names of a dataset, in the order of their indices; empty if it has none."""
    source = getattr(dataset, 'dataset', dataset)
    reader = getattr(source, 'reader', source)
    to_index = getattr(reader, 'class_to_idx', None) or getattr(reader, 'class_name_to_idx', None) or {}
    return [str(name) for name, _ in sorted(to_index.items(), key=lambda item: item[1])]
