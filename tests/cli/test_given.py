"""`info`, `flops` and `draw` with the architecture in a file or a folder."""
import json
from pathlib import Path

import pytest

from fpnas_timm.cli import main
from fpnas_timm.cli.given import given_arch
from fpnas_timm.errors import UsageError
from fpnas_timm.zoo.strings import ARCHS

STRING = 'i32-cn_r1_k3_s2_c8_nsw-ir_r2_k3_s2_e3_c16_nre_sp2-cn_r1_k1_s1_c32_nsw'


def write_config(folder: Path, arch: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    config = {'architecture': 'fpnas', 'num_classes': 10, 'model_args': {'arch': arch}}
    (folder / 'config.json').write_text(json.dumps(config))


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A search, a training run, a model's folder and others, in the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'found').mkdir()
    (tmp_path / 'found' / 'arch.txt').write_text(f'{STRING}\n')
    write_config(tmp_path / 'run' / 'export', STRING)
    write_config(tmp_path / 'model', STRING)
    write_config(tmp_path / 'fpnas_l0', STRING)
    write_config(tmp_path / 'broken', 'i32-cn_r1')
    write_config(tmp_path / 'odd', 7)
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'picture.png').write_bytes(b'\x89PNG\xff')
    return tmp_path


@pytest.mark.parametrize(('given', 'label'), [
    (STRING, 'architecture'), ('found', 'found'), ('found/arch.txt', 'arch.txt'), ('run', 'run'),
    ('local-dir:run/export', 'export'), ('model/', 'model'),
])
def test_where_it_is_found(places: Path, given: str, label: str) -> None:
    arch, found = given_arch(given)
    assert (str(arch), found) == (STRING, label)


def test_a_name_comes_before_a_folder(places: Path) -> None:
    assert str(given_arch('fpnas_l0')[0]) == ARCHS['fpnas_l0']
    assert str(given_arch('./fpnas_l0')[0]) == STRING


@pytest.mark.parametrize(('given', 'message'), [
    ('empty', '^empty: no architecture there: expected the folder of a search'),
    ('odd', '^odd: no architecture there'),
    ('broken', r'^broken/config\.json: .*'),
    ('picture.png', r'^picture\.png: not text: expected an architecture string'),
    ('nowhere', "^'nowhere' is neither a model .* nor an architecture string"),
    ('run\0', 'is neither a model'),
])
def test_no_architecture(places: Path, given: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        given_arch(given)


def test_the_commands(places: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['info', 'run', '--json']) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told['arch'], told['label']) == (STRING, 'run')
    assert main(['flops', 'found', '--json']) == 0
    [row] = json.loads(capsys.readouterr().out)
    assert (row['model'], row['agrees'], row['cost_macs']) == ('found', True, told['macs'])
    assert main(['draw', 'found/arch.txt', '-o', 'net.svg']) == 0
    assert 'arch.txt' in Path('net.svg').read_text()
    assert main(['info', 'empty']) == 2
    assert 'no architecture there' in capsys.readouterr().err
