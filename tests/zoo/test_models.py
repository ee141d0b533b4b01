"""The seven models: Table B.1's digits, and strings that the exact solver finds again."""

import json
import subprocess
import sys

import pytest
import timm

import fpnas_timm
from fpnas_timm.arch import Arch
from fpnas_timm.arch.cost import cost
from fpnas_timm.cli.describe import flops_main, reconstruct_main
from fpnas_timm.paper import TABLE_B1
from fpnas_timm.spaces import get_space
from fpnas_timm.spaces.decode import runner_up_gap
from fpnas_timm.zoo import ARCHS, reconstruct, report

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


@pytest.mark.parametrize('name', PRINTED)
def test_string_is_found_again(name: str) -> None:
    found = reconstruct.reconstruct(name)
    assert str(found.arch) == ARCHS[name]
    assert found.bound - found.log_prob <= 1e-6  # the proof
    assert found.cost == cost(found.arch)


@pytest.mark.parametrize('name', ['fpnas_s1pp', 'fpnas_l0'])
def test_optimum_is_the_only_one(name: str) -> None:
    space, found = get_space(name), reconstruct.reconstruct(name)
    gap = runner_up_gap(found, space, reconstruct.section_b_prior(space), *reconstruct.budget_windows(name))
    assert gap > 1e-4  # a hundred times the solver's tolerance


def test_prior_says_what_section_b_says() -> None:
    space = get_space('fpnas_l2')
    prior = reconstruct.section_b_prior(space)
    five_over_three = [p['kernel'][2] - p['kernel'][1] for p in prior]
    assert five_over_three == sorted(five_over_three)
    assert five_over_three[0] < 0 < five_over_three[-1]
    best_splits = [space.groups[i]['splits'][p['splits'].argmax()] for i, p in enumerate(prior)]
    assert best_splits == sorted(best_splits)
    assert (best_splits[0], best_splits[-1]) == (0, 4)
    assert all(abs(sum(2.718281828459045**x for x in v) - 1) < 1e-9 for p in prior for v in p.values())


def test_registered_and_without_weights() -> None:
    assert timm.list_models('fpnas*') == ['fpnas', *sorted(PRINTED)]
    assert timm.list_models('fpnas*', pretrained=True) == []
    with pytest.raises(RuntimeError, match='No pretrained weights exist for fpnas_l2'):
        timm.create_model('fpnas_l2', pretrained=True)


def test_flops_command(capsys: pytest.CaptureFixture) -> None:
    assert flops_main([]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in PRINTED)
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


def test_reconstruct_command(capsys: pytest.CaptureFixture) -> None:
    assert reconstruct_main(['fpnas_s4pp']) == 0
    assert capsys.readouterr().out.strip() == ARCHS['fpnas_s4pp']


def test_budget_out_of_reach_is_one_sentence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(reconstruct, 'budget_windows', lambda name: ((10**9, 10**9 + 10), (10**6, 10**6 + 1)))
    assert reconstruct_main(['fpnas_s1pp']) == 1
    err = capsys.readouterr().err
    assert 'the nearest has' in err
    assert err.count('\n') == 1


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
