"""The fingerprint of the images: the same data elsewhere match, swapped, replaced and renamed images do not."""
import random
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset

from fpnas_timm.errors import RunError
from fpnas_timm.runs import content
from fpnas_timm.runs.content import file_digest, is_read, note_unreadable, read_notes
from fpnas_timm.runs.datasets import StrictImages, fingerprint, open_dataset


@pytest.fixture
def data(tiny_images: Path, tmp_path: Path) -> Path:
    shutil.copytree(tiny_images, tmp_path / 'data')
    return tmp_path / 'data'


def of(root: Path) -> str:
    return fingerprint(open_dataset('', root, 'train'))


def test_the_same_data_elsewhere(tiny_images: Path, data: Path) -> None:
    assert of(data) == of(tiny_images)
    assert of(data) != fingerprint(open_dataset('', data, 'validation'))


def test_changes_are_noticed(data: Path) -> None:
    """Raw pixels, so that all files have the same size."""
    for png in data.glob('train/*/*.png'):
        Image.open(png).save(png, format='BMP')
    red, green, other = (data / 'train' / name for name in ('red/1.png', 'green/2.png', 'red/2.png'))
    seen = {of(data)}
    assert len({path.stat().st_size for path in (red, green, other)}) == 1
    for one, two in ((red, green), (red, other)):  # swapped: of two classes, of one
        first = one.read_bytes()
        one.write_bytes(two.read_bytes())
        two.write_bytes(first)
        seen.add(of(data))
    pixels = bytearray(red.read_bytes())
    pixels[-1] ^= 1
    red.write_bytes(pixels)
    seen.add(of(data))
    red.rename(red.with_name('12.png'))
    seen.add(of(data))
    (data / 'train' / 'red').rename(data / 'train' / 'rosy')
    seen.add(of(data))
    assert len(seen) == 6


def test_large_files_are_read_in_three_places(tmp_path: Path) -> None:
    path, size = tmp_path / 'x', 1_000_000
    path.write_bytes(bytes(size))
    before = file_digest(path, True)
    assert file_digest(path, False) != before
    for place, noticed in ((0, True), (size // 2, True), (size - 1, True), (size // 4, False)):
        raw = bytearray(size)
        raw[place] = 1
        path.write_bytes(raw)
        assert (file_digest(path, True) != before) == noticed
    assert file_digest(tmp_path / 'nowhere', True) == 'unreadable'


def test_part_of_many_files(monkeypatch: pytest.MonkeyPatch, data: Path) -> None:
    """By hand: 12 of 36 files are every third; of the others, the size counts."""
    monkeypatch.setattr(content, 'MAX_READ', 12)
    assert [i for i in range(36) if is_read(i, 36)] == list(range(0, 36, 3))
    assert sum(is_read(i, 10_007) for i in range(10_007)) == 12
    before = of(data)
    unread = Path(open_dataset('', data, 'train').dataset.filename(1, absolute=True))
    unread.write_bytes(bytes(unread.stat().st_size))
    assert of(data) == before
    unread.write_bytes(b'')
    assert of(data) != before


def test_a_repaired_image(data: Path, tmp_path: Path) -> None:
    path = data / 'train' / 'red' / '3.png'
    good = path.read_bytes()
    path.write_bytes(good[:60])
    images = open_dataset('', data, 'train')
    assert isinstance(images, StrictImages)
    images.notes = tmp_path / 'notes'
    before = fingerprint(images)
    with pytest.raises(RunError, match='cannot be read'):
        for i in range(len(images)):
            images[i]
    path.write_bytes(good)
    assert fingerprint(images) == before
    other = data / 'train' / 'red' / '4.png'
    other.write_bytes(good)
    assert fingerprint(images) != before
    note_unreadable(images.notes, 0, 'x')
    with images.notes.open('a') as file:
        file.write('{"damaged\n[1]\n"x"\n')
    assert len(read_notes(images.notes)) == 2


class Drawn(Dataset):
    targets = tuple(range(3)) * 10

    def __init__(self, shift: int = 0, augmented: bool = False) -> None:
        self.shift, self.augmented = shift, augmented

    def __len__(self) -> int:
        return 30

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        level = random.randrange(256) if self.augmented else index + self.shift
        return Image.new('L', (4, 4), level), index % 3


def test_other_datasets() -> None:
    assert fingerprint(Drawn()) == fingerprint(Drawn()) != fingerprint(Drawn(shift=1))
    assert fingerprint(Drawn(augmented=True)) == fingerprint(Drawn(augmented=True))
    assert fingerprint([(torch.zeros(1), 0), (None, 1)]) != fingerprint([(None, 1), (None, 1)])
