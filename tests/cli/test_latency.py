"""`fpnas latency`: what it prints, and one sentence for each mistake."""
import json

import pytest
import timm

from fpnas_timm.cli import main
from fpnas_timm.device import latency_measure, runtimes
from fpnas_timm.weights.folder import export_model
from tests.device.machines import MadeUpMachine
from tests.device.tables import made_up_table
from tests.spaces.cases import tiny_space


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'tiny.json').write_text(json.dumps(tiny_space().to_dict()))
    made_up_table(tiny_space()).save('table.json')
    return tmp_path


def test_measure_predict_check(folder, capsys, monkeypatch) -> None:
    machine = MadeUpMachine(tiny_space())
    monkeypatch.setattr(latency_measure, 'Machine', lambda setting: setattr(machine, 'setting', setting) or machine)
    options = '--runtime torch --networks 80 --num-classes 10 -o a.json'
    assert main(f'latency measure --space tiny.json {options}'.split()) == 0
    out = capsys.readouterr().out
    assert 'fitted to 64 networks; on 16 networks: mean error' in out and "Kendall's tau" in out
    assert 'fpnas search --latency-table a.json --target-latency' in out
    arch = str(tiny_space().to_arch(((0, 0, 0, 0, 0), (0, 0, 0, 0, 0))))
    assert main(['latency', 'predict', arch, '--table', 'a.json']) == 0
    assert ' ms (mean error of the table ' in capsys.readouterr().out
    assert main(['latency', 'predict', arch, '--table', 'a.json', '--json']) == 0
    assert json.loads(capsys.readouterr().out)['arch'] == arch
    assert main('latency check --table a.json --networks 8'.split()) == 0
    assert '8 networks: mean error' in capsys.readouterr().out
    (folder / 'arch.txt').write_text(arch)
    assert main(['latency', 'predict', '.', '--table', 'a.json']) == 0


@pytest.mark.parametrize('command, said', [
    ('measure --space nope -o a.json', "unknown search space 'nope'"),
    ('measure --space no.json -o a.json', 'No such file'),
    ('measure --space tiny.json -o a.txt', 'expected a .json file'),
    ('measure --space tiny.json -o table.json', 'is there already'),
    ('measure --space tiny.json -o no/a.json', 'there is no folder'),
    ('measure --space tiny.json -o a.json --runtime torchh', 'expected one of'),
    ('measure --space tiny.json -o a.json --runtime torch --device gpu', 'expected cpu or cuda'),
    ('measure --space tiny.json -o a.json --runtime torch --networks 3', 'expected at least 48'),
    ('measure --space tiny.json -o a.json --threads 0', 'expected 1 or more'),
    ('measure --space tiny.json -o a.json --img-size 1', 'input size is below'),
    ('predict fpnas_l0 --table table.json', 'of images of 32 pixels, fpnas_l0 has 224'),
    ('predict nonsense --table table.json', 'neither a model'),
    ('predict fpnas_l0 --table tiny.json', 'is not a latency table'),
    ('check --table table.json', 'the table is of a machine, this machine is'),
    ('check --table no.json', 'No such file'),
    ('', 'expected a command'),
])
def test_mistakes(folder, capsys, command, said) -> None:
    before = sorted(folder.iterdir())
    assert main(['latency', *command.split()]) == 2
    err = capsys.readouterr().err
    assert said in err and err.startswith('error: ') and err.count('\n') == 1
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize('string, pixels, args, said', [
    (32, (32, 32), {}, ''), (64, (32, 32), {}, ''), (32, (48, 48), {}, 'has 48: measure a table with --img-size 48'),
    (32, (32, 64), {}, 'has 32x64: measure a table of a space of that size'),
    (32, (32, 32), {'output_stride': 8}, ''),
])
def test_a_trained_model_has_the_size_that_it_was_trained_at(folder, capsys, string, pixels, args, said) -> None:
    arch = str(tiny_space().to_arch(((0, 0, 0, 0, 0), (0, 0, 0, 0, 0))).with_img_size(string))
    export_model(timm.create_model('fpnas', arch=arch, **args), folder / 'net', {'input_size': (3, *pixels)}, [], {})
    assert main('latency predict net --table table.json'.split()) == (2 if said else 0)
    assert said in capsys.readouterr().err


def test_a_table_is_not_of_networks_with_an_output_stride(folder, capsys) -> None:
    arch = 'i32-cn_k3_s2_c8_nre-ir_k3_s2_e2_c8_nre-ir_k3_s2_e2_c8_nre-ir_k3_s2_e2_c8_nre-cn_k1_c8_nre'
    model = timm.create_model('fpnas', arch=arch, output_stride=8)
    export_model(model, folder / 'net', {'input_size': (3, 32, 32)}, [], {})
    assert main('latency predict net --table table.json'.split()) == 2
    assert 'net: has output_stride 8, and latency tables are of networks without' in capsys.readouterr().err


def test_a_missing_package_says_what_to_install(folder, capsys, monkeypatch) -> None:
    monkeypatch.setitem(runtimes.RUNTIMES, 'openvino', runtimes.RUNTIMES['openvino']._replace(packages=('no_such',)))
    assert main('latency measure --space tiny.json -o a.json --runtime openvino'.split()) == 2
    assert "pip install 'fpnas-timm[openvino]'" in capsys.readouterr().err


def test_help_does_not_import_torch() -> None:
    import subprocess
    import sys

    code = 'import sys; from fpnas_timm.cli.latency import _parser; _parser(); sys.exit("torch" in sys.modules)'
    assert subprocess.run([sys.executable, '-c', code]).returncode == 0
