"""The seven models: every digit that Table B.1 prints."""
import subprocess
import sys

import pytest
import timm

import fpnas_timm
from fpnas_timm.arch import Arch
from fpnas_timm.paper import TABLE_B1
from fpnas_timm.spaces import get_space
from fpnas_timm.zoo import ARCHS, report

PRINTED = {  # supplement, Table B.1, typed once more: input size, FLOPS (M), params (M)
    'fpnas_s1pp': (128, '66', '5.9'),
    'fpnas_s2pp': (160, '98', '5.8'),
    'fpnas_s3pp': (192, '147', '5.8'),
    'fpnas_s4pp': (224, '268', '6.4'),
    'fpnas_l0': (224, '399', '11.3'),
    'fpnas_l1': (240, '728', '15.8'),
    'fpnas_l2': (256, '997', '20.7'),
}


@pytest.mark.parametrize('name', PRINTED)
def test_every_printed_digit(name: str) -> None:
    size, macs, params = PRINTED[name]
    model = timm.create_model(name)
    assert model.default_cfg['input_size'] == (3, size, size)
    assert f'{report.count(model, size).macs / 1e6:.0f}' == macs
    assert f'{sum(p.numel() for p in model.parameters()) / 1e6:.1f}' == params
    row = TABLE_B1[name]
    assert (row.img_size, str(row.macs), str(row.params)) == PRINTED[name]
    assert str(model.arch) == ARCHS[name] == str(Arch.parse(ARCHS[name]))
    assert model.arch in get_space(name)


def test_registered_and_without_weights() -> None:
    assert timm.list_models('fpnas*') == ['fpnas', *sorted(PRINTED)]
    assert timm.list_models('fpnas*', pretrained=True) == []
    with pytest.raises(RuntimeError, match='No pretrained weights exist for fpnas_l2'):
        timm.create_model('fpnas_l2', pretrained=True)


def test_public_names() -> None:
    assert fpnas_timm.Arch is Arch
    assert issubclass(fpnas_timm.ArchError, ValueError)
    assert fpnas_timm.get_space('fpnas_l0').num_archs > 10**32


def test_no_torch_below_the_blocks() -> None:
    """arch, spaces, cost and the decode need no torch (the package itself registers models, and so does)."""
    code = (
        'import importlib.util, sys, types\n'
        "spec = importlib.util.find_spec('fpnas_timm')\n"
        "package = types.ModuleType('fpnas_timm'); package.__path__ = spec.submodule_search_locations\n"
        "sys.modules['fpnas_timm'] = package\n"
        'import fpnas_timm.arch.cost, fpnas_timm.spaces.decode\n'
        "assert 'torch' not in sys.modules and 'timm' not in sys.modules\n"
    )
    assert subprocess.run([sys.executable, '-c', code], check=False).returncode == 0
