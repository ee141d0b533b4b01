"""Opens datasets with timm, with clear errors for missing or empty folders and unreadable images."""
from collections.abc import Sized
from pathlib import Path
from typing import Any, cast

from PIL import Image
from timm.data import create_dataset
from timm.data.dataset import ImageDataset
from torch.utils.data import Dataset

from ..errors import RunError, UsageError, one_line

__all__ = ['StrictImages', 'class_indices', 'class_names', 'open_dataset']


class StrictImages(Dataset):
    """A timm image dataset that raises an error for an unreadable file, instead of using the next image like timm."""

    def __init__(self, dataset: ImageDataset) -> None:
        self.dataset = dataset
        self.transform = None  # timm's `create_loader` sets it

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
            raise RunError(f'{name}: this image cannot be read ({one_line(e)}): fix it, then resume') from None
        return (image if self.transform is None else self.transform(image)), target


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


def class_indices(dataset: Dataset) -> list[int]:
    """The class of every image; reads the images only if the dataset has no list of classes."""
    source = dataset.dataset if isinstance(dataset, StrictImages) else dataset
    samples = getattr(getattr(source, 'reader', None), 'samples', None)
    if samples is not None:
        return [int(sample[1]) for sample in samples]
    targets = getattr(source, 'targets', None)
    if targets is not None:
        return [int(t) for t in targets]
    return [int(source[i][1]) for i in range(len(cast(Sized, source)))]


def class_names(dataset: Dataset) -> list[str]:
    """The class names of a dataset, in the order of their indices; empty if it has none."""
    source = getattr(dataset, 'dataset', dataset)
    to_index = getattr(getattr(source, 'reader', source), 'class_to_idx', None) or {}
    return [str(name) for name, _ in sorted(to_index.items(), key=lambda item: item[1])]
