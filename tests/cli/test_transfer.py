"""`fpnas transfer` and `fpnas space`: what they write and print, and the sentence for each mistake."""
import json
from pathlib import Path

import pytest
import timm
import torch

from fpnas_timm.arch import Arch
from fpnas_timm.arch.cost import cost
from fpnas_timm.cli import main
from fpnas_timm.spaces import get_space
from fpnas_timm.weights.folder import export_model

ARCH = 'i32-cn_r1_k3_s2_c8_nsw-ir_r1_k3_s2_e2_c12_nre-ir_r2_k5_s1_e2_c16_nre-cn_r1_k1_s1_c16_nsw'


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    net = timm.create_model('fpnas', arch=ARCH, num_classes=2, bn_eps=1e-3).eval()
    folder = tmp_path_factory.mktemp('net') / 'export'
    export_model(net, folder, timm.data.resolve_model_data_config(net), ['cat', 'dog'], {})
    return folder


@torch.no_grad()
def test_the_same_network_as_a_folder(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(['transfer', str(folder), '-o', str(tmp_path / 'copy')]) == 0
    assert 'nothing was cut: the outputs are the same' in capsys.readouterr().out
    a, b = (timm.create_model(f'local-dir:{f}', pretrained=True).eval() for f in (folder, tmp_path / 'copy'))
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(a(x), b(x)) and b.stem.bn.eps == 1e-3
    config = json.loads((tmp_path / 'copy' / 'config.json').read_text())
    assert config['training']['init_from'] == {'name': str(folder), 'license': ''}
    assert config['label_names'] == ['cat', 'dog']
    card = (tmp_path / 'copy' / 'README.md').read_text()
    assert f'Weights started from:** {folder} (license: not recorded)' in card


def test_grey_images(tmp_path: Path) -> None:
    grey = timm.create_model('fpnas', arch=ARCH, num_classes=2, in_chans=1).eval()
    config = {'input_size': (1, 32, 32), 'mean': (0.5,), 'std': (0.25,), 'crop_pct': 1.0, 'interpolation': 'bilinear'}
    export_model(grey, tmp_path / 'grey', config, [], {})
    assert main(['transfer', str(tmp_path / 'grey'), '-o', str(tmp_path / 'copy')]) == 0
    copied = json.loads((tmp_path / 'copy' / 'config.json').read_text())
    assert (copied['pretrained_cfg']['input_size'], copied['input_img_mode']) == ([1, 32, 32], 'L')


def test_another_network_with_images(folder: Path, tiny_images: Path, tmp_path: Path, capsys) -> None:
    smaller = ARCH.replace('c16_nre', 'c12_nre').replace('c8_nsw', 'c6_nsw')
    argv = ['transfer', str(folder), '--arch', smaller, '--images', str(tiny_images), '--json', '--num-classes', '3']
    assert main([*argv, '-o', str(tmp_path / 'out')]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found['fitted'] and not found['contained'] and not found['classifier']
    assert found['blocks']['stem'] == 'from the stem, 6 of 8 channels'
    model = timm.create_model(f'local-dir:{tmp_path}/out', pretrained=True)
    assert str(model.arch) == smaller and model.num_classes == 3
    assert 'label_names' not in json.loads((tmp_path / 'out' / 'config.json').read_text())


def test_describe(capsys: pytest.CaptureFixture) -> None:
    assert main(['transfer', 'mobilenetv2_050', '--describe']) == 0
    string, counts, exact = capsys.readouterr().out.splitlines()
    assert Arch.parse(string).head.channels == 1280
    assert counts.endswith('1,968,680 parameters; 1,000 classes, 3 image channels') and exact.startswith('exact')
    assert main(['transfer', 'lcnet_050', '--describe', '--json']) == 0
    assert json.loads(capsys.readouterr().out)['exact'] is False


def test_the_size_the_classes_and_the_images_of_the_source_are_kept(
        tiny_images: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    net = timm.create_model('fpnas', arch=ARCH, num_classes=2, bn_eps=1e-3, global_pool='max').eval()
    for norm in (m for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d)):
        norm.running_var.fill_(1e-3)
    config = {
        'input_size': (3, 48, 64), 'mean': (0.1, 0.2, 0.3), 'std': (0.4, 0.5, 0.6), 'crop_pct': 1.0,
        'interpolation': 'bilinear', 'crop_mode': 'squash', 'input_img_mode': 'YCbCr',
    }
    net.pretrained_cfg = {**net.pretrained_cfg, 'license': 'cc-by-nc-4.0'}
    export_model(net, tmp_path / 'src', config, ['cat', 'dog'], {})
    macs, params = cost(ARCH, (48, 64), 2)
    for source in (tmp_path / 'src', tmp_path / 'src' / 'model.safetensors'):
        assert main(['transfer', str(source), '--describe']) == 0
        assert f'\n{macs:,} multiply-adds at 48 x 64 pixels, {params:,} parameters; 2 c' in capsys.readouterr().out
    x = torch.randn(2, 3, 48, 64)
    for name, source in (('a', 'src'), ('b', 'src/model.safetensors')):
        assert main(['transfer', str(tmp_path / source), '-o', str(tmp_path / name), '--images', str(tiny_images)]) == 0
        printed = capsys.readouterr()
        assert 'the outputs are the same' in printed.out and 'license' not in printed.err
        with torch.no_grad():
            copied = timm.create_model(f'local-dir:{tmp_path / name}', pretrained=True).eval()
            assert torch.equal(copied(x), net(x))
        written = json.loads((tmp_path / name / 'config.json').read_text())
        assert written['input_img_mode'] == 'YCbCr'
        cfg = {**written['pretrained_cfg'], 'input_img_mode': 'YCbCr'}
        assert {k: tuple(cfg[k]) if isinstance(cfg[k], list) else cfg[k] for k in config} == config
        assert cfg['license'] == written['training']['init_from']['license'] == 'cc-by-nc-4.0'
        assert 'license: cc-by-nc-4.0' in (tmp_path / name / 'README.md').read_text()


def test_grey_images_to_fit_to(tiny_images: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    grey = timm.create_model('fpnas', arch=ARCH, num_classes=2, in_chans=1).eval()
    data = {'input_size': (1, 32, 32), 'mean': (0.5,), 'std': (0.25,), 'input_img_mode': 'L'}
    export_model(grey, tmp_path / 'grey', data, [], {})
    smaller = ARCH.replace('c16_nre', 'c12_nre')
    argv = ['transfer', str(tmp_path / 'grey'), '--arch', smaller, '--images', str(tiny_images)]
    assert main([*argv, '-o', str(tmp_path / 'out')]) == 0
    captured = capsys.readouterr()
    assert 'fitted to' in captured.out and 'grey: the license of its weights is not recorded' in captured.err


def test_space(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(['space', 'list']) == 0
    assert 'fpnas_l0         224      11    1.60e+32' in capsys.readouterr().out
    assert main(['space', 'around', ARCH, '-o', str(tmp_path / 's.json'), '--img-size', '64', '--no-bypass']) == 0
    assert f'written to {tmp_path}/s.json' in capsys.readouterr().out
    space = get_space(str(tmp_path / 's.json'))
    assert space.img_size == 64 and space.rows[1].kernel == (3, 5)
    assert main(['space', 'show', str(tmp_path / 's.json')]) == 0
    assert f'{space.num_archs:,} networks' in capsys.readouterr().out
    assert main(['space', 'around', 'mobilenetv2_035']) == 0
    assert json.loads(capsys.readouterr().out)['stem']['channels'] == 16


@pytest.mark.parametrize(('argv', 'message'), [
    (['transfer', 'resnet18', '--describe'], 'resnet18 is a ResNet: expected a network of timm'),
    (['transfer', 'mobilenetv2_050'], '--output FOLDER is missing'),
    (['transfer', 'mobilenetv2_050', '--describe', '-o', 'x'], '--describe writes nothing'),
    (['transfer', __file__, '--describe'], 'which network do these weights belong to? Give its timm name'),
    (['transfer', 'FOLDER', '--describe', '--source-model', ARCH], 'is a folder, not a file: leave out the model'),
    (['transfer', 'FOLDER', '--describe', '--img-size', '64'], 'not about a network to make: leave out --img-size'),
    (['transfer', 'FOLDER', '-o', 'x', '--img-size', '-5'], '--img-size'),
    (['transfer', 'FOLDER', '-o', 'x', '--img-size', '100000'], '--img-size'),
    (['transfer', 'FOLDER', '-o', 'x', '--num-classes', '99999999'], '--num-classes'),
    (['transfer', 'FOLDER', '-o', 'x', '--seed', '99999999999999999999999'], '--seed'),
    (['transfer', 'FOLDER', '-o', 'x', '--source-model', 'resnet18'], 'is a folder, not a file: leave out the model'),
    (['transfer', 'mobilenetv2_50', '-o', 'x'], 'mobilenetv2_50: neither a file or folder, nor a model of timm'),
    (['transfer', 'FOLDER', '-o', 'FOLDER'], 'not empty: choose another folder'),
    (['transfer', 'FOLDER', '-o', 'x', '--arch', 'fpnas_l0'], 'halves the resolution'),
    (['transfer', 'FOLDER', '-o', 'x', '--arch', 'fpnas_l9'], 'fpnas_l9'),
    (['transfer', 'FOLDER', '-o', 'x', '--images', 'nowhere'], 'nowhere'),
    (['transfer', 'FOLDER', '-o', 'x', '--num-images', '1'], '--num-images'),
    (['space'], 'expected a command: fpnas space list'),
    (['space', 'lsit'], 'lsit'),
    (['space', 'show', 'nowhere.json'], 'nowhere.json: No such file'),
    (['space', 'show', 'fpnas_l9'], "unknown search space 'fpnas_l9'"),
    (['space', 'around'], 'expected one network'),
    (['space', 'around', 'resnet18'], 'resnet18 is a ResNet'),
    (['space', 'around', ARCH, '-o', 'x.txt'], '--output x.txt: expected a .json file'),
    (['space', 'around', ARCH, '--channels', '2'], 'channels: 2.0: expected fractions above 0'),
    (['space', 'around', ARCH, '--img-size', '2'], 'the input size is below the total stride'),
])
def test_mistakes(argv, message, folder, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([str(folder) if a == 'FOLDER' else a for a in argv]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith('error: ') and message in line
    assert not list(tmp_path.iterdir())
