"""The encoding: parse and format are inverse, every token is timm's, every bad input is an `ArchError` that helps."""
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
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.layers import get_act_layer
from timm.layers import make_divisible as timm_make_divisible
from timm.models._efficientnet_builder import decode_arch_def

import fpnas_timm
from fpnas_timm.arch import Arch, ArchError, Conv, Group
from fpnas_timm.arch.sizes import expanded_channels, make_divisible, out_size
from tests.helpers.strategies import arch_strings, archs, spellings

STEM, GROUP, HEAD = 'cn_r1_k3_s2_c16_nsw', 'ir_r2_k3_s2_e3_c24_nre_sp2', 'cn_r1_k1_s1_c1984_nsw'
MINIMAL = f'i224-{STEM}-{GROUP}-{HEAD}'

CANONICAL = re.compile(
    r'i[1-9]\d*-cn_r1_k[1357]_s[12]_c[1-9]\d*_n(re|sw|hs)'
    r'(-ir_r[1-9]\d*_k(0|3|5|7|9|11)_s[12]_e(0|[1-9]\d*)(\.\d*[1-9])?_c[1-9]\d*_n(re|sw|hs)(_sp[124])?)+'
    r'-cn_r1_k1_s1_c[1-9]\d*_n(re|sw|hs)',
    re.ASCII,
)


def network(*groups, size='i224', stem=STEM, head=HEAD):
    return '-'.join([*([size] if size else []), stem, *groups, head])


def group(**fields):
    """`GROUP` with some fields changed, or left out where None."""
    fields = {'r': 2, 'k': 3, 's': 2, 'e': 3, 'c': 24, 'n': 're', 'sp': 2, **fields}
    return '_'.join(['ir', *(f'{key}{value}' for key, value in fields.items() if value is not None)])


def short(value):
    """The name of a test's parameter: never megabytes."""
    return f'{value[:30]!a}' if isinstance(value, str) else None


def parse_error(text):
    with pytest.raises(ArchError) as caught:
        Arch.parse(text)
    return str(caught.value)


# ---------------------------------------------------------------- parse and format


def test_the_string_of_the_format_description():
    text = (
        'i224-cn_r1_k3_s2_c16_nsw-ir_r1_k3_s1_e2.25_c8_nre-ir_r2_k5_s2_e3_c24_nsw_sp2-ir_r1_k0_s2_e1_c40_nhs'
        '-cn_r1_k1_s1_c1984_nsw'
    )
    arch = Arch(
        stem=Conv(kernel=3, stride=2, channels=16, act='sw'),
        groups=(
            Group(repeats=1, kernel=3, stride=1, expansion=2.25, channels=8, act='re', splits=0),
            Group(repeats=2, kernel=5, stride=2, expansion=3, channels=24, act='sw', splits=2),
            Group(repeats=1, kernel=0, stride=2, expansion=1, channels=40, act='hs', splits=0),
        ),
        head=Conv(kernel=1, stride=1, channels=1984, act='sw'),
        img_size=224,
    )
    assert Arch.parse(text) == arch
    assert str(arch) == text
    assert arch.total_stride == 8


@given(archs())
@settings(max_examples=150, deadline=None)
def test_parse_and_format_are_inverse(arch):
    text = str(arch)
    assert Arch.parse(text) == arch
    assert str(Arch.parse(text)) == text
    assert CANONICAL.fullmatch(text)


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_every_spelling_formats_to_the_one_canonical_string(data):
    arch = data.draw(archs())
    text = data.draw(spellings(arch))
    assert Arch.parse(text) == arch
    assert str(Arch.parse(text)) == str(arch)


@given(arch_strings())
@settings(max_examples=100, deadline=None)
def test_canonical_bypassed_groups_keep_nothing_that_has_no_effect(text):
    arch = Arch.parse(text)
    in_chs = arch.stem.channels
    for token, g in zip(str(arch).split('-')[2:-1], arch.groups):
        if g.kernel == 0:
            identity = g.stride == 1 and g.channels == in_chs
            act = 're' if identity else g.act
            assert token == f'ir_r1_k0_s{g.stride}_e1_c{g.channels}_n{act}'
        in_chs = g.channels


