"""The manifest and models with names of one's own."""
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.models import save_for_hf

import fpnas_timm
from fpnas_timm.errors import UsageError
from fpnas_timm.weights.checks import sha256_of
from fpnas_timm.weights.manifest import OWN, ManifestEntry, read_all, read_manifest
from fpnas_timm.zoo import ARCHS, register_arch, resolve_arch

ARCH = 'i32-cn_r1_k3_s2_c8_nsw-ir_r1_k3_s2_e3_c16_nre_sp2-ir_r1_k5_s1_e2_c24_nsw_sp1-cn_r1_k1_s1_c32_nsw'
ENTRY = dict(
    model='my_net.v1', sha256='0' * 64, metrics={'top1': 70.0}, recipe='fpnas_l0', license='mit', repo_id='me/net',
    revision='a' * 40, arch=ARCH, pretrained_cfg={'num_classes': 10, 'input_size': [3, 32, 32]},
)


def write(path: Path, *entries: Any) -> Path:
    path.write_text(json.dumps({'weights': list(entries)}))
    return path


def test_the_package_lists_nothing_yet() -> None:
    """If this fails, weights were published: then say so in README, docs and model cards, and change this test."""
    assert read_manifest(OWN) == []


def test_entry_as_written(tmp_path: Path) -> None:
    [entry] = read_manifest(write(tmp_path / 'zoo.json', ENTRY))
    assert (entry.name, entry.tag, entry.source) == ('my_net', 'v1', f'me/net@{"a" * 40}')
    assert json.loads(json.dumps(entry.to_dict())) == ENTRY


