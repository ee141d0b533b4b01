"""`fpnas space decode` and `sample`."""
import json
from pathlib import Path

import pytest

from fpnas_timm.arch import Arch, Conv
from fpnas_timm.arch.cost import cost
from fpnas_timm.cli import main
from fpnas_timm.spaces import MBConvSpace, Row

from ..draw.searches import space as tiny_space


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / 'space.json'
    path.write_text(json.dumps(tiny_space().to_dict()))
    return str(path)


def test_decode(file: str, capsys: pytest.CaptureFixture) -> None:
    assert main(['space', 'decode', file, '--macs', '600K', '700K', '--num-classes', '10', '--json']) == 0
    found = json.loads(capsys.readouterr().out)
    arch = Arch.parse(found['arch'])
    assert arch in tiny_space() and cost(arch, num_classes=10) == (found['macs'], found['params'])
    assert 600_000 <= found['macs'] <= 700_000 and found['bound'] == pytest.approx(found['log_prob'])
    assert main(['space', 'decode', file]) == 0
    assert Arch.parse(capsys.readouterr().out) in tiny_space()


def test_show_has_the_smallest_choices(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Whatever their order: the smallest of each variable, which are not the first ones."""
    rows = [Row((3, 1), (16, 8), 1, 2, kernel=(5, 3), act=('re', 'sw'), splits=(0,))]
    space = MBConvSpace.from_rows('turned', Conv(3, 1, 8, 'sw'), rows, Conv(1, 1, 16, 'sw'), 16)
    (tmp_path / 'space.json').write_text(json.dumps(space.to_dict()))
    assert main(['space', 'show', str(tmp_path / 'space.json')]) == 0
    least = cost('i16-cn_r1_k3_s1_c8_nsw-ir_r1_k3_s2_e1_c8_nre-cn_r1_k1_s1_c16_nsw')
    assert capsys.readouterr().out.splitlines()[-1] == (
        f'smallest choice of each: {least.macs:,} multiply-adds, {least.params:,} parameters'
    )


@pytest.mark.parametrize(('args', 'status', 'said'), [
    (['--macs', '1'], 1, 'the nearest has'), (['--macs', '2', '1'], 2, 'is empty'), (['--macs', 'x'], 2, '--macs'),
    (['--params', '1', '2', '3'], 2, 'expected one number, or two'), (['--macs'], 2, 'expected one value or more'),
    (['--num-classes', '0'], 2, '--num-classes 0'),
])
def test_wrong_budgets(args: list[str], status: int, said: str, file: str, capsys: pytest.CaptureFixture) -> None:
    assert main(['space', 'decode', file, *args]) == status
    assert said in capsys.readouterr().err


def test_sample(file: str, capsys: pytest.CaptureFixture) -> None:
    assert main(['space', 'sample', file, '--count', '20', '--seed', '3', '--json']) == 0
    found = json.loads(capsys.readouterr().out)
    assert len({row['arch'] for row in found}) > 15
    assert all(cost(row['arch']) == (row['macs'], row['params']) for row in found)
    assert main(['space', 'sample', file, '--count', '3', '--seed', '3']) == 0
    assert [line.split()[-1] for line in capsys.readouterr().out.splitlines()[1:]] == [r['arch'] for r in found[:3]]
    for name in ('decode', 'sample'):
        assert main(['space', name, 'nowhere.json']) == 2
        assert 'nowhere.json' in capsys.readouterr().err
