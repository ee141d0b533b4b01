"""Datasets: opened with clear errors, their classes, parts and fingerprints."""
import copy
import hashlib
import logging
import os
from collections.abc import Iterator, Sequence, Sized
from functools import partial
from pathlib import Path
from typing import Any, cast

from PIL import Image
from timm.data import create_dataset
from timm.data.dataset import ImageDataset
from torch.utils.data import Dataset, Subset
from torchvision.datasets import DatasetFolder

from ..errors import UsageError, did_you_mean, one_line
from .content import MAX_SIZES, digest, file_digest, is_read, note_unreadable, read_notes
from .image_folder import FolderReader, counted
from .images import READ_ERRORS, open_image, to_mode, unreadable
from .processes import log_on_primary
from .splits import find_split
from .tar import check_tar

__all__ = [
    'Part', 'StrictImages', 'check_readable', 'class_indices', 'class_names', 'fingerprint', 'listed_classes',
    'open_dataset',
]

_logger = logging.getLogger(__name__)

_STREAMS = ('hfids', 'tfds', 'wds')  # types of datasets that are read one image after the other
_TYPES = ('torch', 'hfds', *_STREAMS)


class StrictImages(Dataset):
    """A timm image dataset that raises an error for an unreadable file, instead of using the next image like timm."""

    def __init__(self, dataset: ImageDataset) -> None:
        self.dataset = dataset
        self.transform = None  # timm's `create_loader` sets it
        self.notes: Path | None = None  # file in which images that cannot be read are noted, see `fingerprint`
        self.again = 'resume'  # what to do once such an image has been repaired

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        """The transformed image and its class; `RunError` names an image that cannot be read."""
        try:
            image, target = self.read(index)
        except READ_ERRORS as e:
            if self.notes is not None:
                note_unreadable(self.notes, index, self.content(index))
            raise unreadable(self.name(index), e, self.again) from None
        return (image if self.transform is None else self.transform(image)), -1 if target is None else target

    def read(self, index: int) -> tuple[Image.Image, Any]:
        """The image, in the dataset's mode, and its class; raises one of `READ_ERRORS`."""
        file, target = self.dataset.reader[index]
        with file:
            return open_image(file, self.dataset.input_img_mode), target

    def name(self, index: int) -> str:
        """The name of an image in messages: its file."""
        return self.dataset.filename(index, absolute=True)

    @property
    def is_folder(self) -> bool:
        """Whether this is an image folder."""
        return isinstance(getattr(self.dataset, 'reader', None), FolderReader)

    def content(self, index: int) -> str:
        """A digest of an image's file: of its size alone if the dataset is large, see `content.MAX_READ`."""
        reader = self.dataset.reader
        sample = reader.samples[index] if hasattr(reader, 'samples') else None
        read = is_read(index, len(self))
        if isinstance(sample, tuple) and isinstance(sample[0], str):
            return file_digest(sample[0], read) if read or len(self) <= MAX_SIZES else ''
        if sample is not None:  # in a .tar, which workers must open themselves
            return digest(repr((sample[0].size, sample[0].mtime)).encode())
        if not read:
            return ''
        with reader[index][0] as file:
            return digest(file.read())


class TorchImages(StrictImages):
    """The same for a dataset of torchvision, whose images are converted to a mode too (timm leaves them as they are).

    Args:
        dataset: its items are (PIL image, class). If it reads image files, `open_image` does.
        mode: PIL mode.
    """

    def __init__(self, dataset: Any, mode: str) -> None:
        super().__init__(dataset)
        self.mode = mode
        if isinstance(dataset, DatasetFolder):
            dataset.loader = partial(open_image, mode=mode)

    def read(self, index: int) -> tuple[Image.Image, Any]:
        """As above."""
        image, target = self.dataset[index]
        return to_mode(image, self.mode), target

    def name(self, index: int) -> str:
        """Its file, or its place in the dataset."""
        samples = getattr(self.dataset, 'samples', None)
        return str(samples[index][0]) if samples else f'image {index} of {type(self.dataset).__name__}'

    def content(self, index: int) -> str:
        """A digest of its file or, for 64 images, of its pixels."""
        samples, count = getattr(self.dataset, 'samples', None), len(self)
        if samples:
            return file_digest(samples[index][0], is_read(index, count))
        return _pixels(self.dataset, index) if index in _few(count) else ''


class Part(Dataset):
    """Some images of a dataset, with a transform of their own.

    Args:
        dataset: its items are (image, class); it has no transform itself.
        indices: indices of the images in the dataset.
    """

    def __init__(self, dataset: Dataset, indices: Sequence[int]) -> None:
        self.dataset = dataset
        self.indices = list(indices)
        self.transform: Any = None  # timm's `create_loader` sets it

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        image, target = self.dataset[self.indices[index]]
        return (image if self.transform is None else self.transform(image)), target


