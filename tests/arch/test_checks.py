"""Whatever comes in: an `Arch` or an `ArchError` that helps, at once."""
import dataclasses
import json
import random
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fpnas_timm
from fpnas_timm.arch import Arch, ArchError, Conv, Group
from tests.arch.cases import (
    CANONICAL,
    GROUP,
    JSON_PATHS,
    MINIMAL,
    STEM,
    json_with,
    network,
)


def test_the_largest_network_of_the_format_is_one():
    groups = ['ir_r4_k11_s2_e3.9999_c8192_nhs_sp4'] * 7 + ['ir_r4_k11_s1_e3.9999_c8192_nhs_sp4'] * 57
    arch = Arch.parse(network(*groups, size='i4096', stem='cn_k7_s1_c8192_nhs', head='cn_k1_c8192_nhs'))
    assert arch.total_stride == 128
    assert sum(len(blocks) for blocks in arch.blocks) == 256
    assert Arch.parse(str(arch)) == arch == Arch.from_json(arch.to_json(indent=4))


def test_built_from_python_it_is_checked_as_well():
    conv, head = Conv(3, 2, 16, 'sw'), Conv(1, 1, 8, 'sw')
    good = Group(1, 3, 1, 2.0, 16, 're')
    for stem, groups, img_size in (
        (None, (good,), 224), (conv, None, 224), (conv, (), 224), (conv, (good, None), 224), (conv, 'ir', 224),
        (conv, (good,), '224'), (conv, (good,), None), (conv, (dataclasses.replace(good, kernel='3'),), 224),
        (conv, (dataclasses.replace(good, act=3),), 224), (conv, (dataclasses.replace(good, splits=True),), 224),
        (Conv(3, 2, 16, 1), (good,), 224), (Conv('3', 2, 16, 'sw'), (good,), 224),
    ):  # fmt: skip
        with pytest.raises(ArchError, match='expected'):
            Arch(stem, groups, head, img_size)
    with pytest.raises(ArchError, match=r'i0: expected input size'):
        Arch(conv, (good,), head).with_img_size(0)


def test_an_arch_error_is_a_value_error_of_the_package():
    assert issubclass(ArchError, ValueError)
    assert fpnas_timm.ArchError is ArchError and fpnas_timm.Arch is Arch


def outcome(read, value):
    """The `Arch` (checked to be a sound one), or None for an `ArchError`; any other exception fails the test."""
    try:
        arch = read(value)
    except ArchError as e:
        assert 10 < len(str(e)) < 500
        return None
    assert CANONICAL.fullmatch(str(arch)) and Arch.parse(str(arch)) == arch
    return arch


def mutated(text, rng):
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        i, j = sorted((rng.randrange(len(text) + 1), rng.randrange(len(text) + 1)))
        kind = rng.randrange(9)
        if kind == 0:  # a character replaced, inserted or deleted
            text = text[:i] + rng.choice('0123456789_-.rksecnpiw RNé\uff12\0') + text[i + rng.randrange(2) :]
        elif kind == 1:
            text = text[:i] + text[i + 1 :]
        elif kind == 2:  # a digit becomes another
            text = re.sub(r'\d', lambda m: str(rng.randrange(10)) if rng.random() < 0.05 else m[0], text)
        elif kind == 3:  # a piece vanishes, is doubled or reversed
            text = text[:i] + rng.choice(('', text[i:j] * 2, text[i:j][::-1])) + text[j:]
        elif kind in (4, 5):  # fields or tokens swapped, dropped, doubled
            separator = rng.choice('_-')
            parts = text.split(separator)
            a, b = rng.randrange(len(parts)), rng.randrange(len(parts))
            parts[a], parts[b] = rng.choice(((parts[b], parts[a]), (parts[a], parts[a])))
            text = separator.join(parts if rng.random() < 0.7 else parts[:a] + parts[a + 1 :])
        elif kind == 6:  # a number grows absurd
            nines = '9' * rng.choice((1, 3, 9, 400))
            text = re.sub(r'\d+', lambda m, nines=nines: m[0] + nines if rng.random() < 0.05 else m[0], text)
        elif kind == 7:  # fields of one token in another order
            tokens = text.split('-')
            a = rng.randrange(len(tokens))
            head, *fields = tokens[a].split('_')
            rng.shuffle(fields)
            tokens[a] = '_'.join([head, *fields])
            text = '-'.join(tokens)
        else:
            text = text.replace(rng.choice('_-krsec'), rng.choice(('', '_', '-', 'K')), 1)
    return text