@pytest.mark.parametrize(
    'text, canonical',
    [
        (network(GROUP, size=''), MINIMAL),
        ('cn_nsw_c16_s2_k3-ir_sp2_nre_c24_e3_s2_k3_r2-cn_nsw_c1984_k1', MINIMAL),
        (network('ir_k3_c24_nre_e3.00'), network('ir_r1_k3_s1_e3_c24_nre')),
        (network('ir_r01_k03_s1_e0.7500_c024_nre_sp0'), network('ir_r1_k3_s1_e0.75_c24_nre')),
        (network('ir_r1_k3_s1_e10_c100_nre'), network('ir_r1_k3_s1_e10_c100_nre')),
        # bypassed, 16 -> 16 channels, stride 1: the identity
        (network('ir_r4_k0_s1_e6_c16_nsw_sp4'), network('ir_r1_k0_s1_e1_c16_nre')),
        (network('ir_k0_c16_nhs'), network('ir_r1_k0_s1_e1_c16_nre')),
        # bypassed where the shape changes: the activation has an effect
        (network('ir_r4_k0_s2_e6_c16_nsw_sp4'), network('ir_r1_k0_s2_e1_c16_nsw')),
        (network('ir_r4_k0_s1_e6_c24_nsw_sp1'), network('ir_r1_k0_s1_e1_c24_nsw')),
        # the second group's input is the first one's output
        (
            network('ir_k0_s2_c24_nsw', 'ir_r3_k0_c24_nsw_sp2'),
            network('ir_r1_k0_s2_e1_c24_nsw', 'ir_r1_k0_s1_e1_c24_nre'),
        ),
        (f'  {MINIMAL}\n', MINIMAL),
    ],
)
def test_canonical_form(text, canonical):
    assert str(Arch.parse(text)) == canonical


def test_default_input_size_is_224_and_always_written():
    assert Arch.parse(network(GROUP, size='')).img_size == 224
    assert str(Arch.parse(network(GROUP, size='i160'))).startswith('i160-')
    assert str(Arch.parse(MINIMAL).with_img_size(96)) == network(GROUP, size='i96')


def test_repeats_of_a_bypassed_group_vanish_before_blocks_are_counted():
    text = network(*['ir_r32_k0_s1_c16_nre'] * 64)
    assert str(Arch.parse(text)) == network(*['ir_r1_k0_s1_e1_c16_nre'] * 64)


def test_an_arch_is_frozen_and_hashable():
    arch = Arch.parse(MINIMAL)
    with pytest.raises(dataclasses.FrozenInstanceError):
        arch.img_size = 8
    with pytest.raises(dataclasses.FrozenInstanceError):
        arch.groups[0].kernel = 5
    assert {arch: 'x'}[Arch.parse(network(GROUP, size=''))] == 'x'
    assert arch.groups == Arch(arch.stem, list(arch.groups), arch.head).groups


def test_blocks_carry_stride_and_channels_from_one_to_the_next():
    arch = Arch.parse(network('ir_r3_k5_s2_e3_c24_nre_sp2', 'ir_k0_r4_c24_nre', 'ir_r2_k3_s1_e1_c40_nsw'))
    flat = [[tuple(block) for block in blocks] for blocks in arch.blocks]
    assert flat == [
        [(16, 24, 5, 2, 3.0, 're', 2), (24, 24, 5, 1, 3.0, 're', 2), (24, 24, 5, 1, 3.0, 're', 2)],
        [(24, 24, 0, 1, 1.0, 're', 0)],
        [(24, 40, 3, 1, 1.0, 'sw', 0), (40, 40, 3, 1, 1.0, 'sw', 0)],
    ]
    assert [[block.is_identity for block in blocks] for blocks in arch.blocks] == [[False] * 3, [True], [False] * 2]


# ---------------------------------------------------------------- timm and torch agree


