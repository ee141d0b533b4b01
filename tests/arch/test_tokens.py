"""Errors in a string: the token, its position and what was expected."""
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.arch.cases import GROUP, MINIMAL, group, network, parse_error, short
from tests.helpers.strategies import arch_strings


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
        (network(group(n=None)), r'field n is missing: expected non-linearity, one of nre, nsw, nhs, nr6$'),
        (network('ir_k0_s2_c24'), r'field n is missing'),
        (network('ir'), r"^token 3 'ir' at character 26: field k is missing"),
        (network(GROUP + '_k5'), r"field 'k5' is a second k: expected each field once$"),
        (network(GROUP + '_nsw'), r"field 'nsw' is a second n"),
        (network(GROUP + '_sp2'), r"field 'sp2' is a second sp"),
        # unknown fields and near misses
        (network(GROUP + '_'), r"unknown field '': expected r, k, s, e, c, nre\|nsw\|nhs\|nr6, sp with their values$"),
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