@pytest.mark.parametrize('change, words', [
    ({'sha': 1}, "unknown field 'sha'"),
    ({'sha256': None}, "'sha256' is missing"),
    ({'sha256': 'abc'}, 'expected 64 hexadecimal digits'),
    ({'model': 'MyNet'}, 'expected NAME.TAG'),
    ({'revision': 'main'}, 'expected a commit'),
    ({'revision': None}, 'expected either repo_id and revision, or folder'),
    ({'folder': 'x'}, 'expected either repo_id and revision, or folder'),
    ({'repo_id': 'net'}, 'expected ORG/NAME'),
    ({'metrics': [1]}, 'metrics: expected names and numbers'),
    ({'arch': ARCH.replace('k5', 'k4')}, 'k4: expected one of'),
    ({'pretrained_cfg': {'url': 'x'}}, 'pretrained_cfg: expected an object with some of'),
    ({'pretrained_cfg': {'input_size': 32}}, 'input_size is 32'),
    ({'pretrained_cfg': {'num_classes': -1}}, 'num_classes is -1'),
])
def test_entries_that_are_none(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    entry = {k: v for k, v in {**ENTRY, **change}.items() if v is not None}
    with pytest.raises(UsageError, match='entry 1') as e:
        read_manifest(write(tmp_path / 'zoo.json', entry))
    assert words in str(e.value) and '\n' not in str(e.value)


@pytest.mark.parametrize('text, words', [
    (None, 'cannot be read'), ('{', 'not JSON'), ('[]', 'expected {"weights"'),
    (json.dumps({'weights': [ENTRY, ENTRY]}), 'stands there twice'), ('{"weights": [3]}', 'expected an object'),
])
def test_files_that_are_none(tmp_path: Path, text: str | None, words: str) -> None:
    path = tmp_path / 'zoo.json'
    if text is not None:
        path.write_text(text)
    with pytest.raises(UsageError, match=r'zoo\.json') as e:
        read_manifest(path)
    assert words in str(e.value)


def test_read_all_names_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('FPNAS_MANIFEST', str(tmp_path / 'none.json'))
    with pytest.raises(UsageError, match=r'FPNAS_MANIFEST=.*none\.json: cannot be read'):
        read_all()


def imported(manifest: Path, code: str) -> subprocess.CompletedProcess:
    env = {**os.environ, 'FPNAS_MANIFEST': str(manifest)}
    return subprocess.run(
        [sys.executable, '-c', f'import timm, fpnas_timm\n{code}'], env=env, capture_output=True, text=True, check=False
    )


def test_company_zoo_on_a_disk(tmp_path: Path) -> None:
    """Named models with weights in folders: no Hub at all, and a package's model with weights of one's own."""
    entries = []
    for name, arch in (('their_net', ARCH), ('fpnas_s1pp', ARCHS['fpnas_s1pp'])):
        torch.manual_seed(0)
        save_for_hf(timm.create_model('fpnas', arch=arch, num_classes=10), tmp_path / name, safe_serialization=True)
        entry = {k: v for k, v in ENTRY.items() if k not in ('repo_id', 'revision', 'pretrained_cfg')}
        entries.append({
            **entry, 'model': f'{name}.shop', 'arch': arch, 'folder': name, 'pretrained_cfg': {'num_classes': 10},
            'sha256': sha256_of(tmp_path / name / 'model.safetensors'),
        })
    write(tmp_path / 'zoo.json', *entries)
    run = imported(
        tmp_path / 'zoo.json',
        "print(timm.list_pretrained('*shop'))\n"
        "print(timm.create_model('their_net', pretrained=True).pretrained_cfg['license'])\n"
        "print(timm.create_model('fpnas_s1pp', pretrained=True, num_classes=3).num_classes)\n"
        "print(timm.create_model('fpnas_s1pp').num_classes)\n",
    )
    assert run.stdout == "['fpnas_s1pp.shop', 'their_net.shop']\nmit\n3\n10\n", run.stderr
    entries[0]['sha256'] = '1' * 64
    run = imported(write(tmp_path / 'zoo.json', *entries), "timm.create_model('their_net', pretrained=True)")
    assert 'the manifest says 1111' in run.stderr.splitlines()[-1]


@pytest.mark.parametrize('change, words', [
    ({'arch': None}, 'not a model of this package, and no arch is given'),
    ({'model': 'fpnas_l0.x'}, 'of another architecture than fpnas_l0'),
    ({'model': 'fpnas.x'}, "'fpnas' is taken"),
    ({'model': 'resnet18.x'}, "'resnet18' is taken"),
])
def test_manifests_that_do_not_fit(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    entry = {k: v for k, v in {**ENTRY, **change}.items() if v is not None}
    run = imported(write(tmp_path / 'zoo.json', entry), '')
    assert run.returncode == 1 and words in run.stderr.splitlines()[-1]


@pytest.mark.parametrize('name', ['fpnas_l2.in1k', 'fpnas_l2', 'fpnas_s1pp.dist_in1k'])
def test_no_weights_is_one_sentence(name: str) -> None:
    with pytest.raises(RuntimeError) as e:
        timm.create_model(name, pretrained=True)
    base = name.partition('.')[0]
    assert str(e.value) == (
        f'No pretrained weights exist for {name}: none are published. Train them (fpnas train --model {base} --recipe '
        f"{base}), or load your own with timm.create_model('local-dir:FOLDER', pretrained=True) or 'hf-hub:ORG/NAME'"
    )


def test_a_folder_with_a_pickle_alone_is_refused(tmp_path: Path) -> None:
    save_for_hf(timm.create_model('fpnas', arch=ARCH), tmp_path, safe_serialization=False)
    with pytest.raises(RuntimeError, match=r'holds no model\.safetensors; weights are read from safetensors only'):
        timm.create_model(f'local-dir:{tmp_path}', pretrained=True)


# ---------------------------------------------------------------- register_arch


def test_register_arch(tmp_path: Path) -> None:
    register_arch('test_own_net', ARCH.replace('r1_', ''), description='For a test.')
    assert timm.list_models('test_own*') == ['test_own_net']
    model = timm.create_model('test_own_net', num_classes=5).eval()
    assert str(model.arch) == ARCH and model.pretrained_cfg['description'] == 'For a test.'
    assert model(torch.zeros(1, 3, 32, 32)).shape == (1, 5)
    assert resolve_arch('test_own_net') == (model.arch, 'test_own_net')
    assert len(timm.create_model('test_own_net', features_only=True).feature_info) == 2
    with pytest.raises(RuntimeError, match='No pretrained weights exist for test_own_net: none are published'):
        timm.create_model('test_own_net', pretrained=True)
    save_for_hf(model, tmp_path, safe_serialization=True)
    sha256, about = sha256_of(tmp_path / 'model.safetensors'), dict(metrics={}, recipe='none', license='mit')
    place = dict(folder=str(tmp_path), pretrained_cfg={'num_classes': 5})
    weights = [ManifestEntry(f'test_own_net.{tag}', sha256, **about, **place) for tag in ('a', 'b')]
    with pytest.warns(UserWarning, match='Overwriting'):  # timm says so; a notebook's cell may run twice
        register_arch('test_own_net', ARCH, weights)
    assert timm.list_models('test_own*', pretrained=True) == ['test_own_net.a', 'test_own_net.b']
    x = torch.randn(2, 3, 32, 32)
    for name in ('test_own_net', 'test_own_net.b', f'local-dir:{tmp_path}'):
        assert torch.equal(timm.create_model(name, pretrained=True).eval()(x), model(x))
    with pytest.raises(RuntimeError, match=r'test_own_net\.c: there are test_own_net\.a, test_own_net\.b\.'):
        timm.create_model('test_own_net.c', pretrained=True)


@pytest.mark.parametrize('name, words', [
    ('MyNet', 'expected a name in lower case'), ('my.net', 'expected a name'), (3, 'expected a name'),
    ('resnet18', 'is taken'), ('fpnas_l0', 'is taken'), ('resolve_arch', 'is taken'),
])
def test_names_that_are_none(name: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        register_arch(name, ARCH)


def test_register_arch_errors() -> None:
    with pytest.raises(fpnas_timm.ArchError, match='k4'):
        register_arch('test_bad', ARCH.replace('k5', 'k4'))
    with pytest.raises(UsageError, match=r'expected test_bad\.TAG'):
        register_arch('test_bad', ARCH, [ManifestEntry('other.v1', '0' * 64, {}, 'none', 'mit', folder='x')])
    assert not timm.is_model('test_bad')