@given(archs())
@settings(max_examples=100, deadline=None)
def test_timm_decodes_every_token_to_the_same_values(arch):
    tokens = str(arch).split('-')[1:]
    stem, *groups, head = decode_arch_def([[token] for token in tokens])
    layers = {'re': get_act_layer('relu'), 'sw': get_act_layer('swish'), 'hs': get_act_layer('hard_swish')}
    for conv, decoded in ((arch.stem, stem), (arch.head, head)):
        assert decoded == [
            dict(
                block_type='cn', out_chs=conv.channels, stride=conv.stride, act_layer=layers[conv.act],
                kernel_size=conv.kernel, skip=False,
            )
        ]  # fmt: skip
    assert len(groups) == len(arch.groups)
    for g, decoded in zip(arch.groups, groups):
        assert len(decoded) == g.repeats
        for block in decoded:
            assert (block['block_type'], block['dw_kernel_size'], block['stride']) == ('ir', g.kernel, g.stride)
            assert (block['exp_ratio'], block['out_chs']) == (g.expansion, g.channels)
            assert block['act_layer'] is layers[g.act]
            assert block['se_ratio'] == 0 and block['noskip'] is False


@given(st.floats(0.01, 70_000), st.sampled_from((1, 4, 8, 16)))
@settings(max_examples=300, deadline=None)
def test_make_divisible_is_timms(value, divisor):
    assert make_divisible(value, divisor) == timm_make_divisible(value, divisor)


@given(st.integers(1, 2048), st.sampled_from((0.75, 1.0, 1.5, 2.25, 6.0)))
@settings(max_examples=100, deadline=None)
def test_expanded_channels(in_chs, expansion):
    expected = in_chs if expansion == 1 else timm_make_divisible(in_chs * expansion, 8)
    assert expanded_channels(in_chs, expansion) == expected