def open_dataset(
        name: str,
        root: str | Path | None,
        split: str,
        extensions: Sequence[str] | None = None,
        quiet: bool = False,
        **kwargs: Any,
) -> Dataset:
    """Open a dataset, for random access unless it is a stream, and log how many images and classes it has.

    Image folders are read by `FolderReader`, all others by timm's `create_dataset`.

    Args:
        name: as in timm's `--dataset`: '' for an image folder, 'torch/NAME', 'hfds/NAME', ..
        root: folder of the data.
        split: as in timm's `--train-split`; the folder of an image folder's split is found by `find_split`.
        extensions: as in `--img-extensions`.
        quiet: log nothing, for data that have been opened before.
        kwargs: further arguments of `create_dataset`.

    Raises:
        UsageError: no such folder, split or dataset, it contains no images, or an argument that has no effect on it.
    """
    kind = _checked_kind(name)
    _refuse_without_effect(kind, kwargs)
    remote = kwargs.get('download') or kind not in ('', 'torch')
    if not remote and (root is None or not Path(root).exists()):
        if root is None:
            raise UsageError('no images given: pass the image folder with --data-dir')
        raise UsageError(f'{root}: no such folder: expected an image folder, or a .tar of it')
    check_tar(None if kind else root, quiet, extensions)
    if not kind and root is not None and Path(root).is_dir():
        dataset, where = _open_folder(find_split(root, split), extensions, quiet, **kwargs)
    else:
        where = f'{name or "image folder"} {root or ""} (split {split!r})'.replace('  ', ' ')
        try:
            made = create_dataset(name, root=None if root is None else str(root), split=split, **kwargs)
            empty = len(made) == 0
        except (AssertionError, ImportError, OSError, RuntimeError, TypeError, ValueError) as e:
            raise UsageError(f'{where}: cannot be opened: {one_line(e)}') from None
        if empty:
            raise UsageError(f'{where}: contains no images')
        dataset = StrictImages(made) if type(made) is ImageDataset else made
        if kind == 'torch':
            dataset = TorchImages(made, kwargs.get('input_img_mode') or 'RGB')
    if quiet:
        return dataset
    names = class_names(dataset)
    classes = f', {counted(len(names), "class")}{shown_names(names)}' if names else ''
    log_on_primary(_logger, f'{split}: {counted(len(cast(Sized, dataset)), "image")}{classes}, {where}')
    return dataset


def _open_folder(
        folder: Path, extensions: Sequence[str] | None, quiet: bool = False, class_map: str = '',
        input_img_mode: str = 'RGB', input_key: str | None = None, **_: Any,
) -> tuple[Dataset, str]:
    """The images of a split's folder, and the folder; `_` has no effect on image folders."""
    reader = FolderReader(folder, class_map, extensions or (input_key or '').split(';') if input_key else extensions)
    for note in [] if quiet else reader.notes():
        log_on_primary(_logger, f'{folder}: {note}', logging.WARNING)
    return StrictImages(ImageDataset(str(folder), reader=reader, input_img_mode=input_img_mode)), str(folder)


def _checked_kind(name: str) -> str:
    """The type of dataset in timm's TYPE/NAME, '' for an image folder; timm would take all unknown ones for folders."""
    kind, slash, _ = name.partition('/')
    if name and not (slash and kind.lower() in _TYPES):
        raise UsageError(
            f'--dataset {name}: expected TYPE/NAME with a TYPE of {", ".join(_TYPES)}; for an image folder, give '
            f'--data-dir alone{did_you_mean(kind.lower(), _TYPES) if slash else ""}'
        )
    return kind.lower()


def _refuse_without_effect(kind: str, kwargs: dict[str, Any]) -> None:
    """Raise UsageError for arguments that timm ignores for this type of dataset, or does not take."""
    split = 'train' if kwargs.get('is_training') else 'val'
    what = f'{kind}/ datasets' if kind else 'image folders'
    if kind not in _STREAMS:
        for key, option in (('num_samples', f'--{split}-num-samples'), ('repeats', '--epoch-repeats')):
            if kwargs.get(key):
                streams = ', '.join(f'{t}/' for t in _STREAMS)
                raise UsageError(f'{option}: has no effect on {what}, only on streams ({streams}): leave it out')
    if kind == 'torch' and kwargs.get('class_map'):
        raise UsageError(f'--class-map: has no effect on {what}: leave it out')
    fields = [kwargs.get('input_key') or '', kwargs.get('target_key') or '']
    if kind in ('', 'torch') and (fields[1] or (fields[0] and not fields[0].startswith('.'))):
        raise UsageError(f'--input-key and --target-key: {what} have no fields: leave them out')