def test_ten_thousand_mutated_strings_end_in_an_arch_or_an_arch_error():
    rng = random.Random(0)
    seeds = [
        MINIMAL,
        network('ir_r1_k3_s1_e2.25_c8_nre', GROUP, 'ir_r1_k0_s2_e1_c40_nhs', 'ir_r3_k5_s2_e6_c112_nsw_sp4'),
        str(fpnas_timm.get_space('fpnas_l2').sample_arch(rng)),
    ]
    valid, times = 0, []
    for _ in range(10_000):
        text = mutated(rng.choice(seeds), rng)
        start = time.thread_time()
        try:
            arch = Arch.parse(text)
        except ArchError:
            arch = None
        times.append(time.thread_time() - start)
        if arch is not None:
            valid += 1
            assert CANONICAL.fullmatch(str(arch)) and Arch.parse(str(arch)) == arch
    assert 500 < valid < 9_500, 'the mutations test one side only'
    assert sum(times) < 20
    assert statistics.median(times) < 0.002


TEXTS = st.text(max_size=60) | st.text('-_0123456789.irkscnewhp', max_size=300)


@given(TEXTS | st.from_regex(r'(i\d+-)?(cn|ir)_[-_rksecn0-9.]*'))
@settings(max_examples=200, deadline=None)
def test_any_text_is_an_arch_or_an_arch_error(text):
    outcome(Arch.parse, text)
    outcome(Arch.from_json, text)
    assert outcome(Arch.parse, f'{MINIMAL}-{text}') is None  # the head stands last


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
JSON_VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(JSON_VALUES, st.sampled_from(JSON_PATHS))
@settings(max_examples=200, deadline=None)
def test_any_json_is_an_arch_or_an_arch_error(value, path):
    assert outcome(Arch.from_dict, value) is None
    outcome(Arch.from_dict, json_with(path, value))
    outcome(Arch.from_json, json.dumps(json_with(path, value)))


@pytest.mark.parametrize(
    'text',
    [
        '-' * 8192, '_' * 8192, '1' * 8192, 'i' + '9' * 8191, ' ' * 8192, '\ud800' * 4000, '²' * 8192, 'é' * 8192,
        network('ir_' + '_'.join(['k3'] * 2500)), network('ir_k' + '9' * 8000), network('ir_e0.' + '3' * 8000),
        network('ir_' + 'nre_' * 2000), '-'.join([STEM] * 400), network(*['ir'] * 2700), 'x' * 10_000_000,
    ],
    ids=lambda text: f'{text[:20]!a} ({len(text)})',
)  # fmt: skip
def test_long_input_is_refused_at_once(text):
    start = time.thread_time()
    assert outcome(Arch.parse, text) is None
    assert outcome(Arch.from_json, text) is None
    assert time.thread_time() - start < 1


def test_json_of_the_longest_size_is_refused_at_once():
    pairs = ','.join(f'"{i}":0' for i in range(13_000))
    nested, flat = '[' * 65_000 + ']' * 65_000, '{"groups":[' + '0,' * 60_000 + '0]}'
    start = time.thread_time()
    for text in ('{' + pairs + '}', '{' + pairs + ',"12999":1}', nested, flat):
        assert len(text) <= 131_072
        assert outcome(Arch.from_json, text) is None
    assert time.thread_time() - start < 1


def test_the_format_and_the_spaces_need_neither_torch_nor_timm():
    code = (
        'import sys, types, random\n'
        'sys.modules.update(dict.fromkeys(("torch", "timm", "numpy", "scipy")))\n'
        'package = sys.modules["fpnas_timm"] = types.ModuleType("fpnas_timm")\n'
        'package.__path__ = [sys.argv[1]]\n'
        'from fpnas_timm.spaces import get_space\n'
        'print(get_space("fpnas_l0").sample_arch(random.Random(0)))'
    )
    folder = Path(fpnas_timm.__file__).parent
    done = subprocess.run([sys.executable, '-c', code, str(folder)], capture_output=True, text=True, timeout=60)
    assert CANONICAL.fullmatch(done.stdout.strip()), done.stderr
