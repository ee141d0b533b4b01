"""The demo, shortened: every file that it promises, and a budget that cannot be met."""

import json
from pathlib import Path

import pytest
import timm

from fpnas_timm import demo
from fpnas_timm.arch import Arch
from fpnas_timm.cost import cost


def test_whole_path(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert demo.main(['--output', str(tmp_path), '--epochs', '8', '--target-macs', '2e6']) == 0
    out = capsys.readouterr().out
    assert 'same logits' in out
    accuracy = float(out.split('accuracy ')[1].split('%')[0])
    assert accuracy >= 90
    arch = Arch.parse((tmp_path / 'arch.txt').read_text())
    assert 0.95 * 2e6 <= cost(arch, num_classes=10).macs <= 2e6
    assert arch in demo.digits_space()
    config = json.loads((tmp_path / 'model/config.json').read_text())
    assert config['architecture'] == 'fpnas'
    assert config['model_args']['arch'] == str(arch)
    assert (tmp_path / 'model/model.safetensors').exists()
    assert (tmp_path / 'arch.png').read_bytes().startswith(b'\x89PNG')
    assert len((tmp_path / 'summary.csv').read_text().splitlines()) == 9
    assert len(list((tmp_path / 'data').glob('*/*/*.png'))) == 1797
    model = timm.create_model(f'local-dir:{tmp_path}/model', pretrained=True)
    assert model.default_cfg['input_size'] == (3, 32, 32)
    assert model.num_classes == 10


def test_budget_out_of_reach(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert demo.main(['--output', str(tmp_path / 'x'), '--target-macs', '1e3']) == 2
    err = capsys.readouterr().err
    assert 'the nearest has' in err
    assert not (tmp_path / 'x').exists()
