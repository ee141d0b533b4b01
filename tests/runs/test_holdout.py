"""Images held out of training: stratified, seeded, and found again by their names."""
import collections
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import IterableDataset

from fpnas_timm.errors import UsageError
from fpnas_timm.runs.datasets import class_indices, class_names, fingerprint, open_dataset
from fpnas_timm.runs.holdout import hold_out, image_names, listed_images, split_off, write_image_list


@given(st.lists(st.integers(0, 4), min_size=1, max_size=90), st.floats(0.01, 0.99), st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_split_off(targets: list[int], fraction: float, seed: int) -> None:
    rest, chosen = split_off(targets, fraction, seed)
    assert sorted(rest + chosen) == list(range(len(targets)))
    assert (rest, chosen) == (sorted(rest), sorted(chosen)) == split_off(targets, fraction, seed)
    counts = collections.Counter(targets[i] for i in chosen)
    for c, n in collections.Counter(targets).items():
        assert abs(counts[c] - fraction * n) <= 1
        assert n == 1 or 0 < counts[c] < n


def test_other_seeds_choose_others() -> None:
    assert len({tuple(split_off([0] * 50, 0.5, seed)[1]) for seed in range(5)}) == 5


def test_parts(tiny_images: Path) -> None:
    dataset = open_dataset('', tiny_images, 'train')
    rest, chosen = hold_out(dataset, 0.25, 0)
    assert class_names(rest) == class_names(chosen) == ['blue', 'green', 'red']
    assert class_indices(chosen) == [0] * 3 + [1] * 3 + [2] * 3
    assert not set(image_names(rest)) & set(image_names(chosen))
    image, target = chosen[4]
    chosen.transform = lambda image: image.getpixel((0, 0))
    assert chosen[4] == (image.getpixel((0, 0)), target)
    assert rest[4][0].size == (16, 16)  # each part has its own transform
    assert fingerprint(rest) != fingerprint(chosen) == fingerprint(hold_out(dataset, 0.25, 0)[1])


def test_a_list_of_images(tiny_images: Path, tmp_path: Path) -> None:
    dataset = open_dataset('', tiny_images, 'train')
    _, chosen = hold_out(dataset, 0.25, 3)
    path = tmp_path / 'validation.txt'
    write_image_list(path, chosen, 'held out')
    lines = path.read_text().splitlines()
    assert lines[0] == '# held out'
    assert lines[1:] == image_names(chosen)
    assert all((tiny_images / 'train' / name).is_file() for name in lines[1:])
    assert listed_images(path, dataset, 'train').indices == chosen.indices
    for content, message in (
        ('red/0.png\nred/x.png\n', '1 of its 2 images are not in train, such as red/x.png'),
        ('# x\n', 'names no images'),
        ('PK\0', r'cannot be read \(not text\)'),
    ):
        path.write_text(content)
        with pytest.raises(UsageError, match=f'--val-images {path}: {message}'):
            listed_images(path, dataset, 'train')
    with pytest.raises(UsageError, match=r'cannot be read \(No such file'):
        listed_images(tmp_path / 'nowhere', dataset, 'train')


def test_names_of_any_bytes(tiny_images: Path, tmp_path: Path) -> None:
    """Latin-1, and a separator of Unicode, which is no end of a line here."""
    folder = os.fsencode(tmp_path / 'data' / 'train' / 'red')
    os.makedirs(folder)
    for i, name in enumerate((b'caf\xe9.png', b'a\xe2\x80\xa8b.png', b'c.png', b'd.png')):
        os.symlink(tiny_images / 'train' / 'red' / f'{i}.png', folder + b'/' + name)
    dataset = open_dataset('', tmp_path / 'data', 'train')
    path = tmp_path / 'validation.txt'
    write_image_list(path, dataset, 'held out')
    assert b'\nred/caf\xe9.png\n' in path.read_bytes()
    assert listed_images(path, dataset, 'train').indices == [0, 1, 2, 3]


def test_a_class_whose_name_looks_like_a_comment(tiny_images: Path, tmp_path: Path) -> None:
    for name in ('# a', 'b'):
        shutil.copytree(tiny_images / 'train' / 'red', tmp_path / 'data' / 'train' / name)
    dataset = open_dataset('', tmp_path / 'data', 'train')
    write_image_list(tmp_path / 'list.txt', dataset, 'held out')
    assert listed_images(tmp_path / 'list.txt', dataset, 'train').indices == list(range(24))


def test_images_without_names() -> None:
    images = [(None, 0), (None, 0), (None, 1), (None, 1)]
    rest, chosen = hold_out(images, 0.5, 0)
    assert sorted(image_names(rest) + image_names(chosen)) == ['0', '1', '2', '3']


def test_errors() -> None:
    class Stream(IterableDataset):
        def __iter__(self):
            yield None, 0

    with pytest.raises(UsageError, match='--val-fraction: not for a streaming dataset'):
        hold_out(Stream(), 0.5, 0)
    with pytest.raises(UsageError, match='no class has two images'):
        hold_out([(None, 0), (None, 1)], 0.5, 0)
