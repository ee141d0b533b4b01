"""Images that two datasets have in common, as copies."""
import logging
import shutil
from pathlib import Path

import pytest
from PIL import Image
from torch.utils.data import Subset
from torchvision.datasets import FakeData

from fpnas_timm.runs import copies
from fpnas_timm.runs.copies import copied_images, files_of
from fpnas_timm.runs.datasets import Part, open_dataset


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """20 images to train on, 12 to validate on, all of as many bytes; 3 of the latter are copies."""
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
    found = copied_images(train, validation)
    assert (found.pairs, found.count, found.complete, found.all) == (expected, 12, True, False)
    assert [pair[::-1] for pair in copied_images(validation, train).pairs] == expected
    assert copied_images(Part(train, [3, 10]), Subset(validation, [0, 7, 8])).pairs == expected[1:2]
    assert copied_images(train, Part(validation, range(6))).pairs == []
    assert copied_images(train, Part(validation, range(6, 9))).all


def test_large_files_that_differ_in_the_middle_only(root: Path) -> None:
    """Their sizes and the parts that a fingerprint reads are equal."""
    image = Image.new('RGB', (200, 200))
    image.save(root / 'train' / 'a' / '0.bmp')
    image.putpixel((10, 50), (1, 1, 1))
    image.save(root / 'validation' / 'a' / '0.bmp')

    def number() -> int:
        return len(copied_images(*(open_dataset('', root, split) for split in ('train', 'validation'))).pairs)

    assert number() == 3
    image.save(root / 'train' / 'b' / '5.bmp')  # the second with this digest
    assert number() == 4


def test_what_has_no_files_has_no_copies(root: Path) -> None:
    train = open_dataset('', root, 'train')
    assert files_of(FakeData(5)) == []
    for found in (copied_images(train, FakeData(5)), copied_images(FakeData(5), train)):
        assert found.pairs == [] and not found.all
    for folder in ('train', 'validation'):
        (root / folder / 'a' / '0.bmp').write_bytes(b'')  # no image at all
    assert len(copied_images(*(open_dataset('', root, split) for split in ('train', 'validation'))).pairs) == 3


def test_large_datasets(root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """8 of 12 images are compared with 8 of 20; then there are too many to compare at all."""
    train, validation = (open_dataset('', root, split) for split in ('train', 'validation'))
    monkeypatch.setattr(copies, 'MAX_READ', 8)
    opened = []
    digest = copies.file_digest
    monkeypatch.setattr(copies, 'file_digest', lambda file, read: opened.append(file) or digest(file, read))
    found = copied_images(train, validation)
    assert (len(opened), len(found.pairs), found.complete) == (16, 1, False)
    with caplog.at_level(logging.WARNING, 'data'):
        found.warn('validation', logging.getLogger('data'))
    assert 'validation has copies of training images: at least 1 of its 12 images, such as' in caplog.text
    monkeypatch.setattr(copies, 'MAX_SIZES', 19)
    assert copied_images(train, validation).pairs == []
