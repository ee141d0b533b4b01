"""What `--init-from` may name, and the sentence for each that cannot be opened."""
import pickle
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from fpnas_timm.errors import UsageError
from fpnas_timm.model.network import FPNAS
from fpnas_timm.transfer.sources import describe_source, open_source
from fpnas_timm.weights.folder import export_model
from fpnas_timm.zoo.models import register_arch

from .nets import images, lively

ARCH = 'i32-cn_k3_s2_c8_nsw-ir_k3_s2_e2_c12_nre-cn_k1_c16_nsw'


@pytest.fixture(scope='module')
def net() -> FPNAS:
    return timm.create_model('fpnas', arch=ARCH, num_classes=2)


@torch.no_grad()
def test_folders_files_and_models_of_timm(tmp_path: Path, net: FPNAS):
    x = images(32).float()
    config = timm.data.resolve_model_data_config(net)
    export_model(net.eval(), tmp_path / 'run' / 'export', config, ['cat', 'dog'], {})
    save_file({k: v.contiguous() for k, v in net.state_dict().items()}, tmp_path / 'net.safetensors')
    torch.save({'state_dict': {f'module.{k}': v for k, v in net.state_dict().items()}}, tmp_path / 'net.pth')
    for source, model in (
            (f'local-dir:{tmp_path}/run/export', None), (str(tmp_path / 'run'), None),
            (str(tmp_path / 'net.safetensors'), ARCH), (str(tmp_path / 'net.pth'), ARCH),
    ):
        opened = open_source(source, model)
        assert torch.equal(opened.model(x), net(x)), source
        assert not opened.model.training
    assert open_source(str(tmp_path / 'run')).label_names == ('cat', 'dog')
    theirs = lively(timm.create_model('mobilenetv2_035', num_classes=3)).float()
    torch.save(theirs.state_dict(), tmp_path / 'theirs.pth')
    opened = open_source(str(tmp_path / 'theirs.pth'), 'mobilenetv2_035')
    assert torch.allclose(opened.model(x), theirs(x), rtol=1e-4, atol=1e-4)
    assert opened.name == 'theirs.pth'


@torch.no_grad()
def test_grey_runs_and_files_of_this_package_say_all_of_their_network(tmp_path: Path):
    grey = lively(timm.create_model('fpnas', arch=ARCH, num_classes=2, in_chans=1, bn_eps=1e-3)).float()
    config = {'input_size': (1, 48, 64), 'mean': (0.1,), 'std': (0.4,), 'crop_mode': 'border'}
    export_model(grey, tmp_path / 'run' / 'export', config, ['cat', 'dog'], {})
    x = images(48, in_chans=1).float()
    for source in (f'local-dir:{tmp_path}/run', str(tmp_path / 'run/export/model.safetensors')):
        opened = open_source(source)
        assert torch.equal(opened.model(x), grey(x)), source
        assert (opened.label_names, opened.img_mode, opened.model.in_chans) == (('cat', 'dog'), 'L', 1)
        found = dict(timm.data.resolve_model_data_config(opened.model))
        assert {k: tuple(v) if isinstance(v, list) else v for k, v in found.items() if k in config} == config


def test_the_network_of_a_file_may_be_named_in_any_way(tmp_path: Path):
    net = timm.create_model('fpnas', arch=ARCH, num_classes=2, bn_eps=1e-3)
    config = {'input_size': (3, 48, 64), 'mean': (0.5,) * 3, 'crop_mode': 'squash'}
    export_model(net, tmp_path / 'net', config, [], {})
    short, canonical = ARCH, str(net.arch)
    assert short != canonical
    register_arch('test_sources_net', ARCH)
    for model in (None, short, canonical, 'test_sources_net'):
        opened = open_source(str(tmp_path / 'net' / 'model.safetensors'), model).model
        assert opened.stem.bn.eps == 1e-3
        found = timm.data.resolve_model_data_config(opened)
        assert {k: tuple(v) if isinstance(v, list) else v for k, v in found.items() if k in config} == config
    theirs = timm.create_model('mobilenetv2_035', num_classes=3, in_chans=1)
    state = {'state_dict': theirs.state_dict(), 'args': {}, 'data_config': {'mean': [0.3], 'crop_pct': 0.7}}
    torch.save(state, tmp_path / 'theirs.pth.tar')
    opened = open_source(str(tmp_path / 'theirs.pth.tar'), 'mobilenetv2_035', 1).model
    found = timm.data.resolve_model_data_config(opened)
    assert (found['mean'], found['crop_pct']) == ((0.3,), 0.7)
    described = describe_source(str(tmp_path / 'theirs.pth.tar'), 'mobilenetv2_035')
    assert described.num_classes == 3 and described.conv_stem.in_channels == 1
    assert str(describe_source(f'local-dir:{tmp_path}/net').arch) == canonical


