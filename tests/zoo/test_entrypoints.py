"""The entrypoints in timm's registry: names, pretrained cfgs, and an import that has no side effects."""
import subprocess
import sys

import pytest
import timm
import torch
from timm.data import resolve_data_config
from timm.models import get_pretrained_cfg
from torch import nn

import fpnas_timm
from fpnas_timm.model.network import FPNAS
from fpnas_timm.paper import TABLE_B1
from fpnas_timm.zoo import ARCHS
from fpnas_timm.zoo.models import default_cfgs
from tests.model.nets import LONG, SHORT, SMALL, make, no_grad  # noqa: F401


def test_registered_names():
    names = ['fpnas', *ARCHS]
    assert sorted(timm.list_models('fpnas*')) == sorted(names)
    assert list(ARCHS) == list(TABLE_B1)
    assert timm.list_models('fpnas*', pretrained=True) == []
    assert all(timm.is_model(n) for n in names)


def test_no_cfg_claims_weights():
    ours = {name for name in default_cfgs if name.startswith('fpnas')}  # other tests may have registered their own
    assert ours == {'fpnas', *ARCHS}
    for name in ours:
        cfg = get_pretrained_cfg(name)
        assert not (cfg.url or cfg.hf_hub_id or cfg.file or cfg.has_weights), name


@pytest.mark.parametrize('name', ARCHS)
def test_named_models_on_the_meta_device(name):
    model = timm.create_model(name, device='meta')
    size = TABLE_B1[name].img_size
    assert str(model.arch) == ARCHS[name] and model.arch.img_size == size
    cfg = model.pretrained_cfg
    assert cfg['input_size'] == (3, size, size)
    x = torch.empty(2, 3, size, size, device='meta')
    assert model.forward_features(x).shape[2:] == cfg['pool_size']
    assert model(x).shape == (2, 1000)
    modules = dict(model.named_modules())
    assert isinstance(modules[cfg['first_conv']], nn.Conv2d) and isinstance(modules[cfg['classifier']], nn.Linear)


@pytest.mark.parametrize(('arch', 'size', 'pool'), [
    (SMALL, 64, 2),
    (SMALL.replace('i64', 'i97'), 97, 4),
    (SHORT, 32, 4),
    (LONG.replace('i64', 'i224'), 224, 4),
])
def test_cfg_of_fpnas_follows_the_string(arch, size, pool):
    model = timm.create_model('fpnas', arch=arch)
    assert model.pretrained_cfg['input_size'] == (3, size, size)
    assert model.pretrained_cfg['pool_size'] == (pool, pool)
    assert resolve_data_config({}, model=model)['input_size'] == (3, size, size)
    assert get_pretrained_cfg('fpnas').input_size == (3, 224, 224)  # the registry's own stays
    overlay = dict(input_size=(3, 48, 48), crop_pct=1.0)
    model = timm.create_model('fpnas', arch=arch, pretrained_cfg_overlay=overlay)
    assert model.pretrained_cfg['input_size'] == (3, 48, 48) and model.pretrained_cfg['crop_pct'] == 1.0


def test_arch_of_the_model():
    model = make('cn_k3_s2_c8_nsw-ir_e3_k3_s2_nre_c16-cn_c32_nsw_k1')
    assert isinstance(model, FPNAS) and isinstance(model.arch, fpnas_timm.Arch)
    assert str(model.arch) == 'i224-cn_r1_k3_s2_c8_nsw-ir_r1_k3_s2_e3_c16_nre-cn_r1_k1_s1_c32_nsw'


def test_import_warns_of_nothing_and_stays_off_the_network():
    code = (
        'import socket\n'
        'class Refused(socket.socket):\n'
        '    def __init__(self, *args, **kwargs):\n'
        '        raise SystemExit("import opens a socket")\n'
        'socket.socket = Refused\n'
        'import fpnas_timm, timm\n'
        'model = timm.create_model("fpnas_s1pp")\n'
        'print("fpnas_l2" in timm.list_models())\n'
    )
    run = subprocess.run(
        [sys.executable, '-W', 'error::UserWarning', '-c', code], capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == ['True'] and run.stderr == ''
