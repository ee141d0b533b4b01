"""Images in a dataset given from Python that cannot be read or used: a sentence that names them."""
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from timm.data import create_transform
from torch.utils.data import DataLoader, Dataset, Subset
from torchvision.datasets import ImageFolder

from fpnas_timm.errors import RunError, UsageError, plain_message
from fpnas_timm.runs.datasets import fingerprint, open_dataset
from fpnas_timm.search.dataset import GivenImages, check_images
from fpnas_timm.search.folder import fingerprint_of
from fpnas_timm.search.halves import Half


class Files(Dataset):
    """Opens its files when they are asked for, as PIL does: lazily."""

    def __init__(self, folder: Path, labelled: bool = True) -> None:
        self.paths = sorted(folder.iterdir())
        if labelled:
            self.targets = [i % 2 for i in range(len(self.paths))]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return Image.open(self.paths[index]), index % 2


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / 'images').mkdir()
    for i in range(4):
        Image.effect_noise((8, 8), 50 + i).convert('RGB').save(tmp_path / 'images' / f'{i}.png')
    return tmp_path / 'images'


def half_of(images: Dataset) -> Half:
    return Half(images, range(4), [0, 1], create_transform(8), 'RGB', 0)


@pytest.mark.parametrize(('content', 'said'), [
    (b'', r"^image 2 of the dataset: this image cannot be read \(.+\): fix it, then resume$"),
    (None, r'^.*2.png: this image cannot be read \(No such file or directory\): fix it, then resume$'),
])
def test_an_image_that_cannot_be_opened(folder: Path, content: bytes | None, said: str) -> None:
    images = check_images(Files(folder))
    path = folder / '2.png'
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RunError, match=said):
        images[2]
    with pytest.raises(RunError) as e:
        list(DataLoader(half_of(images), num_workers=1))
    assert '\n' not in plain_message(e.value)
    assert plain_message(e.value).endswith('fix it, then resume')


def test_a_truncated_image(folder: Path, tmp_path: Path) -> None:
    """PIL reads the pixels only when they are needed. A repaired image leaves the fingerprint as it was."""
    path = folder / '2.png'
    good = path.read_bytes()
    path.write_bytes(good[:60])
    images = check_images(Files(folder))
    assert isinstance(images, GivenImages)
    images.notes = tmp_path / 'notes'
    before = fingerprint(images)
    with pytest.raises(RunError, match=r'^image 2 of the dataset: this image cannot be read \(.+\): fix it'):
        half_of(images)[2]
    path.write_bytes(good)
    assert fingerprint(images) == before
    images.notes = None
    assert fingerprint(images) != before


def test_an_image_without_a_range(folder: Path) -> None:
    images = [(Image.new('F', (8, 8)), i) for i in range(2)] * 2
    with pytest.raises(RunError, match='image 1 of the dataset: this image cannot be used: its pixels are floating'):
        half_of(check_images(images))[1]


def test_errors_before_the_start(folder: Path) -> None:
    (folder / '2.png').write_bytes(b'')
    with pytest.raises(UsageError, match='dataset: an image cannot be read: cannot identify image file'):
        check_images(Files(folder, labelled=False))
    (folder / '0.png').write_bytes(b'')
    with pytest.raises(UsageError, match='dataset: its first image cannot be read: cannot identify'):
        check_images(Files(folder))


def test_torchvisions_image_folder(tmp_path: Path) -> None:
    """torchvision clips 16-bit pixels to white."""
    for name in 'ab':
        (tmp_path / name).mkdir()
        Image.fromarray(np.full((8, 8), 128 * 257, np.uint16)).save(tmp_path / name / '0.png')
    theirs = ImageFolder(str(tmp_path))
    assert theirs[0][0].getpixel((0, 0)) == (255, 255, 255)
    for given in (theirs, Subset(theirs, [1, 0])):
        assert check_images(given)[0][0].getpixel((0, 0)) == (128, 128, 128)
    assert theirs[0][0].getpixel((0, 0)) == (255, 255, 255)  # the caller's own is left alone


def test_an_image_that_was_damaged_since_the_start_is_named(tiny_images: Path, tmp_path: Path) -> None:
    """Rather than that some image has changed."""
    shutil.copytree(tiny_images, tmp_path / 'data')
    recorded = fingerprint_of(open_dataset('', tmp_path / 'data', 'train'))
    assert fingerprint_of(open_dataset('', tmp_path / 'data', 'train'), recorded) == recorded
    path = tmp_path / 'data' / 'train' / 'red' / '7.png'
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(RunError, match=f'^{path}: this image cannot be read'):
        fingerprint_of(open_dataset('', tmp_path / 'data', 'train'), recorded)
