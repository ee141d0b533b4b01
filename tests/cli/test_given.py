"""`info`, `flops` and `draw` with the architecture in a file or a folder."""
import json
from pathlib import Path

import pytest

from fpnas_timm.cli import main
from fpnas_timm.cli.given import given_arch
from fpnas_timm.errors import UsageError
from fpnas_timm.zoo.strings import ARCHS

STRING = 'i32-cn_r1_k3_s2_c8_nsw-ir_r2_k3_s2_e3_c16_nre_sp2-cn_r1_k1_s1_c32_nsw'


def write_config(folder: Path, arch: object, name: str = 'fpnas', **args: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    config = {'architecture': name, 'num_classes': 10, 'pretrained_cfg': {'input_size': [1, 48, 48]},
              'model_args': {'arch': arch, **args}}
    (folder / 'config.json').write_text(json.dumps(config))


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A search, a training run, a model's folder and others, in the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'found').mkdir()
    (tmp_path / 'found' / 'arch.txt').write_text(f'{STRING}\n')
    write_config(tmp_path / 'found' / 'extract', STRING)
    (tmp_path / 'old').mkdir()
    (tmp_path / 'old' / 'arch.txt').write_text(STRING.replace('c16', 'c8'))
    write_config(tmp_path / 'old' / 'extract', STRING)
    write_config(tmp_path / 'run' / 'export', STRING, output_stride=8, global_pool='catavgmax')
    write_config(tmp_path / 'model', STRING)
    write_config(tmp_path / 'fpnas_l0', STRING)
    write_config(tmp_path / 'broken', 'i32-cn_r1')
    write_config(tmp_path / 'odd', 7)
    write_config(tmp_path / 'other', 'x', 'resnet18')
    write_config(tmp_path / 'named', ARCHS['fpnas_s1pp'], 'fpnas_s1pp')
    config = json.loads((tmp_path / 'named' / 'config.json').read_text())
    (tmp_path / 'named' / 'config.json').write_text(json.dumps({**config, 'model_args': {}}))
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'picture.png').write_bytes(b'\x89PNG\xff')
    return tmp_path


@pytest.mark.parametrize(('given', 'label'), [
    (STRING, 'architecture'), ('found', 'found'), ('found/arch.txt', 'arch.txt'), ('run', 'run'),
    ('local-dir:run/export', 'export'), ('model/', 'model'),
])
def test_where_it_is_found(places: Path, given: str, label: str) -> None:
    found = given_arch(given)
    assert (str(found.arch), found.label) == (STRING, label)


@pytest.mark.parametrize(('given', 'sizes'), [
    (STRING, {}), ('found/arch.txt', {}), ('old', {}),  # its `extract` is of another network
    ('found', {'num_classes': 10, 'in_chans': 1, 'img_size': 48}),
    ('run', {'num_classes': 10, 'in_chans': 1, 'img_size': 48, 'output_stride': 8, 'global_pool': 'catavgmax'}),
    ('named', {'num_classes': 10, 'in_chans': 1, 'img_size': 48}),
])
def test_what_is_counted(places: Path, given: str, sizes: dict, capsys: pytest.CaptureFixture[str]) -> None:
    """As many classes and channels as the model has; against fvcore and the parameters of the built network."""
    found = given_arch(given)
    assert found.sizes == sizes
    assert main(['flops', given, '--json']) == 0
    [row] = json.loads(capsys.readouterr().out)
    assert row['agrees'] and row['img_size'] == sizes.get('img_size', 32)
    assert sum(part['macs'] for part in row['parts']) == row['cost_macs'] == row['fvcore_macs']
    assert main(['info', given, '--json']) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told['macs'], told['params']) == (row['cost_macs'], row['cost_params'])
    assert (told['num_classes'], told['in_chans']) == ((10, 1) if sizes else (1000, 3))
    assert main(['flops', given, '--no-check']) == 0
    assert ('counted as in the folder: 10 classes, images of 1 channel\n' in capsys.readouterr().out) == bool(sizes)


def test_a_name_comes_before_a_folder(places: Path) -> None:
    assert str(given_arch('fpnas_l0').arch) == ARCHS['fpnas_l0']
    assert str(given_arch('./fpnas_l0').arch) == STRING


@pytest.mark.parametrize(('given', 'message'), [
    ('empty', '^empty: no architecture there: expected the folder of a search'),
    ('odd', r'^odd/config\.json: model_args: arch is 7: expected an architecture string'),
    ('other', r'^other/config\.json: is of .resnet18., which is no network of this package'),
    ('broken', r'^broken/config\.json: .*'),
    ('model/config.json', r'^model/config\.json: not an architecture string: give its folder, model$'),
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
    assert (told['arch'], told['label'], told['weights']) == (STRING, 'run', [])
    (places / 'run' / 'export' / 'model.safetensors').write_bytes(b'')
    assert main(['info', 'run']) == 0
    assert capsys.readouterr().out.endswith('weights        local-dir:run/export\n')
    assert main(['flops', 'found', '--json']) == 0
    [row] = json.loads(capsys.readouterr().out)
    assert (row['model'], row['agrees']) == ('found', True)
    assert main(['draw', 'found/arch.txt', '-o', 'net.svg']) == 0
    assert 'arch.txt' in Path('net.svg').read_text()
    assert main(['info', 'empty']) == 2
    assert 'no architecture there' in capsys.readouterr().err
