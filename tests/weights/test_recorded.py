"""What a model's folder, checkpoint and search record of it, and what of that goes into an export."""
import json
from pathlib import Path

import pytest
import timm
import torch
from timm.data import resolve_model_data_config

from fpnas_timm.arch import Arch
from fpnas_timm.errors import UsageError
from fpnas_timm.hub.card import origin_of
from fpnas_timm.train import train
from fpnas_timm.weights.folder import export_model
from fpnas_timm.weights.recorded import Recorded, recorded_of
from tests.train.common import ARCH, OTHER, TRAIN, fails

SEARCH = {'weights': 'inherited', 'space': 'small', 'target_macs': 3e6, 'samples': 480, 'date': '2026-11-25'}
SHORT = dict(device='cpu', workers=0, batch_size=12, epochs=1, no_aug=True, num_classes=3, warmup_epochs=0)


@pytest.fixture(scope='module')
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a search, as far as training reads it."""
    folder = tmp_path_factory.mktemp('searched')
    (folder / 'arch.txt').write_text(f'{ARCH}\n')
    (folder / 'result.json').write_text(json.dumps({'arch': ARCH, **SEARCH}))
    model = timm.create_model('fpnas', arch=ARCH, num_classes=3)
    export_model(model, folder / 'extract', resolve_model_data_config(model), ['a', 'b', 'c'], {'search': SEARCH})
    return folder


@pytest.mark.parametrize('way', ['arch.txt', 'extract', 'other.txt'])
def test_a_trained_network_knows_its_search(way: str, searched: Path, tiny_images: Path, tmp_path: Path) -> None:
    options = dict(arch_file=str(searched / way)) if way == 'arch.txt' else dict(model=f'local-dir:{searched / way}')
    if way == 'other.txt':  # another string: not what the search found
        (searched / way).write_text(OTHER)
        options = dict(arch_file=str(searched / way))
    result = train(data_dir=tiny_images, output=tmp_path, experiment='run', **options, **SHORT)
    config = json.loads((result.export / 'config.json').read_text())
    if way == 'other.txt':
        assert 'search' not in config['training']
        return
    assert config['training']['search'] == {k: v for k, v in SEARCH.items() if k != 'weights'}
    assert config['training']['dataset'] == tiny_images.name
    assert origin_of(config, Arch.parse(ARCH)) == (
        'found by a search with fpnas_timm (space: small; target macs: 3000000.0; samples: 480; date: 2026-11-25)'
    )
    further = train(f'local-dir:{result.export}', pretrained=True, data_dir=tiny_images, output=tmp_path, **SHORT)
    assert json.loads((further.export / 'config.json').read_text())['training']['search']['space'] == 'small'


def test_a_string_and_another_model_are_refused(
        searched: Path, tiny_images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arch_file = ['--arch-file', str(searched / 'arch.txt')]
    argv = [*TRAIN[2:TRAIN.index('--model-kwargs')], '--data-dir', str(tiny_images), *arch_file]
    assert fails(capsys, [*argv, '--model', 'resnet50']).endswith('arch.txt is for --model fpnas, not resnet50')


def test_records(tmp_path: Path) -> None:
    """Anything that is not a record is none; a checkpoint's options are one."""
    for text in ('', '[', '{"pretrained_cfg": 5}', '{"label_names": ["a", "a"], "num_classes": 0.5}'):
        (tmp_path / 'config.json').write_text(text)
        assert recorded_of(f'local-dir:{tmp_path}') == Recorded()
    (tmp_path / 'config.json').write_text(json.dumps(
        {'num_classes': 2, 'input_img_mode': 'L', 'pretrained_cfg': {'input_size': [1, 8, 8], 'label_names': 'ab'}}
    ))
    assert recorded_of(f'local-dir:{tmp_path}') == Recorded(
        [], 2, 1, 'L', data={'input_size': [1, 8, 8]}
    )
    args = {'label_names': ['x', 'y'], 'num_classes': 2, 'in_chans': 4, 'input_img_mode': 'CMYK'}
    torch.save({'args': args, 'arch_string': ARCH}, tmp_path / 'last.pth.tar')
    assert recorded_of('resnet18', str(tmp_path / 'last.pth.tar')) == Recorded(['x', 'y'], 2, 4, 'CMYK', ARCH)
    torch.save([1], tmp_path / 'odd.pth.tar')
    assert recorded_of('nowhere', str(tmp_path / 'odd.pth.tar')) == recorded_of('local-dir:nowhere') == Recorded()
    assert recorded_of('resnet18').in_chans == 3


def test_a_run_goes_on_with_its_classes(tiny_images: Path, tmp_path: Path) -> None:
    """In another folder, too, where the numbers of the classes would be confused."""
    (tmp_path / 'map.txt').write_text('red\nblue\ngreen\n')
    options = {**SHORT, 'arch': ARCH, 'data_dir': tiny_images, 'output': tmp_path, 'epochs': 2}
    train(**options, class_map=str(tmp_path / 'map.txt'), stop_epoch=1, experiment='run')
    with pytest.raises(UsageError, match="its classes are 'red', 'blue', 'green', those of the data 'blue', 'gre"):
        train(**options, resume=str(tmp_path / 'run' / 'last.pth.tar'), experiment='other')
