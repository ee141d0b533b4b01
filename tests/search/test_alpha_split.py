"""A split of its own for alpha: its classes by name, its images, its epochs, and resuming."""
import json
import logging
import shutil
from pathlib import Path

import pytest
import torch
from torch.utils.data import Subset
from torchvision.datasets import ImageFolder

from fpnas_timm.errors import UsageError
from fpnas_timm.runs.datasets import fingerprint
from fpnas_timm.search.halves import StepBatches
from fpnas_timm.search.options import search_options
from fpnas_timm.search.run import given_images, search
from fpnas_timm.search.setup import Setup, set_up

from .test_api import SETTINGS, SPACE, Colours


@pytest.fixture
def data(tiny_images: Path, tmp_path: Path) -> Path:
    """36 images to train on; of `other`, 8 in folders that sort differently: 3 blue, 5 red, none that is green."""
    root = tmp_path / 'data'
    for name, count in (('blue', 3), ('red', 5)):
        (root / 'other' / name).mkdir(parents=True)
        for i in range(count):
            shutil.copy(tiny_images / 'validation' / name / f'{i % 4}.png', root / 'other' / name / f'{i}.png')
    (root / 'train').symlink_to(tiny_images / 'train')
    return root


def ready(data: Path, tmp_path: Path, **options: object) -> Setup:
    given = {'data_dir': str(data), 'alpha_split': 'other', 'output': str(tmp_path / 'out'), **SETTINGS, **options}
    return set_up(search_options(given), SPACE)


def test_all_images_of_both_splits_with_classes_by_name(
        data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, 'search'):
        evaluator = ready(data, tmp_path).evaluator
    assert 'has no images of 1 of 3 classes: green' in caplog.text
    weights = [t for _, target in evaluator.train_loader.once() for t in target.tolist()]
    alpha = list(evaluator.val_loader.once())
    assert [weights.count(c) for c in range(3)] == [12, 12, 12]
    targets = torch.cat([target for _, target in alpha]).tolist()
    assert targets == [0] * 3 + [2] * 5
    for image, target in zip(torch.cat([images for images, _ in alpha]), targets):
        assert image.mean((1, 2)).argmax().item() == {0: 2, 2: 0}[target]  # the blue images are blue, the red ones red


def test_an_epoch_is_a_pass_over_the_images_that_train_the_weights(data: Path, tmp_path: Path) -> None:
    """9 steps of 4, although alpha has but 2; its images come again in another order."""
    evaluator = ready(data, tmp_path).evaluator
    assert evaluator.steps_per_epoch == 9
    batches = list(evaluator.val_loader.start(1, 0))
    assert len(batches) == 9
    order = [i for batch in evaluator.val_loader.batches for i in batch]
    assert sorted(order[:8]) == sorted(order[8:16]) == list(range(8))
    assert order[:8] != order[8:16]
    later = StepBatches(8, 4, (0, 0), steps=9)
    later.epoch, later.first_step = 1, 5
    assert [i for batch in later for i in batch] == order[20:]


def test_resumed(data: Path, tmp_path: Path) -> None:
    out = tmp_path / 'out'
    found = search(SPACE, data_dir=data, alpha_split='other', output=out, **SETTINGS)
    assert found.supernet_top1_images == 8
    record = json.loads((out / 'halves.json').read_text())
    assert (record['train'], record['val']) == ([*range(36)], [*range(36, 44)])
    assert torch.equal(search(resume=out).distribution.alpha, found.distribution.alpha)
    prints = [fingerprint(ready(data, tmp_path / 'new').evaluator.val_loader.half.dataset)]
    shutil.copy(data / 'other' / 'red' / '1.png', data / 'other' / 'red' / '2.png')
    prints.append(fingerprint(ready(data, tmp_path / 'new').evaluator.val_loader.half.dataset))
    assert prints[0] != prints[1]
    (data / 'other' / 'red' / '4.png').unlink()
    with pytest.raises(UsageError, match=r'images .*changed since it started'):
        search(resume=out)


