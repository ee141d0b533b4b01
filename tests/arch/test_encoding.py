"""The encoding: parse and format are inverse, in strings and in JSON, and every token is timm's."""
import dataclasses
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.layers import get_act_layer
from timm.models._efficientnet_builder import decode_arch_def

from fpnas_timm.arch import Arch, ArchError, Conv, Group
from tests.arch.cases import (
    CANONICAL,
    GROUP,
    JSON_PATHS,
    MINIMAL,
    json_with,
    network,
    short,
)
from tests.helpers.strategies import arch_strings, archs, spellings


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


@given(archs())
@settings(max_examples=100, deadline=None)
def test_timm_decodes_every_token_to_the_same_values(arch):
    tokens = str(arch).split('-')[1:]
    stem, *groups, head = decode_arch_def([[token] for token in tokens])
    names = {'re': 'relu', 'sw': 'swish', 'hs': 'hard_swish', 'r6': 'relu6'}
    layers = {letters: get_act_layer(name) for letters, name in names.items()}
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
        ('{"stem": 1, "stem": 2}', r"^entry 'stem' appears twice in a JSON object: expected each entry once$"),
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