def test_a_license_that_is_not_recorded_stays_so(tmp_path: Path):
    net = timm.create_model('fpnas', arch=ARCH, num_classes=2)
    net.pretrained_cfg = {**net.pretrained_cfg, 'license': 'apache-2.0'}  # as older exports had it
    start = {'init_from': {'name': 'w.safetensors', 'license': ''}}
    export_model(net, tmp_path / 'net', timm.data.resolve_model_data_config(net), [], start)
    assert open_source(str(tmp_path / 'net')).record == {'name': 'w.safetensors', 'license': ''}
    assert open_source(str(tmp_path / 'net' / 'model.safetensors')).license == ''


class Harmful:
    def __reduce__(self) -> tuple:
        return print, ('executed',)


def test_what_cannot_be_opened_ends_in_a_sentence(tmp_path: Path, net: FPNAS, capsys: pytest.CaptureFixture):
    save_file({k: v.contiguous() for k, v in net.state_dict().items()}, tmp_path / 'net.safetensors')
    whole = (tmp_path / 'net.safetensors').read_bytes()
    (tmp_path / 'cut.safetensors').write_bytes(whole[:1000])
    (tmp_path / 'no.pth').write_text('not weights')
    with open(tmp_path / 'bad.pth', 'wb') as f:
        pickle.dump({'state_dict': Harmful()}, f)
    torch.save({'x': Harmful()}, tmp_path / 'bad2.pth')
    (tmp_path / 'empty').mkdir()
    cases = [
        ('net.safetensors', None, 'which network do these weights belong to'),
        ('net.safetensors', 'mobilenetv2_035', 'not the weights of mobilenetv2_035'),
        ('net.safetensors', 'i32-cn_k3', 'i32-cn_k3: .*at least three tokens'),
        ('net.safetensors', 'mobilenetv2_34', 'mobilenetv2_34: no model with this name .*did you mean'),
        ('cut.safetensors', ARCH, 'cannot be read as weights'),
        ('no.pth', None, '(cannot be read as weights|not a file of tensors alone)'),
        ('no.pth', ARCH, '(cannot be read as weights|not a file of tensors alone)'),
        ('bad.pth', ARCH, '(cannot be read as weights|not a file of tensors alone)'),
        ('bad2.pth', ARCH, '(cannot be read as weights|not a file of tensors alone)'),
        ('missing.pth', ARCH, 'no such file or folder'),
        ('empty', None, 'no model there'),
    ]
    for file, model, message in cases:
        with pytest.raises(UsageError, match=message) as e:
            open_source(str(tmp_path / file), model)
        assert '\n' not in str(e.value)
    with pytest.raises(UsageError, match='is a model, not a file'):
        open_source('mobilenetv2_050.lamb_in1k', 'mobilenetv2_050')
    with pytest.raises(UsageError, match=r'mobilenetv2_50: neither a file or folder, nor .*; did you mean'):
        open_source('mobilenetv2_50')
    with pytest.raises(UsageError, match=r'resnet18 is a ResNet'):
        open_source(_saved_resnet(tmp_path), 'resnet18')
    assert 'executed' not in capsys.readouterr().out


def _saved_resnet(folder: Path) -> str:
    torch.save(timm.create_model('resnet18').state_dict(), folder / 'resnet.pth')
    return str(folder / 'resnet.pth')
