"""What training says of its images, and the sentences for class maps, checkpoints and images that it cannot use."""
import logging
import re
import shutil
from pathlib import Path

import pytest

from fpnas_timm.cli.runs import train_main, validate_main
from fpnas_timm.errors import UsageError
from fpnas_timm.train.options import parse_train_args
from fpnas_timm.train.setup import setup

from .common import TRAIN, at, fails, state


@pytest.fixture
def images(tiny_images: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_images, tmp_path / 'images'))


def said(caplog: pytest.LogCaptureFixture, argv: list[str]) -> list[str]:
    """What a run says before its first epoch."""
    caplog.clear()
    with caplog.at_level(logging.INFO):
        setup(parse_train_args(argv)).locks.close()
    return caplog.messages


def test_images_held_out(caplog: pytest.LogCaptureFixture, images: Path, tmp_path: Path) -> None:
    """Both numbers, and the class that has too few."""
    shutil.rmtree(images / 'validation')
    for i in range(1, 12):
        (images / 'train' / 'red' / f'{i}.png').unlink()
    argv = [*TRAIN, '--data-dir', str(images), '--val-fraction', '0.25', *at(tmp_path)]
    messages = said(caplog, argv)
    assert 'train: 19 images to train on, 6 images held out for validation' in messages
    assert [m for m in messages if "validation has no images of 'red': one image is too few" in m]


def test_copies_of_training_images(caplog: pytest.LogCaptureFixture, images: Path, tmp_path: Path) -> None:
    for i in range(2):
        shutil.copy(images / 'train' / 'red' / f'{i}.png', images / 'validation' / 'red' / f'{i}.png')
    messages = said(caplog, [*TRAIN, '--data-dir', str(images), *at(tmp_path)])
    [found] = [m for m in messages if 'copies of' in m]
    assert found.startswith('validation has copies of training images: 2 of its 12 images, such as ')
    shutil.rmtree(images / 'validation')
    for name in ('red', 'green', 'blue'):
        (images / 'validation' / name).mkdir(parents=True)
        shutil.copy(images / 'train' / name / '3.png', images / 'validation' / name)
    with pytest.raises(UsageError, match=r'^the validation images are nothing but copies of training images: 3'):
        said(caplog, [*TRAIN, '--data-dir', str(images), *at(tmp_path, 'other')])


def test_options_without_effect(caplog: pytest.LogCaptureFixture, images: Path, tmp_path: Path) -> None:
    argv = [*TRAIN, '--data-dir', str(images), '--sync-bn', '--opt-betas', '0.9', '0.99']
    messages = said(caplog, [*argv, '--opt', 'sgd', '--opt-eps', '1e-3', *at(tmp_path / 'sgd')])
    assert '--sync-bn: has no effect with a single process' in messages
    assert [m for m in messages if m.startswith('--opt')] == [
        f'--opt-{name}: has no effect on sgd, which has no {name}' for name in ('betas', 'eps')]
    for name, given in (('adamw', argv), ('sgd', [*argv[:-3], '--recipe', 'ls+aa+ema'])):  # the recipe has an epsilon
        messages = said(caplog, [*given, '--opt', name, *at(tmp_path / f'{name}-more')])
        assert not [m for m in messages if m.startswith('--opt')]


def test_a_class_without_validation_images(caplog: pytest.LogCaptureFixture, images: Path, tmp_path: Path) -> None:
    shutil.rmtree(images / 'validation' / 'blue')
    messages = said(caplog, [*TRAIN, '--data-dir', str(images), *at(tmp_path)])
    assert [m.split(',')[:2] for m in messages if m.startswith('validation: ')] == [
        ['validation: 8 images', ' 2 classes (green']]
    assert [m for m in messages if m.endswith("validation has no images of 'blue'.")]


def test_balanced_sampling(caplog: pytest.LogCaptureFixture, images: Path, tmp_path: Path) -> None:
    messages = said(caplog, [*TRAIN, '--data-dir', str(images), '--balanced-sampling', *at(tmp_path)])
    assert 'balanced sampling: 36 images an epoch, of 3 classes with equal probability' in messages


def test_without_validation(caplog: pytest.LogCaptureFixture, tiny_images: Path, tmp_path: Path) -> None:
    argv = [*TRAIN, '--data-dir', str(tiny_images), '--val-split', '', '--epochs', '1', *at(tmp_path)]
    with caplog.at_level(logging.INFO):
        assert train_main(argv) == 0
    assert [m for m in caplog.messages if m.startswith('best: epoch 1 (not validated), as local-dir:')]


def test_class_maps(capsys: pytest.CaptureFixture[str], tiny_images: Path, tmp_path: Path) -> None:
    argv = [*TRAIN, '--data-dir', str(tiny_images), *at(tmp_path), '--class-map']
    twice = tmp_path / 'twice.txt'
    twice.write_text('red\nblue\nred\ngreen\n')
    assert fails(capsys, [*argv, str(twice)]) == \
        f"--class-map {twice}: 'red' is on line 1 and on line 3: leave one of them out"
    other = tmp_path / 'map.json'
    other.write_text('{"red": 0}')
    assert fails(capsys, [*argv, str(other)]).startswith(f'--class-map {other}: expected a .txt file with a name')


def test_resume_from_a_folder(capsys: pytest.CaptureFixture[str], tiny_images: Path, tmp_path: Path) -> None:
    argv = [*TRAIN, '--data-dir', str(tiny_images)]
    assert train_main([*argv, *at(tmp_path), '--stop-epoch', '1']) == 0
    run = str(tmp_path / 'run')
    assert train_main([*argv, *at(tmp_path), '--resume', run]) == 0
    assert state(tmp_path / 'run')['epoch'] == 1
    capsys.readouterr()
    assert fails(capsys, [*argv, *at(tmp_path, 'new'), '--resume', f'{run}/export']) == \
        f'--resume {run}/export: a folder without last.pth.tar: give a checkpoint, a .pth.tar file'


def test_validation_is_not_resumed(capsys: pytest.CaptureFixture[str], images: Path, tmp_path: Path) -> None:
    assert train_main([*TRAIN, '--data-dir', str(images), '--epochs', '1', *at(tmp_path)]) == 0
    bad = images / 'validation' / 'red' / '2.png'
    bad.write_bytes(b'x')
    argv = ['--model', f'local-dir:{tmp_path}/run/export', '--pretrained', '--device', 'cpu', '--data-dir', str(images)]
    assert validate_main([*argv, '-j', '0']) == 1
    assert re.search(rf'^error: {bad}: this image .*: fix it, then start again$', capsys.readouterr().err, re.MULTILINE)
