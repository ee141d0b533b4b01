"""The data of a run: splits, classes, images that cannot be read."""
import re
from pathlib import Path

import pytest

from fpnas_timm.cli.runs import train_main

from .common import TRAIN, fails


def test_data(capsys: pytest.CaptureFixture[str], tiny_images: Path, tmp_path: Path) -> None:
    assert 'no such folder' in fails(capsys, [*TRAIN, '--data-dir', str(tmp_path / 'nowhere')])
    assert 'no such folder' in fails(capsys, TRAIN)
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
    for split, names in (('train', ('red', 'green', 'blue')), ('validation', ('red', 'blue'))):
        (uneven / split).mkdir(parents=True)
        for name in names:
            (uneven / split / name).symlink_to(tiny_images / split / name)
    said = fails(capsys, [*TRAIN, '--data-dir', str(uneven)])
    assert "train and validation have different classes ('green')" in said


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
