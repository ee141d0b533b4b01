"""Image folders: splits that are there and not, classes, images that cannot be read."""
import shutil
from pathlib import Path

import pytest
from torch.utils.data import Dataset

from fpnas_timm.errors import RunError, UsageError
from fpnas_timm.runs.datasets import StrictImages, class_indices, class_names, open_dataset


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
    ('nowhere', 'train', 'nowhere: no such folder: pass the image folder with --data-dir'),
    ('', 'trian', "has no folder for the split 'trian', only for others"),
    ('', 'test', "has no folder for the split 'test', only for others"),  # validation is not a test split
    ('empty', 'train', 'empty/train: contains no images in class folders; files that are read: .png, .jpg'),
])
def test_errors(tiny_images: Path, tmp_path: Path, folder: str, split: str, message: str) -> None:
    (tmp_path / 'empty' / 'train' / 'red').mkdir(parents=True)
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
