"""Verifying a folder: one sentence for everything that can be wrong with it."""
import json
from pathlib import Path

import pytest
import timm
from safetensors.torch import load_file, save_file
from timm.data import resolve_data_config

from fpnas_timm.cli.hub import main
from fpnas_timm.hub import verify
from fpnas_timm.weights.folder import export_model
from fpnas_timm.zoo.report import count
from tests.hub.clients import ARCH


def broken(folder: Path, what: str) -> None:
    config = json.loads((folder / 'config.json').read_text())
    weights = folder / 'model.safetensors'
    if what == 'truncated':
        weights.write_bytes(weights.read_bytes()[:-100])
    elif what == 'no weights':
        weights.unlink()
    elif what == 'other arch':
        config['model_args']['arch'] = ARCH.replace('c24', 'c40')
    elif what == 'not canonical':
        config['model_args']['arch'] = ARCH.replace('r1_', '')
    elif what == 'bad string':
        config['model_args']['arch'] = ARCH.replace('k5', 'k4')
    elif what == 'classes':
        config['num_classes'] = config['pretrained_cfg']['num_classes'] = config['model_args']['num_classes'] = 5
    elif what == 'two counts':
        config['num_classes'] = 5
    elif what == 'not ours':
        config['architecture'] = 'resnet18'
    elif what == 'unknown model':
        config['architecture'] = 'nonet'
    elif what == 'huge images':
        config['pretrained_cfg']['input_size'] = [3, 100_000, 100_000]
    elif what == 'odd classes':
        config['num_classes'] = '4'
    elif what == 'odd args':
        config['model_args'] = [ARCH]
    elif what == 'nan':
        tensors = load_file(weights)
        tensors['classifier.bias'][0] = float('nan')
        save_file(tensors, weights)
    text = {'no json': 'no json', 'deep json': '[' * 100_000}.get(what, json.dumps(config))
    (folder / 'config.json').write_text(text)


@pytest.mark.parametrize('what, words, status', [
    ('truncated', 'damaged or no safetensors', 1),
    ('no weights', 'holds no model.safetensors', 2),
    ('other arch', 'These weights are of another architecture', 1),
    ('not canonical', 'the string is not canonical', 1),
    ('bad string', 'k4: expected one of', 1),
    ('classes', 'has 4 classes, and its config says 5', 1),
    ('two counts', '5 classes, and model_args says 4: expected the same', 2),
    ('not ours', 'resnet18 is no network of this package', 2),
    ('unknown model', "'nonet' is no model here", 2),
    ('no json', 'not JSON', 2),
    ('deep json', 'not JSON', 2),
    ('huge images', 'input_size is [3, 100000, 100000]', 2),
    ('odd classes', "num_classes is '4'", 2),
    ('odd args', "not timm's format", 2),
    ('nan', 'not all of them finite', 1),
])
def test_verify_says_what_is_wrong(
    what: str, words: str, status: int, run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    for file in (run_folder / 'export').iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    broken(tmp_path, what)
    assert main(['verify', str(tmp_path)]) == status
    err = capsys.readouterr().err
    assert words in err and err.count('\n') == 1 and err.startswith('error: ')


def test_multiply_adds_of_an_input_that_is_not_square(tmp_path: Path) -> None:
    """Counted at its height and width; fvcore's count is the witness."""
    arch = ARCH.replace(ARCH.partition('-')[0], 'i64x96')
    model = timm.create_model('fpnas', arch=arch, num_classes=4)
    export_model(model, tmp_path / 'model', resolve_data_config({}, model=model), [], {})
    found = verify(tmp_path / 'model')
    assert found.img_size == (64, 96)
    assert found.macs == count(timm.create_model('fpnas', arch=arch, num_classes=4), (64, 96)).macs