def shown_names(names: Sequence[str]) -> str:
    """' (a, b, c)' for a few class names, '' for many."""
    return f' ({", ".join(names)})' if len(names) <= 10 and sum(map(len, names)) <= 100 else ''


def fingerprint(dataset: Dataset) -> str:
    """A digest of a dataset's classes, images and file names, to notice on resume that they have changed.

    Of every file it takes the size and a few kilobytes of its content; of datasets above 10,000 images the content of
    10,000, and above 200,000 only these. It does not depend on where the folder is. Of datasets that are not read from
    files, it takes the pixels of 64 images; none if they are augmented at random.

    An image that a run could not read (noted in the file `dataset.notes`, if that is set) counts with the content that
    it had then: the run can be resumed when it has been repaired.

    Returns:
        '2-' and 32 hexadecimal digits: equal for equal data.
    """
    total = hashlib.blake2b(repr(class_indices(dataset)).encode(), digest_size=16)
    if isinstance(dataset, Part):
        total.update(repr([fingerprint(dataset.dataset), dataset.indices]).encode())
        return f'2-{total.hexdigest()}'
    if hasattr(dataset, 'parts'):  # several datasets in one
        total.update(repr([fingerprint(part) for part in dataset.parts]).encode())
        return f'2-{total.hexdigest()}'
    names = getattr(getattr(dataset, 'dataset', None), 'filenames', None)
    for name in names() if names else ():
        total.update(os.fsencode(str(name)) + b'\0')
    noted = read_notes(getattr(dataset, 'notes', None))
    for index, content in enumerate(_contents(dataset)):
        total.update(noted.get(index, content).encode() + b'\0')
    return f'2-{total.hexdigest()}'


def check_readable(dataset: Dataset, limit: int = 5000) -> None:
    """Read up to `limit` images of a dataset without a transform; `RunError` names the first that cannot be read.

    For data that have changed: a damaged image is the first thing that a user should hear of. It is not noted.
    """
    if hasattr(dataset, 'parts'):
        for part in dataset.parts:
            check_readable(part, limit)
        return
    quiet = copy.copy(dataset.dataset if isinstance(dataset, Part) else dataset)
    vars(quiet).update(notes=None)
    indices = dataset.indices if isinstance(dataset, Part) else range(len(cast(Sized, dataset)))
    for index in indices[:limit]:
        quiet[index]


def _contents(dataset: Dataset) -> Iterator[str]:
    """A digest of each image, or of a few: in the order of their indices, the same for equal data."""
    count = len(cast(Sized, dataset))
    if isinstance(dataset, StrictImages):
        yield from (dataset.content(i) for i in range(count))
        return
    twice = [[_pixels(dataset, i) for i in _few(count)] for _ in range(2)]
    if twice[0] == twice[1]:
        yield from twice[0]


def _few(count: int) -> list[int]:
    """The indices of 64 of `count` images, evenly spaced; of all if there are fewer."""
    return sorted({i * count // 64 for i in range(64)}) if count else []


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
    listed = listed_classes(dataset)
    if listed is not None:
        return [int(t) for t in listed]
    if isinstance(dataset, Part):
        whole = class_indices(dataset.dataset)
        return [whole[i] for i in dataset.indices]
    source = dataset.dataset if isinstance(dataset, StrictImages) else dataset
    return [int(source[i][1]) for i in range(len(cast(Sized, source)))]


def listed_classes(dataset: Dataset) -> list[Any] | None:
    """The dataset's own list of the class of every image, as it is; None if it has none."""
    if isinstance(dataset, (Part, Subset)):
        whole = listed_classes(dataset.dataset)
        return None if whole is None else [whole[i] for i in dataset.indices]
    source = dataset.dataset if isinstance(dataset, StrictImages) else dataset
    reader = getattr(source, 'reader', source)
    targets = getattr(reader, 'targets', None)  # of torchvision's datasets, and of timm's reader of .tar files
    if targets is not None:
        return list(targets)
    if hasattr(reader, 'samples'):
        return [sample[1] for sample in reader.samples]
    return list(reader.iter_targets()) if hasattr(reader, 'iter_targets') else None


def class_names(dataset: Dataset) -> list[str]:
    """The class names of a dataset, by index; empty if it has none.

    A class map may give several names the same index ('cat/kitten'), and no name to some ('class 3').
    """
    if isinstance(dataset, Part):
        return class_names(dataset.dataset)
    source = getattr(dataset, 'dataset', dataset)
    reader = getattr(source, 'reader', source)
    to_index = getattr(reader, 'class_to_idx', None) or getattr(reader, 'class_name_to_idx', None) or {}
    by_index: dict[int, list[str]] = {}
    for name, index in to_index.items():
        by_index.setdefault(int(index), []).append(str(name))
    return ['/'.join(by_index.get(i, [f'class {i}'])) for i in range(max(by_index, default=-1) + 1)]
