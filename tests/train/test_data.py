"""The data of a run: splits, classes, images that cannot be read."""
import json
import re
import shutil
from pathlib import Path

import pytest

from fpnas_timm.cli.runs import train_main, validate_main

from .common import TRAIN, at, fails


def test_data(capsys: pytest.CaptureFixture[str], tiny_images: Path, tmp_path: Path) -> None:
    assert 'no such folder' in fails(capsys, [*TRAIN, '--data-dir', str(tmp_path / 'nowhere')])
    assert 'no images given: pass the image folder with --data-dir' in fails(capsys, TRAIN)
    (tmp_path / 'empty' / 'train' / 'red').mkdir(parents=True)
    assert re.search('empty.*(no image|Found 0 images)', fails(capsys, [*TRAIN, '--data-dir', str(tmp_path / 'empty')]))
    said = fails(capsys, [*TRAIN, '--num-classes', '2', '--data-dir', str(tiny_images)])
    assert said.endswith('the data has 3 classes, the model 2: use --num-classes 3')
    without = [a for a in TRAIN if a not in ('--num-classes', '3')]
    said = fails(capsys, [*without, '--data-dir', str(tiny_images)])
    assert said.endswith('the data has 3 classes, the model 1000: use --num-classes 3')
    said = fails(capsys, [*TRAIN, '-b', '64', '--data-dir', str(tiny_images)])
    assert said.endswith('36 training images, less than a batch of 64: lower --batch-size')

    uneven = tmp_path / 'uneven'
    for split, names in (('train', ('red', 'blue')), ('validation', ('red', 'green', 'blue'))):
        (uneven / split).mkdir(parents=True)
        for name in names:
            (uneven / split / name).symlink_to(tiny_images / split / name)
    said = fails(capsys, [*TRAIN, '--data-dir', str(uneven)])
    assert "validation has classes that train lacks: 'green'" in said


@pytest.mark.parametrize('workers', ['0', '1'])
def test_an_unreadable_image(
    capsys: pytest.CaptureFixture[str], tiny_images: Path, tmp_path: Path, workers: str
) -> None:
    data = tmp_path / 'data'
    for source in tiny_images.glob('*/*/*.png'):
        copy = data / source.relative_to(tiny_images)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(source.read_bytes())
    bad = data / 'train' / 'red' / '3.png'
    good = bad.read_bytes()
    argv = [*TRAIN, '-j', workers, '--data-dir', str(data), '--output', str(tmp_path), '--experiment', 'run']
    assert train_main([*argv, '--stop-epoch', '1']) == 0
    capsys.readouterr()
    bad.write_bytes(good[:60])
    said = fails(capsys, [*argv, '--resume', 'auto'], status=1)
    assert re.match(rf'{bad}: this image cannot be read \(.*\): fix it, then resume$', said)
    bad.write_bytes(good)
    assert train_main([*argv, '--resume', 'auto']) == 0
    assert len((tmp_path / 'run' / 'history.jsonl').read_text().splitlines()) == 2


def copy_of(images: Path, root: Path, *splits: str) -> Path:
    for source, split in zip(('train', 'validation'), splits):
        shutil.copytree(images / source, root / split)
    return root


