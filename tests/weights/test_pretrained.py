"""Weights by name: from a manifest, and one sentence when there are none or the manifest is not right."""
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.models import save_for_hf

import fpnas_timm  # noqa: F401
from fpnas_timm.errors import UsageError
from fpnas_timm.weights import manifest
from fpnas_timm.weights.checks import sha256_of
from fpnas_timm.zoo import ARCHS
from fpnas_timm.zoo.models import known_weights
from tests.helpers.preloaded import ROOT, run_python
from tests.weights.test_manifest import ARCH, ENTRY, write


def imported(path: Path, code: str) -> subprocess.CompletedProcess:
    env = {**os.environ, 'FPNAS_MANIFEST': str(path)}
    return run_python(f'import timm, fpnas_timm\n{code}', env, ROOT)


def test_company_zoo_on_a_disk(tmp_path: Path) -> None:
    """Named models with weights in folders: no Hub at all, and a package's model with weights of one's own."""
    entries = []
    for name, arch in (('their_net', ARCH), ('fpnas_s1pp', ARCHS['fpnas_s1pp'])):
        torch.manual_seed(0)
        save_for_hf(timm.create_model('fpnas', arch=arch, num_classes=10), tmp_path / name, safe_serialization=True)
        entry = {k: v for k, v in ENTRY.items() if k not in ('repo_id', 'revision', 'pretrained_cfg')}
        entries.append({
            **entry, 'model': f'{name}.shop', 'arch': arch, 'folder': name, 'pretrained_cfg': {'num_classes': 10},
            'sha256': sha256_of(tmp_path / name / 'model.safetensors'), 'multilabel': name == 'their_net',
        })
    write(tmp_path / 'zoo.json', *entries)
    run = imported(
        tmp_path / 'zoo.json',
        "print(timm.list_pretrained('*shop'))\n"
        "print(timm.create_model('their_net', pretrained=True).pretrained_cfg['license'])\n"
        "print(timm.create_model('fpnas_s1pp', pretrained=True, num_classes=3).num_classes)\n"
        "print(timm.create_model('fpnas_s1pp').num_classes)\n"
        'from fpnas_timm.weights.recorded import recorded_of\n'
        "print([recorded_of(name).multilabel for name in ('their_net', 'their_net.shop', 'fpnas_s1pp', 'resnet18')])\n",
    )
    assert run.stdout == "['fpnas_s1pp.shop', 'their_net.shop']\nmit\n3\n10\n[True, True, False, False]\n", run.stderr
    entries[0]['sha256'] = '1' * 64
    run = imported(write(tmp_path / 'zoo.json', *entries), "timm.create_model('their_net', pretrained=True)")
    assert 'the manifest says 1111' in run.stderr.splitlines()[-1]


ASK = f"""
from fpnas_timm.weights.recorded import recorded_of
print(len(timm.list_models('fpnas*')), timm.create_model('fpnas', arch={ARCH!r}).num_classes, end=' ')
print(recorded_of('resnet18').num_classes)
from fpnas_timm.cli import main
try:
    timm.create_model('fpnas_l0', pretrained=True)
except fpnas_timm.errors.UsageError as e:
    print(e)
print([main(argv) for argv in (['hub', 'list'], ['info'], ['hub', 'verify', 'my_net.v1'])])
"""


@pytest.mark.parametrize('text, words', [
    (None, 'cannot be read (No such file or directory)'),
    ('{"weights": [', 'not JSON'),
    ('[' * 100_000, 'nested too deeply'),
    ('{"weights": [], "weights": []}', "'weights' appears twice"),
    (json.dumps({'weights': [{**ENTRY, 'model': 'resnet18.x'}]}), "'resnet18' is taken"),
], ids=['missing', 'broken', 'deep', 'duplicate', 'does not fit'])
def test_a_bad_manifest_is_an_error_when_weights_are_asked_for(tmp_path: Path, text: str | None, words: str) -> None:
    """Importing the package logs a line and goes on."""
    path = tmp_path / 'zoo.json'
    if text is not None:
        path.write_text(text)
    run = imported(path, ASK)
    assert run.returncode == 0 and 'Traceback' not in run.stderr, run.stderr
    lines = run.stdout.splitlines()
    assert lines[0] == '8 1000 1000' and words in lines[1] and lines[2:] == ['[2, 2, 2]'], run.stdout
    warning, *errors = run.stderr.splitlines()
    assert words in warning and [line.startswith('error: ') and words in line for line in errors] == [True] * 3
    assert all(f'FPNAS_MANIFEST={path}: ' in line for line in (lines[1], warning, *errors))


@pytest.mark.parametrize('change, words', [
    ({'arch': None}, 'not a model of this package, and no arch is given'),
    ({'model': 'fpnas_l0.x'}, 'of another architecture than fpnas_l0'),
    ({'model': 'fpnas.x'}, "'fpnas' is taken"),
    ({'model': 'resnet18.x'}, "'resnet18' is taken"),
    ({'model': 'register_arch.x'}, "'register_arch' is taken"),
])
def test_manifests_that_do_not_fit(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], words: str
) -> None:
    path = write(tmp_path / 'zoo.json', {k: v for k, v in {**ENTRY, **change}.items() if v is not None})
    monkeypatch.setenv('FPNAS_MANIFEST', str(path))
    with pytest.raises(UsageError) as e:
        known_weights()
    assert str(e.value).startswith(f'FPNAS_MANIFEST={path}: ') and words in str(e.value)


def test_a_damaged_installation_is_the_same_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package's own manifest, which is there in every sane installation, is no exception."""
    monkeypatch.setattr(manifest, 'OWN', tmp_path / 'weights.json')
    with pytest.raises(UsageError, match=r'weights\.json: cannot be read'):
        timm.create_model('fpnas_l0', pretrained=True)
    timm.create_model('fpnas_l0', device='meta')


@pytest.mark.parametrize('name', ['fpnas_l2.in1k', 'fpnas_l2', 'fpnas_s1pp.dist_in1k'])
def test_no_weights_is_one_sentence(name: str) -> None:
    with pytest.raises(RuntimeError) as e:
        timm.create_model(name, pretrained=True)
    base = name.partition('.')[0]
    assert str(e.value) == (
        f'No pretrained weights exist for {name}: none are published. Start from those of another network '
        f'(fpnas train --model {base} --init-from efficientnet_b0.ra_in1k), train them (fpnas train --model {base} '
        f"--recipe {base}), or load your own with timm.create_model('local-dir:FOLDER', pretrained=True) or "
        "'hf-hub:ORG/NAME'; random weights: pretrained=False"
    )
