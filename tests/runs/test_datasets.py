"""Image folders: splits that are there and not, classes, images that cannot be read."""
import shutil
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import dataset_factory
from torch.utils.data import Dataset

from fpnas_timm.errors import RunError, UsageError
from fpnas_timm.runs.datasets import StrictImages, class_indices, class_names, fingerprint, open_dataset


def test_classes(tiny_images: Path) -> None:
    dataset = open_dataset('', tiny_images, 'validation')
    assert isinstance(dataset, StrictImages)
    assert class_names(dataset) == ['blue', 'green', 'red']
    assert class_indices(dataset) == [dataset[i][1] for i in range(len(dataset))] == [0] * 4 + [1] * 4 + [2] * 4


def test_classes_of_any_dataset() -> None:
    class Pairs(Dataset):
        def __len__(self) -> int:
            return 3

        def __getitem__(self, index: int) -> tuple[str, int]:
            return 'image', 2 - index

    assert class_indices(Pairs()) == [2, 1, 0]
    assert class_names(Pairs()) == []


@pytest.mark.parametrize(('folder', 'split', 'message'), [
    ('nowhere', 'train', 'nowhere: no such folder: expected an image folder'),
    ('file', 'train', 'file: not a folder: expected an image folder, or a .tar of it'),
    ('', 'trian', "has no folder for the split 'trian', only for others"),
    ('', 'test', "has no folder for the split 'test', only for others"),  # validation is not a test split
    ('empty', 'train', 'empty/train: contains no images in class folders; files that are read: .png, .jpg'),
])
def test_errors(tiny_images: Path, tmp_path: Path, folder: str, split: str, message: str) -> None:
    (tmp_path / 'empty' / 'train' / 'red').mkdir(parents=True)
    (tmp_path / 'file').write_text('')
    with pytest.raises(UsageError, match=message):
        open_dataset('', tmp_path / folder if folder else tiny_images, split)


@pytest.mark.parametrize('split', ['val', 'validation', 'eval'])
def test_other_names_of_a_split(tiny_images: Path, split: str) -> None:
    """As timm: any usual name of the validation split finds the folder that is there."""
    assert len(class_indices(open_dataset('', tiny_images, split))) == 12


def test_a_damaged_image_is_named(tiny_images: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_images / 'train' / 'red', tmp_path / 'images' / 'red')
    path = tmp_path / 'images' / 'red' / '0.png'
    path.write_bytes(path.read_bytes()[:60])
    dataset = open_dataset('', tmp_path / 'images', 'train')
    with pytest.raises(RunError, match=rf'{path}: this image cannot be read \(.+\): fix it, then resume'):
        dataset[0]


def test_torchvisions_image_folder(tiny_images: Path, tmp_path: Path) -> None:
    """16-bit pixels are scaled, images converted, and a damaged one is named, as in an image folder."""
    shutil.copytree(tiny_images, tmp_path / 'data')
    deep = np.arange(256, dtype=np.uint16).reshape(16, 16) * 257
    path = tmp_path / 'data' / 'train' / 'blue' / '0.png'
    Image.fromarray(deep).save(path)
    ours = open_dataset('', tmp_path / 'data', 'train')
    theirs = open_dataset('torch/image_folder', tmp_path / 'data', 'train')
    assert class_names(theirs) == class_names(ours)
    assert class_indices(theirs) == class_indices(ours)
    assert np.array_equal(np.asarray(theirs[0][0]), np.asarray(ours[0][0]))
    assert np.array_equal(np.asarray(ours[0][0])[..., 0], deep // 257)
    grey = open_dataset('torch/image_folder', tmp_path / 'data', 'train', input_img_mode='L')
    assert grey[5][0].mode == 'L'
    before = fingerprint(theirs)
    path.write_bytes(path.read_bytes()[:60])
    assert fingerprint(theirs) != before
    with pytest.raises(RunError, match=rf'^{path}: this image cannot be read \(.+\): fix it, then resume'):
        theirs[0]


def test_torchvisions_arrays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Digits(Dataset):
        """As torchvision's MNIST: grey images."""

        class_to_idx: ClassVar = {'zero': 0, 'one': 1}
        targets = torch.tensor([0, 1] * 50)

        def __init__(self, **options: object) -> None:
            self.shift = 0

        def __len__(self) -> int:
            return 100

        def __getitem__(self, index: int) -> tuple[Image.Image, int]:
            return Image.new('L', (4, 4), index + self.shift), index % 2

    monkeypatch.setitem(dataset_factory._TORCH_BASIC_DS, 'mnist', Digits)
    dataset = open_dataset('torch/mnist', tmp_path, 'train', input_img_mode='RGB')
    assert dataset[7][0].getpixel((0, 0)) == (7, 7, 7)
    assert class_names(dataset) == ['zero', 'one']
    assert class_indices(dataset)[:3] == [0, 1, 0]
    before = fingerprint(dataset)
    assert fingerprint(open_dataset('torch/mnist', tmp_path, 'train')) == before
    dataset.dataset.shift = 1
    assert fingerprint(dataset) != before
