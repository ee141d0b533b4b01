"""Images that two datasets have in common, as copies."""
import logging
import shutil
from pathlib import Path

import pytest
from PIL import Image
from torch.utils.data import Subset
from torchvision.datasets import FakeData

from fpnas_timm.runs import copies
from fpnas_timm.runs.copies import copied_images, files_of, warn_of_copies
from fpnas_timm.runs.datasets import Part, open_dataset


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """20 images to train on, 12 to validate on; 3 of these are copies, two others have as many bytes as one."""
    for split, count, start in (('train', 10, 0), ('validation', 6, 100)):
        for kind in ('a', 'b'):
            folder = tmp_path / split / kind
            folder.mkdir(parents=True)
            for i in range(count):
                Image.new('RGB', (40, 40), (start + i, ord(kind), 7)).save(folder / f'{i}.bmp')
    for i in range(3):
        shutil.copy(tmp_path / 'train' / 'a' / f'{i + 2}.bmp', tmp_path / 'validation' / 'b' / f'{i}.bmp')
    return tmp_path


def test_copies_are_found_by_their_content(root: Path) -> None:
    """All files of both have the same size."""
    train, validation = (open_dataset('', root, split) for split in ('train', 'validation'))
    expected = [(str(root / 'validation' / 'b' / f'{i}.bmp'), str(root / 'train' / 'a' / f'{i + 2}.bmp'))
                for i in range(3)]
    assert copied_images(train, validation) == expected
    assert [pair[::-1] for pair in copied_images(validation, train)] == expected
    assert copied_images(Part(train, [3, 10]), Subset(validation, [0, 7, 8])) == expected[1:2]
    assert copied_images(train, Part(validation, range(6))) == []


def test_large_files_that_differ_in_the_middle_only(root: Path) -> None:
    """Their sizes and the parts that a fingerprint reads are equal."""
    first = Path(files_of(open_dataset('', root, 'train'))[0])
    image = Image.new('RGB', (200, 200))
    image.save(first)
    image.putpixel((10, 50), (1, 1, 1))
    image.save(root / 'validation' / 'a' / '0.bmp')
    train, validation = (open_dataset('', root, split) for split in ('train', 'validation'))
    assert len(copied_images(train, validation)) == 3
    shutil.copy(first, root / 'validation' / 'a' / '0.bmp')
    assert len(copied_images(train, validation)) == 4


def test_what_has_no_files_has_no_copies(root: Path) -> None:
    train = open_dataset('', root, 'train')
    assert copied_images(train, FakeData(5)) == copied_images(FakeData(5), train) == files_of(FakeData(5)) == []


def test_large_datasets(root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Every second of 12 images is looked at; then there are too many to compare them with."""
    train, validation = (open_dataset('', root, split) for split in ('train', 'validation'))
    monkeypatch.setattr(copies, 'MAX_READ', 6)
    monkeypatch.setattr('fpnas_timm.runs.content.MAX_READ', 6)
    found = copied_images(train, validation)
    with caplog.at_level(logging.WARNING, 'data'):
        warn_of_copies(found, validation, 'validation', logging.getLogger('data'))
    assert len(found) == 2
    assert 'copies of training images: 2 of the 6 of its images that were compared, such as' in caplog.text
    monkeypatch.setattr(copies, 'MAX_SIZES', 19)
    assert copied_images(train, validation) == []
