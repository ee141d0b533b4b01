"""Counts of a network beside fvcore's and Table B.1's, and `fpnas flops`, which prints them."""
import json

import pytest
import timm
import torch

from fpnas_timm.arch import Arch
from fpnas_timm.arch.cost import cost
from fpnas_timm.cli.describe import flops_main
from fpnas_timm.zoo import ARCHS, report
from fpnas_timm.zoo.report import describe


def test_flops_command(capsys: pytest.CaptureFixture) -> None:
    assert flops_main([]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in ARCHS)
    assert out.count('agrees') == 7
    assert flops_main(['fpnas_s1pp', '--json', '--img-size', '64']) == 0
    [report] = json.loads(capsys.readouterr().out)
    assert report['fvcore_macs'] == report['cost_macs'] == cost(Arch.parse(ARCHS['fpnas_s1pp']), 64).macs
    assert report['printed_macs'] is None  # it was printed for another size
    assert flops_main([ARCHS['fpnas_s1pp']]) == 0
    assert 'groups.9' in capsys.readouterr().out


@pytest.mark.parametrize(
    'argv, message',
    [
        (['fpnas_l9'], "'fpnas_l9' is neither a model"),
        (['i224-cn_k3_c16_nsw-ir_k4_e1_c8_nre-cn_k1_c8_nre'], "token 3 'ir_k4_e1_c8_nre' at character 20: k4"),
        (['fpnas_l0', '--img-size', '16'], 'img_size 16 is too small'),
    ],
)
def test_flops_command_errors(argv: list[str], message: str, capsys: pytest.CaptureFixture) -> None:
    assert flops_main(argv) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count('\n') == 1


def test_flops_exits_1_when_a_digit_differs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setitem(report.ARCHS, 'fpnas_s1pp', ARCHS['fpnas_s1pp'].replace('c176', 'c184'))
    assert flops_main([]) == 1
    assert 'DIFFERS' in capsys.readouterr().out


def test_feature_maps_with_an_output_stride() -> None:
    """As large as those that the network computes."""
    model = timm.create_model('fpnas_s1pp', features_only=True, output_stride=8)
    with torch.no_grad():
        maps = model(torch.zeros(1, 3, 128, 128))
    told = describe('fpnas_s1pp', output_stride=8)['features']
    assert [(f['channels'], 128 // f['reduction']) for f in told] == [(m.shape[1], m.shape[-1]) for m in maps]
