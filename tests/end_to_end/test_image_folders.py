"""Odd image folders mean the same in search, training and validation."""
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fpnas_timm.cli.runs import search_main, train_main, validate_main
from fpnas_timm.train.options import parse_train_args
from fpnas_timm.train.setup import setup

ARCH = 'i16-cn_r1_k3_s2_c8_nsw-ir_r1_k3_s1_e2_c8_nre_sp1-ir_r2_k3_s2_e2_c16_nsw_sp2-cn_r1_k1_s1_c32_nsw'
TRAIN = ['--model', 'fpnas', '--model-kwargs', f'arch={ARCH}', '--num-classes', '3', '--device', 'cpu', '-j', '0',
         '-b', '12', '--epochs', '12', '--no-aug', '--opt', 'adamw', '--lr', '0.02', '--warmup-epochs', '0',
         '--smoothing', '0']
SEARCH = ['--epochs', '2', '--warmup-epochs', '1', '--warmup-lr-epochs', '0', '--batch-size', '4', '--workers', '0',
          '--calibration-batches', '1', '--device', 'cpu']


@pytest.fixture(scope='module')
def odd(tiny_images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder too deep, splits in capitals, classes with folders inside, folders of tools, webp, no png."""
    base = tmp_path_factory.mktemp('odd')
    for source, split in (('train', 'Train'), ('validation', 'Valid')):
        for path in (tiny_images / source).glob('*/*.png'):
            folder = base / 'data' / split / path.parent.name / ('am' if int(path.stem) % 2 else 'pm')
            folder.mkdir(parents=True, exist_ok=True)
            Image.open(path).save(folder / f'{path.stem}.webp', lossless=True)
        for tool in ('.git', '__MACOSX', '@eaDir', '.ipynb_checkpoints'):
            shutil.copytree(tiny_images / source / 'red', base / 'data' / split / tool)
    return base


@pytest.fixture(scope='module')
def trained(odd: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp('trained')
    assert train_main([*TRAIN, '--data-dir', str(odd), '--output', str(out), '--experiment', 'run']) == 0
    return out / 'run'


def validate(capsys: pytest.CaptureFixture[str], data: Path, model: Path, *options: str) -> dict:
    capsys.readouterr()
    argv = [str(data), '--model', f'local-dir:{model}', '--pretrained', '--device', 'cpu', '-j', '0', *options]
    assert validate_main(argv) == 0
    return json.loads(capsys.readouterr().out.removeprefix('--result\n'))


def test_train_and_validate(
    odd: Path, trained: Path, tiny_images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All right on the odd folder, and on the ordinary one."""
    for data in (odd, odd / 'data', odd / 'data' / 'Valid', tiny_images):
        result = validate(capsys, data, trained / 'export')
        assert (result['top1'], result['images']) == (100, 12)
    config = json.loads((trained / 'export' / 'config.json').read_text())
    assert config['label_names'] == ['blue', 'green', 'red']


def searched(space: Path, data: Path, out: Path, options: Sequence[str] = ()) -> dict:
    argv = ['--space', str(space), '--data-dir', str(data), '--output', str(out), *SEARCH, *options]
    assert search_main(argv) == 0
    return json.loads((out / 'halves.json').read_text())


def test_search(odd: Path, space_file: Path, tmp_path: Path) -> None:
    """The halves are of the 36 training images alone."""
    record = searched(space_file, odd, tmp_path / 'out')
    assert record['class_names'] == ['blue', 'green', 'red']
    assert sorted(record['train'] + record['val']) == list(range(36))


def test_16_bits(tiny_images: Path, space_file: Path, trained: Path, tmp_path: Path, capsys) -> None:
    """A copy of the data in 16-bit grey has the pixels of the 8-bit grey one: the same losses."""
    for depth in (8, 16):
        for path in tiny_images.glob('*/*/*.png'):
            grey = np.asarray(Image.open(path).convert('L'))
            target = tmp_path / str(depth) / path.relative_to(tiny_images)
            target.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(grey if depth == 8 else grey.astype(np.uint16) * 257).save(target)
    deep = Image.open(tmp_path / '16' / 'train' / 'red' / '0.png')
    assert deep.mode.startswith('I')
    losses, histories, batches = set(), [], []
    for depth in (8, 16):
        data = tmp_path / str(depth)
        losses.add(validate(capsys, data, trained / 'export')['loss'])
        searched(space_file, data, tmp_path / f'search{depth}')
        rows = [json.loads(r) for r in (tmp_path / f'search{depth}' / 'history.jsonl').read_text().splitlines()]
        histories.append([row['most_probable'] if 'most_probable' in row else row for row in rows])
        args = [*TRAIN, '--data-dir', str(data), '--output', str(tmp_path), '--experiment', f'train{depth}']
        batches.append(next(iter(setup(parse_train_args(args)).trainer.loaders.eval))[0])
    assert len(losses) == 1
    assert histories[0] == histories[1]
    assert np.array_equal(*(batch.numpy() for batch in batches))
    assert len(np.unique(batches[0].numpy())) > 50