@pytest.mark.parametrize('kernel', [1, 3, 5, 7])
@pytest.mark.parametrize('stride', [1, 2])
def test_out_size_is_that_of_a_convolution(kernel, stride):
    conv = torch.nn.Conv2d(1, 1, kernel, stride, kernel // 2)
    for size in (1, 2, 7, 8, 15, 30):
        assert conv(torch.zeros(1, 1, size, size)).shape[-1] == out_size(size, stride)


# ---------------------------------------------------------------- JSON


@given(archs())
@settings(max_examples=100, deadline=None)
def test_json_round_trip(arch):
    assert Arch.from_json(arch.to_json()) == arch
    assert Arch.from_json(arch.to_json(indent=2)) == arch
    assert Arch.from_dict(json.loads(json.dumps(arch.to_dict()))) == arch


def test_json_is_plain_and_readable():
    assert json.loads(Arch.parse(MINIMAL).to_json()) == {
        'img_size': 224,
        'stem': {'kernel': 3, 'stride': 2, 'channels': 16, 'act': 'sw'},
        'groups': [
            {'repeats': 2, 'kernel': 3, 'stride': 2, 'expansion': 3.0, 'channels': 24, 'act': 're', 'splits': 2}
        ],
        'head': {'kernel': 1, 'stride': 1, 'channels': 1984, 'act': 'sw'},
    }


def test_json_defaults_and_canonical_form_are_those_of_the_string():
    text = json.dumps(
        {
            'stem': {'kernel': 3, 'stride': 2, 'channels': 16, 'act': 'sw'},
            'groups': [
                {'kernel': 3, 'expansion': 2, 'channels': 16, 'act': 'sw'},
                {'repeats': 9, 'kernel': 0, 'expansion': 6, 'channels': 16, 'act': 'sw', 'splits': 4},
            ],
            'head': {'kernel': 1, 'stride': 1, 'channels': 8, 'act': 'hs'},
        }
    )
    expected = network('ir_k3_e2_c16_nsw', 'ir_k0_c16_nre', head='cn_k1_c8_nhs')
    assert Arch.from_json(text) == Arch.parse(expected)


def json_with(path, value):
    """`MINIMAL` as data, with the entry at `path` replaced."""
    data = Arch.parse(MINIMAL).to_dict()
    at = data
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return data


JSON_PATHS = [
    ('img_size',), ('stem',), ('groups',), ('head',), ('groups', 0),
    *(('stem', key) for key in ('kernel', 'stride', 'channels', 'act')),
    *(('groups', 0, key) for key in ('repeats', 'kernel', 'stride', 'expansion', 'channels', 'act', 'splits')),
    *(('head', key) for key in ('kernel', 'stride', 'channels', 'act')),
]  # fmt: skip
JUNK = [
    None, True, False, '', '3', 'relu', 'x' * 10_000, [], [3], {}, {'a': 1}, 2.5, 1e308, float('nan'), float('inf'),
    -float('inf'), -1, 10**30, 10**5000, (1, 2), b'3', {3}, object(),
]  # fmt: skip


@pytest.mark.parametrize('path', JSON_PATHS, ids=lambda path: '.'.join(map(str, path)))
def test_junk_in_any_entry_of_the_data_is_an_error_that_names_the_entry(path):
    entry = f'groups[{path[1]}]' if len(path) > 1 and path[0] == 'groups' else path[0]
    for value in JUNK:
        if path[-1] == 'expansion' and value == 2.5:
            continue  # a good one
        if path == ('groups',) and value == []:
            continue  # named after the head, where the group is expected
        with pytest.raises(ArchError) as caught:
            Arch.from_dict(json_with(path, value))
        message = str(caught.value)
        assert message.startswith('groups[0]' if path == ('groups',) and isinstance(value, (list, tuple)) else entry)
        assert len(message) < 300


INTEGERS = [
    *[(('img_size',), '224'), (('stem', 'kernel'), '1'), (('stem', 'channels'), '1'), (('head', 'stride'), '1')],
    *((('groups', 0, key), '1') for key in ('repeats', 'stride', 'channels', 'splits')),
    (('groups', 0, 'kernel'), '3'),
]


@pytest.mark.parametrize('path, good', INTEGERS)
def test_json_takes_only_integers_where_integers_are_expected(path, good):
    text = json.dumps(json_with(path, '@'))
    arch = Arch.from_json(text.replace('"@"', good))
    assert Arch.parse(str(arch)) == arch
    for bad in (f'{good}.0', f'{good}e0', f'"{good}"', f'[{good}]', 'true', 'null', 'NaN', 'Infinity', '-Infinity'):
        with pytest.raises(ArchError, match='expected'):
            Arch.from_json(text.replace('"@"', bad))


@pytest.mark.parametrize(
    'text, message',
    [
        ('', r'^not JSON'),
        ('{', r'^not JSON'),
        (MINIMAL, r'^not JSON'),
        ('9' * 5000, r'^not JSON'),  # more digits than Python turns into a number
        ('[' * 100_000, r'^not JSON'),
        ('{"stem":' * 10_000, r'^not JSON'),
        ('[' * 200 + ']' * 200, r'^architecture: expected an object with stem, groups, head, got a value of type list'),
        (' ' * 10_000_000, r'^expected JSON text of at most \d+ characters'),
        (None, r'^expected JSON text .* got None'),
        (b'{}', r'^expected JSON text .* got a value of type bytes'),
        ('null', r'^architecture: expected an object .* got None'),
        ('NaN', r'^architecture: expected an object .* got nan'),
        ('"' + 'a' * 1000 + '"', r"^architecture: expected an object .* got 'a{37}\.\.\.'$"),
        ('{}', r"^architecture: entry 'stem' is missing: expected stem, groups, head, img_size$"),
        ('{"stem": 1, "stem": 2}', r"^entry 'stem' stands twice in a JSON object: expected each entry once$"),
        ('{"stems": 1}', r"^architecture: unknown entry 'stems': .*; did you mean stem\?$"),
    ],
    ids=short,
)
def test_text_that_is_not_an_architecture_in_json(text, message):
    with pytest.raises(ArchError, match=message):
        Arch.from_json(text)


@pytest.mark.parametrize(
    'path, value, message',
    [
        (('groups', 0, 'kernel'), 4, r'^groups\[0\]: k4: expected one of k0, k3, .*; did you mean k3\?$'),
        (('groups', 0, 'kernel'), '3', r"^groups\[0\]: k is '3': expected .*; did you mean k3\?$"),
        (('groups', 0, 'act'), 'swish', r"^groups\[0\]: n is 'swish': expected one of .*; did you mean nsw\?$"),
        (('groups', 0, 'repeat'), 2, r"^groups\[0\]: unknown entry 'repeat': .*; did you mean repeats\?$"),
        (('groups', 0), {'kernel': 3}, r"^groups\[0\]: entry 'expansion' is missing"),
        (('stem', 'kernel'), 0, r'^stem: k0: expected one of k1, k3, k5, k7; did you mean k1\?$'),
        (('head', 'kernel'), 3, r'^head: k3: expected k1$'),
        (('img_size',), True, r'^img_size: i is True: expected input size in pixels from 1 to 4096$'),
        (('img_size',), 3, r'^img_size: i3: the input size is below the total stride of the network: .* 4 pixels$'),
        (('groups',), [], r'^head: expected at least one ir_ group between the stem and the head, found none$'),
        (('groups',), [0] * 65, r'^groups: expected at most 64, got 65$'),
        ((7,), 7, r'^architecture: unknown entry 7: expected stem, groups, head, img_size$'),
        ((10**5000,), 7, r'^architecture: unknown entry a huge number: expected'),
    ],
)
def test_data_errors_name_the_entry_and_the_fix(path, value, message):
    with pytest.raises(ArchError, match=message):
        Arch.from_dict(json_with(path, value))


# ---------------------------------------------------------------- errors: the token, its position, what was expected


@pytest.mark.parametrize(
    'text, message',
    [
        # not a string, or none to speak of
        (None, r'^expected an architecture string, got None$'),
        (224, r'^expected an architecture string, got 224$'),
        (float('nan'), r'^expected an architecture string, got nan$'),
        (MINIMAL.encode(), r'^expected an architecture string, got a value of type bytes$'),
        ([MINIMAL], r'^expected an architecture string, got a value of type list$'),
        ('', r'^expected an architecture string such as i224-cn_.*, got an empty one$'),
        (' \t\n', r'got an empty one$'),
        # too few tokens, other separators
        ('efficientnet_b0', r"^'efficientnet_b0': expected at least three tokens .* got 1$"),
        ('i224', r'expected at least three tokens .* got 0$'),
        (network(), r'expected at least three tokens .* got 2$'),
        (MINIMAL.replace('-', ' '), r'joined by "-"'),
        (MINIMAL.replace('-', '_'), r'joined by "-"'),
        (MINIMAL + '-', r"^token 5 '' at character 75: an empty token: expected one .-. between two tokens$"),
        ('-' + MINIMAL, r"^token 1 '' at character 1: an empty token"),
        (MINIMAL.replace('-ir', '--ir'), r"^token 3 '' at character 26: an empty token"),
        # the input size
        (network(GROUP, size='i0'), r"^token 1 'i0' at character 1: i0: expected input size in pixels from 1 to 4096$"),
        (network(GROUP, size='i4097'), r'expected input size in pixels from 1 to 4096$'),
        (network(GROUP, size='i99999999999'), r'i99999999999: expected input size in pixels from 1 to 4096$'),
        (network(GROUP, size='i' + '9' * 5000), r"^token 1 'i9{36}\.\.\.' at character 1: expected the input size"),
        (network(GROUP, size='i22.4'), r"^token 1 'i22.4' .* expected the input size in pixels, as i224$"),
        (network(GROUP, size='i-224'), r"^token 1 'i' at character 1: expected the input size in pixels, as i224$"),
        (network(GROUP, size='I224'), r'expected the input size in pixels, as i224; did you mean i224\?$'),
        (network(GROUP, size='i\uff12\uff12\uff14'), r'did you mean i224\?$'),
        (network(GROUP, size='224'), r'did you mean i224\?$'),
        (network(GROUP, size='i3'), r'i3: the input size is below the total stride .* at least 4 pixels$'),
        # stem and head
        (network(GROUP, stem='cn_k4_s2_c16_nsw'), r"^token 2 'cn_k4_.* \(stem\): k4: expected one of k1, .*; did"),
        (network(GROUP, stem='cn_k0_s2_c16_nsw'), r'k0: expected one of k1, k3, k5, k7; did you mean k1\?$'),
        (network(GROUP, stem='cn_r2_k3_s2_c16_nsw'), r'r2: expected r1, the stem is one convolution$'),
        (network(GROUP, stem='cn_k3_s2_e3_c16_nsw'), r"field 'e3' does not belong to cn_: expected r, k, s, c, nre"),
        (network(GROUP, stem='cn_k3_s2_c16_nsw_sp2'), r"field 'sp2' does not belong to cn_"),
        (network(GROUP, stem=GROUP), r'^token 2 .* at character 6: expected the stem convolution, .*; is it left out'),
        (network(GROUP, head=GROUP), r'^token 4 .* at character 53: expected the head convolution, .*; is it left out'),
        (network(GROUP, head='cn_k3_c1984_nsw'), r"^token 4 'cn_k3_.*' at character 53 \(head\): k3: expected k1$"),
        (network(GROUP, head='cn_k1_s2_c1984_nsw'), r's2: expected s1$'),
        # tokens of another kind
        (network('ds_r1_k3_s1_c16_nre'), r"^token 3 'ds_.* expected a group, as ir_.*; did you mean ir_\?$"),
        (network('IR' + GROUP[2:]), r'did you mean ir_\?$'),
        (network(' ' + GROUP), r'did you mean ir_\?$'),
        (network('cn_k3_c16_nre'), r'expected a group, as ir_.*; did you mean ir_\?$'),
        (network('mha_r1_k3_c16'), r'expected a group, as ir_\S+$'),
        # missing and duplicate fields
        (network(group(k=None)), r'field k is missing: expected kernel, as k3$'),
        (network(group(e=None)), r'field e is missing: expected expansion, as e2.25$'),
        (network(group(c=None)), r'field c is missing: expected output channels, as c24$'),
        (network(group(n=None)), r'field n is missing: expected non-linearity, one of nre, nsw, nhs$'),
        (network('ir_k0_s2_c24'), r'field n is missing'),
        (network('ir'), r"^token 3 'ir' at character 26: field k is missing"),
        (network(GROUP + '_k5'), r"field 'k5' is a second k: expected each field once$"),
        (network(GROUP + '_nsw'), r"field 'nsw' is a second n"),
        (network(GROUP + '_sp2'), r"field 'sp2' is a second sp"),
        # unknown fields and near misses
        (network(GROUP + '_'), r"unknown field '': expected r, k, s, e, c, nre\|nsw\|nhs, sp with their values$"),
        (network(group(n='relu')), r"unknown field 'nrelu': .*; did you mean nre\?$"),
        (network(group(n='silu')), r'did you mean nsw\?$'),
        (network(group(n='swish')), r'did you mean nsw\?$'),
        (network(group(n='hardswish')), r'did you mean nhs\?$'),
        (network(group(n='RE')), r'did you mean nre\?$'),
        (network(group(n=None) + '_relu'), r"unknown field 'relu': .*; did you mean nre\?$"),
        (network(group(sp=None) + '_se0.25'), r'did you mean sp1 \(Squeeze-Excite\)\?$'),
        (network(GROUP + '_noskip'), r'leave it out: a residual sum follows from stride and channels$'),
        (network(GROUP.replace('k3', 'K3')), r'did you mean k3\?$'),
        (network(GROUP.replace('k3', 'kernel3')), r'did you mean k3\?$'),
        (network(GROUP.replace('k3', 'kk3')), r'did you mean k3\?$'),
        (network(GROUP.replace('k3', 'k')), r'its number is missing: kernel, as k3$'),
        (network(GROUP.replace('r2', 'rep2')), r'did you mean r2\?$'),
        (network(GROUP.replace('e3', 'exp3')), r'did you mean e3\?$'),
        (network(GROUP.replace('e3', 'e.5')), r'did you mean e0.5\?$'),
        (network(GROUP.replace('sp2', 'split2')), r'did you mean sp2\?$'),
        (network(GROUP.replace('r2', 'r\uff12')), r"unknown field 'r\uff12': .*; did you mean r2\?$"),
        (network(GROUP.replace('r2', 'r٢')), r'did you mean r2\?$'),
        (network(GROUP.replace('r2', 'r²')), r'did you mean r2\?$'),
        (network(GROUP.replace('e3', 'einf')), r"unknown field 'einf'"),
        (network(GROUP.replace('e3', 'enan')), r"unknown field 'enan'"),
        (network(GROUP.replace('e3', 'e3e1')), r"unknown field 'e3e1'"),
        (network(GROUP.replace('e3', 'e+3')), r"unknown field 'e\+3'"),
        (network(GROUP + '_x' + '9' * 5000), r"unknown field 'x9{36}\.\.\.'"),
        # numbers out of range
        (network(group(r=0)), r'r0: expected repeats from 1 to 32$'),
        (network(group(r=33)), r'r33: expected repeats from 1 to 32$'),
        (network(group(r=2.5)), r"field 'r2.5': expected a whole number: repeats, as r2$"),
        (network(group(k=4)), r"^token 3 'ir_r2_k4_.* at character 26: k4: expected one of k0, .*; did you mean k3\?$"),
        (network(group(k=13)), r'k13: .*; did you mean k11\?$'),
        (network(group(s=0)), r's0: expected one of s1, s2; did you mean s1\?$'),
        (network(group(s=3)), r's3: expected one of s1, s2; did you mean s2\?$'),
        (network(group(c=0)), r'c0: expected channels from 1 to 8192$'),
        (network(group(c=8193)), r'c8193: expected channels from 1 to 8192$'),
        (network(group(c=99999999999)), r'c99999999999: expected channels from 1 to 8192$'),
        (network(group(sp=3)), r'sp3: expected one of sp0, sp1, sp2, sp4; did you mean sp2\?$'),
        (network(group(e=0)), r'e0: expected an expansion above 0 and at most 16, with up to 4 decimals$'),
        (network(group(e='16.0001')), r'e16.0001: expected an expansion above 0 and at most 16'),
        (network(group(e='3.12345')), r'e3.12345: expected an expansion .* with up to 4 decimals$'),
        (network(group(c=4096, e=16)), r'e16 makes 65536 channels: expected at most 32768$'),
        (network(*[GROUP] * 7), r'^token 9 .* 188: total stride 256: expected at most 128, a power of two$'),
        (network(*['ir_k3_e1_c8_nre'] * 65), r'^token 67 .*: expected at most 64 groups, got 65$'),
        (network(*['ir_r32_k3_e1_c8_nre'] * 8, 'ir_k3_e1_c8_nre'), r'257 blocks in all groups: expected at most 256$'),
        ('x' * 10_000_000, r'^expected at most 8192 characters, got 10000000$'),
    ],
    ids=short,
)
def test_errors_say_what_where_and_what_was_expected(text, message):
    found = parse_error(text)
    assert re.search(message, found), found
    assert len(found) < 400


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_errors_name_the_broken_token_and_where_it_stands(data):
    tokens = data.draw(arch_strings()).strip().split('-')
    which = data.draw(st.integers(1 if tokens[0][0] == 'i' else 0, len(tokens) - 1))
    tokens[which] += data.draw(st.sampled_from(('_x', '_k3', '_', '_k3_k5', '_c')))
    spaces = data.draw(st.sampled_from(('', '   ')))
    text = spaces + '-'.join(tokens)
    found = re.match(r"token (\d+) '(.*?)(\.\.\.)?' at character (\d+)", parse_error(text))
    assert int(found[1]) == which + 1
    assert text[int(found[4]) - 1 :].startswith(tokens[which])
    assert tokens[which].startswith(found[2]) and (found[3] or tokens[which] == found[2])


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


# ---------------------------------------------------------------- whatever comes in: an Arch or an ArchError, at once


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
