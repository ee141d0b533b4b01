"""Entries of a manifest: `verify` and timm say the same, and what `push` prints is an entry."""
import json
from pathlib import Path
from typing import Any

import pytest
import timm

import fpnas_timm  # noqa: F401
from fpnas_timm.arch import Arch
from fpnas_timm.cli.hub import main
from fpnas_timm.errors import RunError, UsageError
from fpnas_timm.weights.checks import sha256_of
from fpnas_timm.weights.manifest import ENVIRONMENT, read_manifest
from fpnas_timm.weights.pretrained import entry_cfg
from fpnas_timm.zoo.models import known_weights
from tests.hub.clients import ARCH, repo_files

OTHER = ARCH.replace('c24', 'c40')


@pytest.mark.parametrize('change, words', [
    ({}, ''),
    ({'pretrained_cfg': {'num_classes': 10, 'input_size': [3, 32, 32]}}, 'has 4 classes, and its config says 10'),
    ({'pretrained_cfg': {}}, 'has 4 classes, and its config says 1000'),
    ({'pretrained_cfg': {'num_classes': 4, 'input_size': [1, 32, 32]}}, 'stem.conv.weight is (8, 3, 3, 3), expected'),
    ({'arch': OTHER}, 'These weights are of another architecture'),
    ({'sha256': '0' * 64}, 'the manifest says 0000'),
    ({'folder': 'nowhere'}, 'no such file'),
])
def test_verify_says_what_timm_says(
        change: dict[str, Any], words: str, run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture
) -> None:
    entry = dict(
        model='entry_net.v1', sha256=sha256_of(run_folder / 'export' / 'model.safetensors'), metrics={}, recipe='none',
        license='mit', folder=str(run_folder / 'export'), arch=ARCH,
        pretrained_cfg={'num_classes': 4, 'input_size': [3, 32, 32]},
    )
    (tmp_path / 'zoo.json').write_text(json.dumps({'weights': [{**entry, **change}]}))
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path / 'zoo.json'))
    status = main(['verify', 'entry_net.v1'])
    out, err = capsys.readouterr()
    [known] = known_weights()
    arch = Arch.parse(str(known.arch))
    create = lambda: timm.create_model(  # noqa: E731
        'fpnas', arch=str(arch), pretrained=True, pretrained_cfg=entry_cfg(known, arch)
    )
    if words:
        assert status == 1 and words in err and err.count('\n') == 1
        with pytest.raises(RunError) as e:
            create()
        assert words in str(e.value)
    else:
        assert status == 0 and '(as in the manifest)' in out
        assert create().num_classes == 4


def test_an_entry_needs_no_config(run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """timm does not read one for a model by name."""
    (tmp_path / 'model.safetensors').write_bytes(repo_files(run_folder)['model.safetensors'])
    entry = dict(
        model='bare_net.v1', sha256=sha256_of(tmp_path / 'model.safetensors'), metrics={}, recipe='none',
        license='mit', folder='.', arch=ARCH, pretrained_cfg={'num_classes': 4, 'input_size': [3, 32, 32]},
    )
    (tmp_path / 'zoo.json').write_text(json.dumps({'weights': [entry]}))
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path / 'zoo.json'))
    assert main(['verify', 'bare_net.v1']) == 0


@pytest.mark.parametrize('repo, name', [('me/Digits', 'digits.v1'), ('me/2-nets', 'net_2_nets.v1')])
def test_the_name_that_push_proposes_is_one(
        repo: str, name: str, run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(['push', str(run_folder), repo, '--dry-run', '-o', str(tmp_path / 'out')]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed['model'] == name
    (tmp_path / 'zoo.json').write_text(json.dumps({'weights': [printed]}))
    assert [e.model for e in read_manifest(tmp_path / 'zoo.json')] == [name]


@pytest.mark.parametrize('argv, words', [
    (['--model', 'My-Net'], 'expected NAME.TAG'), (['--license', 'a\nb'], 'license is'),
])
def test_what_would_not_be_an_entry_is_refused_before_anything_is_sent(
        argv: list[str], words: str, run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(['push', str(run_folder), 'me/x', '-o', str(tmp_path / 'out'), *argv]) == 2
    assert words in capsys.readouterr().err and not (tmp_path / 'out').exists()


def test_two_hashes_for_one_place(tmp_path: Path) -> None:
    entry = dict(
        model='a_net.v1', sha256='0' * 64, metrics={}, recipe='none', license='mit', folder='x', arch=ARCH,
    )
    other = {**entry, 'model': 'a_net.v2', 'sha256': '1' * 64}
    (tmp_path / 'zoo.json').write_text(json.dumps({'weights': [entry, other]}))
    with pytest.raises(UsageError, match=r'entry 2 \(a_net.v2\): another sha256 than a_net.v1, of the same weights'):
        read_manifest(tmp_path / 'zoo.json')
