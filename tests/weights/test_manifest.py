"""The manifest: entries as written, and one sentence for every mistake in the file."""
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fpnas_timm.errors import UsageError
from fpnas_timm.weights.manifest import OWN, read_all, read_manifest

ARCH = 'i32-cn_r1_k3_s2_c8_nsw-ir_r1_k3_s2_e3_c16_nre_sp2-ir_r1_k5_s1_e2_c24_nsw_sp1-cn_r1_k1_s1_c32_nsw'
ENTRY = dict(
    model='my_net.v1', sha256='0' * 64, metrics={'top1': 70.0}, recipe='fpnas_l0', license='mit', repo_id='me/net',
    revision='a' * 40, arch=ARCH, pretrained_cfg={'num_classes': 10, 'input_size': [3, 32, 32]},
    model_args={'output_stride': 16, 'bn_eps': 0.001},
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
    with pytest.raises(UsageError, match=r'my_net\.v1: model_args: bn_eps is 2: expected a number above 0, at most 1'):
        replace(entry, model_args={'bn_eps': 2})


@pytest.mark.parametrize('change, words', [
    ({'sha': 1}, "unknown field 'sha'"), ({'sha265': '0' * 64}, 'did you mean sha256?'),
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
    ({'pretrained_cfg': {'mean': 5}}, 'mean is 5'),
    ({'pretrained_cfg': {'std': [0, 0, 0]}}, 'std is [0, 0, 0]'),
    ({'pretrained_cfg': {'crop_pct': 'much'}}, "crop_pct is 'much'"),
    ({'pretrained_cfg': {'crop_mode': 'x'}}, "crop_mode is 'x'"),
    ({'pretrained_cfg': {'interpolation': 3}}, 'interpolation is 3'),
    ({'pretrained_cfg': {'label_names': [1, 2]}}, 'label_names is [1, 2]'),
    ({'pretrained_cfg': {'input_size': None}}, 'null is no value'),
    ({'pretrained_cfg': {'input_size': [3, 10**6, 10**6]}}, 'input_size is [3, 1000000, 1000000]'),
    ({'model_args': [1]}, 'model_args: expected an object with some of global_pool, output_stride, bn_momentum'),
    ({'model_args': {'num_classes': 10}}, 'model_args: expected an object with some of'),
    ({'model_args': {'output_stride': 4}}, 'output_stride is 4: expected 8 or 16 or 32'),
    ({'model_args': {'bn_eps': 0}}, 'bn_eps is 0'),
    ({'model_args': {'bn_momentum': None}}, 'null is no value'),
    ({'model_args': {'global_pool': ''}}, 'for networks without a classifier only'),
    ({'metrics': {'top1': float('nan')}}, 'metrics: expected names and numbers'),
    ({'metrics': {'top1': 10**400}}, 'metrics: expected names and numbers'),
    ({'metrics': {'top1': True}}, 'metrics: expected names and numbers'),
    ({'license': 'a\x1b[2Jb'}, 'license is'), ({'recipe': ['x']}, "recipe is ['x']"),
    ({'recipe': 'a\ud800'}, 'is not valid text'),
])
def test_entries_that_are_none(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    entry = {k: v for k, v in {**ENTRY, **change}.items() if v is not None}
    with pytest.raises(UsageError, match=r'entry 1|not valid text') as e:
        read_manifest(write(tmp_path / 'zoo.json', entry))
    assert words in str(e.value) and '\n' not in str(e.value)


@pytest.mark.parametrize('text, words', [
    (None, 'cannot be read'), ('{', 'not JSON'), ('[]', 'expected {"weights"'),
    (json.dumps({'weights': [ENTRY, ENTRY]}), 'my_net.v1 is listed twice'),
    ('{"weights": [3]}', 'expected an object'), ('{"weights": [], "weights": []}', "'weights' appears twice"),
    (json.dumps({'weights': [ENTRY]}).replace('"license"', '"arch": "", "license"'), "'arch' appears twice"),
    ('[' * 100_000, 'nested too deeply'), ('{"weights": [%s]}' % ('[' * 20 + ']' * 20), 'expected an object'),
    ('{"weights": [%s]}' % ('[' * 300 + ']' * 300), 'nested too deeply'),
])
def test_files_that_are_none(tmp_path: Path, text: str | None, words: str) -> None:
    path = tmp_path / 'zoo.json'
    if text is not None:
        path.write_text(text)
    with pytest.raises(UsageError, match=r'zoo\.json') as e:
        read_manifest(path)
    assert words in str(e.value) and '\n' not in str(e.value) and len(str(e.value)) < 400


def test_read_all_names_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('FPNAS_MANIFEST', str(tmp_path / 'none.json'))
    with pytest.raises(UsageError, match=r'FPNAS_MANIFEST=.*none\.json: cannot be read'):
        read_all()