def test_what_was_found_is_said(tiny_images: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Folders with other names of the splits train as `train` and `validation` do."""
    root = copy_of(tiny_images, tmp_path / 'data' / 'deeper', 'Train', 'Valid')
    (tmp_path / 'data' / '__MACOSX').mkdir()
    for name, data in (('one', tiny_images), ('other', tmp_path / 'data')):
        with caplog.at_level('INFO'):
            assert train_main([*TRAIN, '--data-dir', str(data), *at(tmp_path, name)]) == 0
    assert f'train: 36 images, 3 classes (blue, green, red), {root / "Train"}' in caplog.messages
    assert f'validation: 12 images, 3 classes (blue, green, red), {root / "Valid"}' in caplog.messages
    losses = [re.findall('"train_loss": [^,]+', (tmp_path / n / 'history.jsonl').read_text()) for n in ('one', 'other')]
    assert losses[0] == losses[1] != []


@pytest.mark.parametrize('layout', ['no splits', 'a link', 'a copy', 'the same name'])
def test_never_validated_on_the_training_images(
    capsys: pytest.CaptureFixture[str], tiny_images: Path, tmp_path: Path, layout: str
) -> None:
    root = tmp_path / 'data'
    if layout == 'no splits':
        shutil.copytree(tiny_images / 'train', root)
    else:
        copy_of(tiny_images, root, 'train')
    if layout == 'a link':
        (root / 'validation').symlink_to(root / 'train')
    if layout == 'a copy':
        shutil.copytree(root / 'train', root / 'validation')
    split = ['--val-split', 'train'] if layout == 'the same name' else []
    said = fails(capsys, [*TRAIN, '--data-dir', str(root), *split, *at(tmp_path)])
    assert re.search("are the same images: --val-fraction 0.2 holds out part .*, --val-split '' trains without", said)
    assert not (tmp_path / 'run').exists()


def test_no_validation_folder(capsys: pytest.CaptureFixture[str], tiny_images: Path, tmp_path: Path) -> None:
    root = copy_of(tiny_images, tmp_path / 'data', 'train', 'Test')
    said = fails(capsys, [*TRAIN, '--data-dir', str(root), *at(tmp_path)])
    assert re.search(
        "no folder for the split 'validation', only for others: Test, train: --val-split Test validates on Test, "
        "--val-fraction 0.2 holds out part of the training images, --val-split '' trains without validation$", said
    )
    (tiny := tmp_path / 'tiny').mkdir()
    (tiny / 'train').symlink_to(tiny_images / 'train')
    said = fails(capsys, [*TRAIN, '--data-dir', str(tiny), *at(tmp_path)])
    assert re.search("only for others: train: --val-fraction 0.2 .*, --val-split '' trains", said)
    said = fails(capsys, [*TRAIN, '--data-dir', str(tiny_images), '--val-fraction', '0.2', *at(tmp_path)])
    assert re.search("--val-fraction 0.2: .* has a folder for validation: add --val-split ''", said)


def test_held_out(capsys: pytest.CaptureFixture[str], tiny_images: Path, tmp_path: Path) -> None:
    """By hand: 3 of 12 images of each class. `validate` measures the same on the same images."""
    root = copy_of(tiny_images, tmp_path / 'data', 'train')
    options = [*TRAIN, '--data-dir', str(root), '--val-fraction', '0.25', *at(tmp_path)]
    assert train_main([*options, '--stop-epoch', '1']) == 0
    listed = (tmp_path / 'run' / 'validation.txt').read_text().splitlines()
    assert listed[0] == '# held out of training: val_fraction 0.25, val_seed 0, val_images 9'
    assert [name.split('/')[0] for name in listed[1:]] == ['blue'] * 3 + ['green'] * 3 + ['red'] * 3
    for changed, message in ((['--val-seed', '1'], '--val-seed 1: it is 0 in'),
                             (['--val-fraction', '0.5'], '--val-fraction 0.5: it is 0.25 in')):
        said = fails(capsys, [*options, *changed, '--resume', 'auto'])
        assert re.match(f'{message} .*: with other images held out', said)
    assert train_main([*options, '--resume', 'auto']) == 0
    config = json.loads((tmp_path / 'run' / 'export' / 'config.json').read_text())
    assert [config['training'][k] for k in ('val_fraction', 'val_seed', 'val_images')] == [0.25, 0, 9]
    capsys.readouterr()
    model = ['--model', f'local-dir:{tmp_path / "run" / "export"}', '--pretrained', '--device', 'cpu', '-j', '0']
    assert validate_main([str(root), *model, '--val-images', str(tmp_path / 'run' / 'validation.txt')]) == 0
    result = json.loads(capsys.readouterr().out.removeprefix('--result\n'))
    assert result['images'] == 9
    assert result['loss'] == pytest.approx(config['training']['loss'], abs=1e-4)
    assert validate_main([str(root), *model]) == 2
    assert '--split NAME chooses another one; --val-images RUN/validation.txt' in capsys.readouterr().err


def test_resumed_with_other_images(capsys: pytest.CaptureFixture[str], tiny_images: Path, tmp_path: Path) -> None:
    """Two swapped images are noticed; the same data at another path are the same."""
    root = copy_of(tiny_images, tmp_path / 'data', 'train', 'validation')
    options = [*TRAIN, *at(tmp_path)]
    assert train_main([*options, '--data-dir', str(root), '--stop-epoch', '1']) == 0
    capsys.readouterr()
    root = root.rename(tmp_path / 'moved')
    one, other = root / 'train' / 'red' / '3.png', root / 'train' / 'green' / '4.png'
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)
    said = fails(capsys, [*options, '--data-dir', str(root), '--resume', 'auto'])
    assert re.match('--resume .*: the images of .*moved are not those of that run: put them back, or start', said)
    one.write_bytes(first)
    other.write_bytes(second)
    assert train_main([*options, '--data-dir', str(root), '--resume', 'auto']) == 0
