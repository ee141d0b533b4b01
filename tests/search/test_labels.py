"""Datasets given from Python whose classes or items are not what the search needs: refused, and named."""
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, Subset

from fpnas_timm.errors import RunError, UsageError, plain_message
from fpnas_timm.search.dataset import check_images

IMAGE = Image.new('RGB', (8, 8))


class Listed(Dataset):
    """Has a list of its classes, so that its items are only read when they are used."""

    def __init__(self, targets: Any, items: list | None = None, classes: Any = None) -> None:
        self.targets = targets
        self.items = [(IMAGE, t) for t in targets] if items is None else items
        if classes is not None:
            self.classes = classes

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return self.items[index]


@pytest.mark.parametrize(('targets', 'said'), [
    ([0, 0.5, 1.5], r'the class of image 1 is 0\.5: expected a whole number from 0 on$'),
    ([0.5, 1, 1], r'its first class is 0\.5: expected a whole number'),
    ([0, 1, -1], r'the class of image 2 is -1: expected a whole number from 0 on; leave out images without a class$'),
    ([0, 1, None], 'the class of image 2 is None: expected a whole number'),
    ([0, 1, float('nan')], 'the class of image 2 is nan: expected a whole number'),
    ([0, torch.tensor([0, 1]), 1], r'the class of image 1 is tensor\(\[0, 1\]\): expected a whole number'),
])
def test_classes_that_are_no_numbers_of_classes(targets: list, said: str) -> None:
    for dataset in (Listed(targets), [(IMAGE, t) for t in targets]):
        with pytest.raises(UsageError, match=f'^dataset: {said}'):
            check_images(dataset)


@pytest.mark.parametrize('targets', [
    np.array([0, 1, 2]), torch.tensor([0, 1, 2]), [0.0, 1.0, 2.0], [np.int64(0), torch.tensor(1), np.float32(2)],
])
def test_numbers_of_any_type(targets: Any) -> None:
    for dataset in (Listed(targets), [(IMAGE, t) for t in targets]):
        images = check_images(dataset)
        assert images.targets == [0, 1, 2] == [images[i][1] for i in range(3)]


def test_images_without_a_class_may_be_left_out() -> None:
    targets = [0, -1, 1, -1]
    for dataset in (Listed(targets), [(IMAGE, t) for t in targets]):
        assert check_images(Subset(dataset, [0, 2])).targets == [0, 1]


@pytest.mark.parametrize(('targets', 'classes', 'said'), [
    ([0, 1, 2], ['a', 'b'], 'it has 2 class names, but the class of image 2 is 2: expected classes from 0 to 1'),
    ([3, 1, 2], ['a', 'b', 'c'], 'it has 3 class names, but its first class is 3: expected classes from 0 to 2'),
])
def test_class_names_that_do_not_fit(targets: list[int], classes: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=f'^dataset: {said}$'):
        check_images(Listed(targets, classes=classes))


def test_class_names_that_fit() -> None:
    assert check_images(Listed([0, 2], classes=['a', 'b', 'c'])).class_to_idx == {'a': 0, 'b': 1, 'c': 2}
    assert check_images(Listed([0, 2], classes=3)).class_to_idx == {}  # not names
    assert check_images(Listed([0, 1], classes=np.array(['a', 'b']))).class_to_idx == {'a': 0, 'b': 1}


@pytest.mark.parametrize(('item', 'said'), [
    ((None, 2), '^dataset: image 3 is None: expected a PIL image$'),
    ((np.zeros((8, 8, 3)), 2), '^dataset: image 3 is a ndarray: expected a PIL image: create'),
    (None, r'^dataset: item 3 is a NoneType: expected a pair \(PIL image, class\)$'),
    ((IMAGE, 2, 'x'), r'^dataset: item 3 is a tuple: expected a pair'),
    ((IMAGE, 'cat'), "^dataset: the class of image 3 is 'cat': expected a whole number"),
    ((IMAGE, 1), r'^dataset: the class of image 3 is 1, but 2 in its list of classes \(targets\): expected the same'),
])
def test_one_bad_item(item: Any, said: str) -> None:
    """Found before the start where the items are read for their classes, else when it is used."""
    items = [*((IMAGE, i) for i in range(3)), item]
    images = check_images(Listed([0, 1, 2, 2], items))
    assert [images[i][1] for i in range(3)] == [0, 1, 2]
    with pytest.raises(RunError, match=said):
        images[3]
    with pytest.raises(RunError) as e:
        list(DataLoader(images, batch_size=None, num_workers=1))
    assert '\n' not in plain_message(e.value)
    assert plain_message(e.value).startswith('dataset: ')
    if 'list of classes' not in said:
        with pytest.raises(UsageError, match=said):
            check_images(items)


def test_a_list_of_classes_of_another_length() -> None:
    with pytest.raises(UsageError, match=r'^dataset: it has 4 images, but lists the classes \(targets\) of 3$'):
        check_images(Listed([0, 1, 2], [(IMAGE, 0)] * 4))
