"""Every field of a `config.json` with every kind of wrong value: a sentence, at once, and the same from timm's side."""
import copy
import json
import time
from pathlib import Path
from typing import Any

import pytest
import timm
import torch

import fpnas_timm  # noqa: F401
from fpnas_timm.arch import ArchError
from fpnas_timm.errors import RunError, UsageError
from fpnas_timm.hub import verify
from fpnas_timm.weights.config_checks import CFG, MODEL_ARGS, PLACES
from fpnas_timm.weights.folder import read_config
from tests.hub.clients import ARCH

HOSTILE: list[Any] = [
    5, -1, 0, 1, True, False, 1e400, -0.5, float('nan'), 10**30, 10**12, '', 'x', 'cuda:7', 'a' * 5000, [], [3], {},
    None, [4096, 4096, 4096], [3, 4096, 4096], [3, -32, 32], [3, 32], [3.0, 32, 32], [10**9, 32, 32], [3, 0, 0],
    ['a'] * 3, [[0.5]] * 3, {'0': 1}, {'fc.weight': [1.0]}, '\x1b[2J', [float('inf')] * 3, [0, 0, 0], '../../passwd',
]
TIMMS = (
    'pretrained', 'pretrained_cfg', 'pretrained_cfg_overlay', 'cache_dir', 'checkpoint_path', 'scriptable', 'no_jit',
)
TEXTS = ('architecture', 'tag', 'license', 'origin_url', 'paper_name', 'notes')  # as description and paper_ids
FREE = ('num_features', 'global_pool', 'training')  # at the top: nobody uses them
UNKNOWN = ('device', 'dtype', 'img_size', 'features_only', 'pretrained_strict', 'own_weights', 'variant', 'string', 'x')


def small_folder(run_folder: Path, tmp_path: Path) -> dict[str, Any]:
    for file in (run_folder / 'export').iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return read_config(tmp_path)


def outcome(use: Any) -> str:
    """'' if it works, else its sentence."""
    try:
        use()
    except (UsageError, RunError, ArchError) as e:
        assert '\n' not in str(e) and 20 < len(str(e)) < 700 and '\x1b' not in str(e), str(e)
        return str(e)
    return ''


FIELDS = [
    *(('pretrained_cfg', key) for key in (*CFG, *PLACES, 'x')),
    *(('model_args', key) for key in (*MODEL_ARGS, *UNKNOWN)),
    *(('', key) for key in ('num_classes', 'label_names', 'label_descriptions', *FREE)),
]


@pytest.mark.parametrize('part, key', FIELDS, ids=lambda x: x or 'top')
def test_a_field_is_refused_or_harmless(part: str, key: str, run_folder: Path, tmp_path: Path) -> None:
    good = small_folder(run_folder, tmp_path)
    start, refused = time.monotonic(), 0
    values = HOSTILE[:3] if key in FREE and not part else HOSTILE[:9] if key in TEXTS else HOSTILE
    for value in values:
        config = copy.deepcopy(good)
        (config[part] if part else config)[key] = value
        (tmp_path / 'config.json').write_text(json.dumps(config))
        made: list[torch.nn.Module] = []
        by_verify = outcome(lambda: verify(tmp_path))
        refused += bool(by_verify)
        if key.endswith('input_size') and by_verify:  # timm itself puts the channels into it
            continue
        by_timm = outcome(lambda: made.append(timm.create_model(f'local-dir:{tmp_path}', pretrained=True)))  # noqa: B023
        assert by_verify or not by_timm, f'{value!r:.80}: verify says nothing, create_model {by_timm}'
        if made:
            net = made[0].eval()
            assert net(torch.zeros(1, net.in_chans, 32, 32)).shape == (1, 4)
    assert (refused == 0) if len(values) == 3 else (refused > len(values) // 2)
    assert time.monotonic() - start < 60


@pytest.mark.parametrize('part, key', [
    *(('model_args', key) for key in TIMMS), ('', 'architecture'), ('', 'pretrained_cfg'), ('', 'model_args'),
])
def test_what_timm_reads_itself_is_refused_by_verify(part: str, key: str, run_folder: Path, tmp_path: Path) -> None:
    good = small_folder(run_folder, tmp_path)
    for value in HOSTILE:
        config = copy.deepcopy(good)
        (config[part] if part else config)[key] = value
        (tmp_path / 'config.json').write_text(json.dumps(config))
        assert outcome(lambda: verify(tmp_path)), repr(value)


@pytest.mark.parametrize('key', sorted({*CFG} - {'architecture', 'num_classes', 'input_size'}))
def test_left_out_and_null_are_the_same(key: str, run_folder: Path, tmp_path: Path) -> None:
    for value in ('left out', None):
        config = small_folder(run_folder, tmp_path)
        config['pretrained_cfg'].pop(key, None)
        if value is None:
            config['pretrained_cfg'][key] = None
        (tmp_path / 'config.json').write_text(json.dumps(config))
        assert outcome(lambda: verify(tmp_path)) == ''


@pytest.mark.parametrize('text, words', [
    ('{"architecture": "fpnas", "architecture": "fpnas_l0"}', "'architecture' appears twice"),
    ('{"training": ' + '[' * 500 + ']' * 500 + '}', 'nested too deeply'),
    ('{"training": "\\ud800"}', 'is not valid text'),
    ('[1]', "not timm's format"), ('\xff', 'not JSON'), ('', 'not JSON'), ('{"a": 1' + '0' * 5000 + '}', 'not JSON'),
    (' ' * (1 << 24) + '{}', 'more than 16,777,216 bytes'),
])
def test_files_that_are_no_config(text: str, words: str, run_folder: Path, tmp_path: Path) -> None:
    small_folder(run_folder, tmp_path)
    (tmp_path / 'config.json').write_bytes(text.encode('latin-1'))
    said = outcome(lambda: verify(tmp_path))
    assert said.startswith(f'{tmp_path}/config.json: ') and words in said


@pytest.mark.parametrize('arch, size, words', [
    (ARCH, [3, 16, 16], ''), (ARCH, [3, 2, 32], 'too small: at least 4 are needed'), (ARCH, [3, 40, 4096], ''),
    (ARCH, [3, 4096, 4096], ''),  # verified with a smaller image
])
def test_image_sizes(arch: str, size: list[int], words: str, run_folder: Path, tmp_path: Path) -> None:
    config = small_folder(run_folder, tmp_path)
    config['pretrained_cfg']['input_size'] = size
    (tmp_path / 'config.json').write_text(json.dumps(config))
    start = time.monotonic()
    said = outcome(lambda: verify(tmp_path))
    assert words in said if words else said == ''
    assert time.monotonic() - start < 20


def test_networks_too_large_to_build(run_folder: Path, tmp_path: Path) -> None:
    """Tens of gigabytes, if somebody built them: a string of at most 8,192 characters is enough."""
    config = small_folder(run_folder, tmp_path)
    config['model_args']['arch'] = 'i32-cn_r1_k3_s2_c8192_nsw-ir_r32_k3_s1_e4_c8192_nsw-cn_r1_k1_s1_c8192_nsw'
    (tmp_path / 'config.json').write_text(json.dumps(config))
    for pretrained in (False, True):
        said = outcome(lambda: timm.create_model(f'local-dir:{tmp_path}', pretrained=pretrained))  # noqa: B023
        assert 'networks of more than 1,073,741,824 are not loaded' in said
    assert 'networks of more than 1,073,741,824 are not loaded' in outcome(lambda: verify(tmp_path))
