"""The demo, shortened: every file that it promises, and a budget that cannot be met."""

import json
from pathlib import Path

import pytest
import timm

from fpnas_timm.arch import Arch
from fpnas_timm.arch.cost import cost
from fpnas_timm.cli import demo


def test_whole_path(tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    short = [*demo.SEARCH, '--warmup-epochs', '1', '--joint-epoch', '2']
    monkeypatch.setattr(demo, 'SEARCH', short)
    assert demo.main(['--output', str(tmp_path), '--search-epochs', '3', '--epochs', '9', '--target-macs', '500K']) == 0
    out = capsys.readouterr().out
    assert 'same logits' in out
    assert float(out.split('accuracy ')[1].split('%')[0]) >= 90
    arch = Arch.parse((tmp_path / 'search' / 'arch.txt').read_text())
    assert 490_000 <= cost(arch, num_classes=10).macs <= 500_000
    assert arch in demo.digits_space()
    config = json.loads((tmp_path / 'train' / 'export' / 'config.json').read_text())
    assert config['architecture'] == 'fpnas'
    assert config['model_args']['arch'] == str(arch)
    assert len(list((tmp_path / 'data').glob('*/*/*.png'))) == 1797
    for picture in ('search/arch.png', 'search/course.png', 'search/distribution.png', 'train/curves.png'):
        assert (tmp_path / picture).read_bytes().startswith(b'\x89PNG')
    assert str(arch) in (tmp_path / 'search' / 'report.html').read_text()
    model = timm.create_model(f'local-dir:{tmp_path}/train/export', pretrained=True)
    assert model.default_cfg['input_size'] == (3, 16, 16)
    assert model.num_classes == 10


def test_budget_out_of_reach(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert demo.main(['--output', str(tmp_path), '--target-macs', '1K']) == 2
    assert 'the nearest has' in capsys.readouterr().err
    assert not (tmp_path / 'search').exists()