def test_from_python(tmp_path: Path) -> None:
    images = Colours()
    first, second = Subset(images, range(9)), Subset(images, range(9, 15))
    found = search(SPACE, first, alpha_dataset=second, output=tmp_path / 'out', **SETTINGS)
    assert found.supernet_top1_images == 6
    again = search(dataset=first, alpha_dataset=second, resume=tmp_path / 'out')
    assert torch.equal(again.distribution.alpha, found.distribution.alpha)
    for given in ({'dataset': images}, {'dataset': first, 'alpha_dataset': Subset(images, range(9, 14))}):
        with pytest.raises(UsageError, match='changed since it started'):
            search(resume=tmp_path / 'out', **given)
    with pytest.raises(UsageError, match='takes a dataset as alpha_dataset'):
        search(SPACE, first, alpha_split='other', output=tmp_path / 'no', **SETTINGS)
    with pytest.raises(UsageError, match='alpha_dataset goes with a dataset'):
        search(SPACE, data_dir=tmp_path, alpha_dataset=second, output=tmp_path / 'no', **SETTINGS)


@pytest.mark.parametrize(('count', 'images'), [(8, 28), (56, 4)])  # that train the weights, that train alpha
@pytest.mark.parametrize('options', [{'refine': 8}, {'strategy': 'random', 'evaluations': 3, 'score_batches': 0}])
def test_candidates_are_scored_on_all_images_for_alpha(
        count: int, images: int, options: dict, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """However many batches an epoch has, which is a pass over the images that train the weights."""
    items = Colours().items * 5
    given = {k: v for k, v in SETTINGS.items() if 'strategy' not in options or k != 'warmup_epochs'}
    with caplog.at_level(logging.INFO, 'search'):
        search(SPACE, [(image.copy(), label) for image, label in items[:count]], output=tmp_path / 'out',
               alpha_dataset=[(image.copy(), label) for image, label in items[-images:]], **given, **options)
    assert f'on the same {images} images each' in caplog.text


def test_the_same_images_twice(tmp_path: Path) -> None:
    """However they are passed: the whole dataset, parts that overlap, lists, and a dataset that is equal."""
    images = Colours()
    items = images.items
    for first, second, message in (
        (images, images, '15 of its 15'),
        (Subset(images, range(9)), Subset(images, range(8, 15)), '1 of its 7'),
        (Subset(Subset(images, range(12)), range(6)), Subset(images, range(3, 15)), '3 of its 12'),
        (items[:9], items[7:], '2 of its 8'),
        (images, Colours(), '15 of its 15'),
    ):
        with pytest.raises(UsageError, match=rf'^alpha_dataset: {message} images train the weights too: expected'):
            search(SPACE, first, alpha_dataset=second, output=tmp_path / 'no', **SETTINGS)
    with pytest.raises(UsageError, match='its images train the weights: expected another split'):
        search_options({'data_dir': 'x', 'output': 'y', 'alpha_split': 'train'})


def test_copies_of_the_images_that_train_the_weights(
        data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copy(data / 'train' / 'red' / '0.png', data / 'other' / 'red' / '5.png')
    with caplog.at_level(logging.WARNING, 'search'):
        ready(data, tmp_path)
    assert '--alpha-split other has copies of training images: 1 of its 9 images, such as' in caplog.text
    first, second = ImageFolder(data / 'train'), ImageFolder(data / 'other')
    with caplog.at_level(logging.WARNING, 'search'):
        caplog.clear()
        set_up(search_options({'output': str(tmp_path / 'given'), **SETTINGS}), SPACE, given_images(first, second))
    assert 'alpha_dataset has copies of training images: 1 of its 9 images, such as' in caplog.text
    shutil.copytree(data / 'train', data / 'copy')
    with pytest.raises(UsageError, match=r'^--alpha-split copy: has nothing but copies of training images: 36 of'):
        ready(data, tmp_path, alpha_split='copy')


def test_what_does_not_fit(data: Path, tmp_path: Path) -> None:
    (data / 'same').symlink_to(data / 'train')
    with pytest.raises(UsageError, match=r'--alpha-split same: 36 of its 36 images train the weights too, such as '):
        ready(data, tmp_path, alpha_split='same')
    with pytest.raises(UsageError, match='halves of 36 and 8 images are smaller than the 9 of one step'):
        ready(data, tmp_path, batch_size=9)
    (data / 'other' / 'red').rename(data / 'other' / 'reds')
    with pytest.raises(UsageError, match=r"--alpha-split other: has images of class 'reds', .*; did you mean red\?"):
        ready(data, tmp_path)
