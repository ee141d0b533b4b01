"""Entries of a manifest: `verify` and timm say the same, and what `push` prints is an entry."""
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.models import save_for_hf

import fpnas_timm.hub
from fpnas_timm.arch import Arch
from fpnas_timm.cli.hub import main
from fpnas_timm.errors import RunError, UsageError
from fpnas_timm.weights.checks import sha256_of
from fpnas_timm.weights.manifest import ENVIRONMENT, read_manifest
from fpnas_timm.weights.pretrained import entry_cfg
from fpnas_timm.zoo.models import known_weights
from fpnas_timm.zoo.report import count
from tests.hub.clients import ARCH, repo_files

OTHER = ARCH.replace('c24', 'c40')
DEEP = str(Arch.parse(
    'i64-cn_k3_s2_c8_nre-ir_k3_s2_e3_c8_nre-ir_k0_s2_c8_nre-ir_k3_s2_e3_c16_nre_sp1-ir_k3_s2_e2_c16_nre-cn_k1_c32_nre'
))


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


def lively(**kwargs: Any) -> torch.nn.Module:
    """A network whose batch norms' epsilon matters."""
    torch.manual_seed(0)
    model = timm.create_model('fpnas', arch=DEEP, num_classes=4, **kwargs).eval()
    for name, buffer in model.named_buffers():
        if name.endswith('running_var'):
            buffer.uniform_(0.0005, 0.003)
    return model


ARGS = [{}, {'bn_eps': 0.001, 'bn_momentum': 0.02}, {'output_stride': 8}, {'global_pool': 'catavgmax'}]


@pytest.mark.parametrize('number', range(len(ARGS)))
def test_by_name_it_is_the_network_that_was_pushed(
        number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    args, name, x = ARGS[number], f'pushed_net_{number}', torch.randn(2, 3, 64, 64)
    expected = lively(**args)
    save_for_hf(expected, tmp_path / 'net', safe_serialization=True)
    entry, _ = fpnas_timm.hub.push(tmp_path / 'net', 'me/net', dry_run=True, output=tmp_path / 'out', model=f'{name}.a')
    assert entry.model_args == args
    plain, *others = ({**entry.to_dict(), 'model': f'{name}.{tag}', 'folder': 'net'} for tag in 'bac')
    for item in (plain, *others):
        del item['repo_id'], item['revision']
    plain['model_args'] = {'bn_eps': 0.5, **{k: v for k, v in args.items() if k == 'global_pool'}}
    (tmp_path / 'zoo.json').write_text(json.dumps({'weights': [plain, *others]}))
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path / 'zoo.json'))
    fpnas_timm.register_arch(name, DEEP, known_weights())
    found = timm.create_model(f'{name}.a', pretrained=True).eval()
    assert torch.equal(found(x), expected(x)) and found.stem.bn.momentum == expected.stem.bn.momentum
    cfg = timm.get_pretrained_cfg(f'{name}.a').to_dict()  # as timm's scripts give it
    assert torch.equal(timm.create_model(name, pretrained=True, pretrained_cfg=cfg).eval()(x), expected(x))
    copied = shutil.copy(tmp_path / 'net' / 'model.safetensors', tmp_path / 'own.safetensors')
    by_file = timm.create_model(f'{name}.a', pretrained=True, pretrained_cfg_overlay={'file': copied}).eval()
    assert torch.equal(by_file(x), expected(x))
    assert timm.create_model(name, pretrained=True).stem.bn.eps == 0.5  # the first tag, of the same folder
    assert timm.create_model(f'{name}.a', pretrained=True, bn_eps=0.25).stem.bn.eps == 0.25
    assert timm.create_model(f'{name}.a').stem.bn.eps == 1e-5
    save_for_hf(found, tmp_path / 'again', safe_serialization=True)
    assert torch.equal(timm.create_model(f'local-dir:{tmp_path}/again', pretrained=True).eval()(x), expected(x))
    for source in (f'{name}.a', tmp_path / 'net'):
        report = fpnas_timm.hub.verify(source)
        assert report.macs == count(expected, 64).macs
        assert report.params == sum(p.numel() for p in expected.parameters())
    card = (tmp_path / 'out' / 'README.md').read_text()
    assert f'{report.params / 1e6:.2f}' in card and f'linear layers: {report.macs / 1e6:.1f}' in card


def test_two_hashes_for_one_place(tmp_path: Path) -> None:
    entry = dict(
        model='a_net.v1', sha256='0' * 64, metrics={}, recipe='none', license='mit', folder='x', arch=ARCH,
    )
    other = {**entry, 'model': 'a_net.v2', 'sha256': '1' * 64}
    (tmp_path / 'zoo.json').write_text(json.dumps({'weights': [entry, other]}))
    with pytest.raises(UsageError, match=r'entry 2 \(a_net.v2\): another sha256 than a_net.v1, of the same weights'):
        read_manifest(tmp_path / 'zoo.json')
