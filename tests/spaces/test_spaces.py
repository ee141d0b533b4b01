"""The search spaces: the printed tables typed again, exact counts, fair sampling, and spaces of one's own."""
import collections
import dataclasses
import itertools
import json
import math
import random
import re
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import fpnas_timm
from fpnas_timm.arch import Arch, ArchError, Conv, Group
from fpnas_timm.spaces import MBConvSpace, Row, SearchSpace, get_space, list_spaces, steps

# ---------------------------------------------------------------- the tables as printed, typed again for this test

TABLE_1 = """
224^2 x 3   | conv 3x3 | 1                 | 16             | 1 | 2
112^2 x 16  | MBConv   | 1                 | (12, 16, 4)    | 1 | 1
112^2 x 16  | MBConv   | (0.75, 4.5, 0.75) | (16, 24, 4)    | 1 | 2
56^2 x 24   | MBConv   | (0.75, 4.5, 0.75) | (16, 24, 4)    | 2 | 1
56^2 x 24   | MBConv   | (0.75, 4.5, 0.75) | (16, 40, 8)    | 1 | 2
28^2 x 40   | MBConv   | (0.75, 4.5, 0.75) | (16, 40, 8)    | 2 | 1
28^2 x 40   | MBConv   | (0.75, 4.5, 0.75) | (48, 80, 8)    | 1 | 2
14^2 x 80   | MBConv   | (0.75, 4.5, 0.75) | (48, 80, 8)    | 2 | 1
14^2 x 80   | MBConv   | (0.75, 4.5, 0.75) | (72, 112, 8)   | 3 | 1
14^2 x 112  | MBConv   | (0.75, 4.5, 0.75) | (112, 184, 8)  | 1 | 2
7^2 x 184   | MBConv   | (0.75, 4.5, 0.75) | (112, 184, 8)  | 3 | 1
7^2 x 184   | conv 1x1 | -                 | 1984           | 1 | 1
"""
TABLE_D4 = """
224^2 x 3   | conv 3x3 | -                | 16              | 1 | 2
112^2 x 16  | MBCConv  | (1.5, 6.0, 0.75) | (8, 32, 8)      | 1 | 1
112^2 x 32  | MBCConv  | (1.5, 6.0, 0.75) | (16, 32, 8)     | 2 | 2
56^2 x 32   | MBCConv  | (1.5, 6.0, 0.75) | (16, 32, 8)     | 2 | 1
56^2 x 32   | MBCConv  | (1.5, 6.0, 0.75) | (16, 56, 8)     | 2 | 2
28^2 x 56   | MBCConv  | (1.5, 6.0, 0.75) | (16, 56, 8)     | 2 | 1
28^2 x 56   | MBCConv  | (1.5, 6.0, 0.75) | (48, 96, 16)    | 4 | 2
14^2 x 96   | MBCConv  | (1.5, 6.0, 0.75) | (48, 96, 16)    | 3 | 1
14^2 x 96   | MBCConv  | (1.5, 6.0, 0.75) | (72, 136, 16)   | 3 | 1
14^2 x 136  | MBCConv  | (1.5, 6.0, 0.75) | (112, 224, 16)  | 2 | 2
7^2 x 224   | MBCConv  | (1.5, 6.0, 0.75) | (112, 224, 16)  | 2 | 1
7^2 x 224   | MBCConv  | (1.5, 6.0, 0.75) | (168, 280, 16)  | 2 | 1
7^2 x 280   | conv 1x1 | -                | 1984            | 1 | 1
"""
TABLE_D5 = """
240^2 x 3   | conv 3x3 | -                | 24              | 1 | 2
120^2 x 24  | MBCConv  | (1.5, 6.0, 0.75) | (16, 40, 8)     | 1 | 1
120^2 x 40  | MBCConv  | (1.5, 6.0, 0.75) | (24, 40, 8)     | 2 | 2
60^2 x 40   | MBCConv  | (1.5, 6.0, 0.75) | (24, 40, 8)     | 2 | 1
60^2 x 40   | MBCConv  | (1.5, 6.0, 0.75) | (24, 72, 8)     | 3 | 2
30^2 x 72   | MBCConv  | (1.5, 6.0, 0.75) | (24, 72, 8)     | 2 | 1
30^2 x 72   | MBCConv  | (1.5, 6.0, 0.75) | (64, 120, 16)   | 3 | 2
15^2 x 120  | MBCConv  | (1.5, 6.0, 0.75) | (64, 120, 16)   | 3 | 1
15^2 x 120  | MBCConv  | (1.5, 6.0, 0.75) | (88, 168, 16)   | 3 | 1
15^2 x 168  | MBCConv  | (1.5, 6.0, 0.75) | (88, 168, 16)   | 3 | 1
15^2 x 168  | MBCConv  | (1.5, 6.0, 0.75) | (136, 272, 16)  | 2 | 2
8^2 x 272   | MBCConv  | (1.5, 6.0, 0.75) | (136, 272, 16)  | 2 | 1
8^2 x 272   | MBCConv  | (1.5, 6.0, 0.75) | (208, 336, 16)  | 2 | 1
8^2 x 336   | MBCConv  | (1.5, 6.0, 0.75) | (208, 336, 16)  | 2 | 1
8^2 x 336   | conv 1x1 | -                | 1984            | 1 | 1
"""
TABLE_D6 = """
256^2 x 3   | conv 3x3 | -                | 24              | 1 | 2
128^2 x 24  | MBCConv  | (1.5, 6.0, 0.75) | (16, 40, 8)     | 1 | 1
128^2 x 40  | MBCConv  | (1.5, 6.0, 0.75) | (24, 40, 8)     | 2 | 2
64^2 x 40   | MBCConv  | (1.5, 6.0, 0.75) | (24, 40, 8)     | 2 | 1
64^2 x 40   | MBCConv  | (1.5, 6.0, 0.75) | (24, 72, 8)     | 3 | 2
32^2 x 72   | MBCConv  | (1.5, 6.0, 0.75) | (24, 72, 8)     | 2 | 1
32^2 x 72   | MBCConv  | (1.5, 6.0, 0.75) | (64, 120, 16)   | 3 | 2
16^2 x 120  | MBCConv  | (1.5, 6.0, 0.75) | (64, 120, 16)   | 3 | 1
16^2 x 120  | MBCConv  | (1.5, 6.0, 0.75) | (88, 168, 16)   | 3 | 1
16^2 x 168  | MBCConv  | (1.5, 6.0, 0.75) | (88, 168, 16)   | 3 | 1
16^2 x 168  | MBCConv  | (1.5, 6.0, 0.75) | (136, 272, 16)  | 2 | 2
8^2 x 272   | MBCConv  | (1.5, 6.0, 0.75) | (136, 272, 16)  | 2 | 1
8^2 x 272   | MBCConv  | (1.5, 6.0, 0.75) | (208, 336, 16)  | 2 | 1
8^2 x 336   | MBCConv  | (1.5, 6.0, 0.75) | (208, 336, 16)  | 2 | 1
8^2 x 336   | conv 1x1 | -                | 1984            | 1 | 1
"""
FBNETV2 = {'kernel': (0, 3, 5), 'act': ('re', 'sw'), 'splits': (0, 1)}
FPNAS = {'kernel': (0, 3, 5), 'act': ('re', 'sw'), 'splits': (0, 1, 2, 4)}
# the space, its macro and micro table, and its input size
PRINTED = {
    'fbnetv2_f': (TABLE_1, FBNETV2, 224),
    'fbnetv2_f++': (TABLE_1, FPNAS, 224),
    'fpnas_s1pp': (TABLE_1, FPNAS, 128),
    'fpnas_s2pp': (TABLE_1, FPNAS, 160),
    'fpnas_s3pp': (TABLE_1, FPNAS, 192),
    'fpnas_s4pp': (TABLE_1, FPNAS, 224),
    'fpnas_l0': (TABLE_D4, FPNAS, 224),
    'fpnas_l1': (TABLE_D5, FPNAS, 240),
    'fpnas_l2': (TABLE_D6, FPNAS, 256),
}


def printed_choices(cell):
    """`(min, max, step)` or a single number -> the choices up to the maximum, counted in exact arithmetic."""
    numbers = [Fraction(n) for n in re.findall(r'[\d.]+', cell)]
    low, high, step = numbers if len(numbers) == 3 else (numbers[0], numbers[0], 1)
    choices = []
    while low <= high:
        choices.append(low)
        low += step
    return tuple(choices)


def printed_rows(table):
    """Per line of a table: input size and channels, operator, expansion and channel cells, repeat, stride."""
    rows = []
    for line in table.strip().splitlines():
        cells = [cell.strip() for cell in line.split('|')]
        size, channels = re.fullmatch(r'(\d+)\^2 x (\d+)', cells[0]).groups()
        rows.append((int(size), int(channels), *cells[1:4], int(cells[4]), int(cells[5])))
    return rows


def test_the_spaces_are_those_of_the_paper():
    assert list_spaces() == list(PRINTED)
    assert fpnas_timm.get_space is get_space


@pytest.mark.parametrize('name', PRINTED)
def test_rows_are_those_of_the_printed_table(name):
    table, micro, img_size = PRINTED[name]
    stem, *rows, head = printed_rows(table)
    space = get_space(name)
    assert (space.name, space.img_size) == (name, img_size)
    assert (space.stem.kernel, space.stem.channels, space.stem.stride) == (3, int(stem[4]), stem[6])
    assert (space.head.kernel, space.head.channels, space.head.stride) == (1, int(head[4]), head[6])
    assert len(space.rows) == len(space.groups) == len(rows)
    for row, group, (_, _, _, expansion, channels, repeat, stride) in zip(space.rows, space.groups, rows):
        assert (row.repeat, row.stride) == (repeat, stride)
        expected = {**micro, 'expansion': printed_choices(expansion), 'channels': printed_choices(channels)}
        assert dict(group) == row.variables == expected
        assert list(group) == ['kernel', 'act', 'splits', 'expansion', 'channels']
        assert all(type(c) is int for c in group['channels'])


@pytest.mark.parametrize('name', ['fbnetv2_f', 'fbnetv2_f++', 'fpnas_l0', 'fpnas_l1', 'fpnas_l2'])
def test_the_largest_network_has_the_printed_maximum_input_in_every_row(name):
    """The column "Max input" checks strides, channels and rounding, of which the space stores nothing.

    The steps of (64, 120, 16) and (136, 272, 16) in Tables D.5 and D.6 do not meet the maximum: the input is smaller.
    """
    space = get_space(name)
    size, channels = space.img_size, 3
    convs = [space.stem, *space.rows, space.head]
    for conv, (printed_size, printed_channels, *_) in zip(convs, printed_rows(PRINTED[name][0]), strict=True):
        assert size == printed_size
        assert channels == {120: 112, 272: 264}.get(printed_channels, printed_channels)
        size = math.ceil(size / conv.stride)
        channels = max(conv.channels) if isinstance(conv, Row) else conv.channels


# ---------------------------------------------------------------- what the paper counts


@pytest.mark.parametrize('name', PRINTED)
def test_num_archs_is_the_exact_product(name):
    table, micro, _ = PRINTED[name]
    expected = 1
    for _, _, operator, expansion, channels, _, _ in printed_rows(table):
        if not operator.startswith('conv'):
            for choices in (*micro.values(), printed_choices(expansion), printed_choices(channels)):
                expected *= len(choices)
    assert type(get_space(name).num_archs) is int
    assert get_space(name).num_archs == expected


def test_num_archs_of_the_large_spaces_as_printed():
    assert f'{get_space("fpnas_l0").num_archs:.2e}' == '1.60e+32'
    assert f'{get_space("fpnas_l1").num_archs:.1e}' == f'{get_space("fpnas_l2").num_archs:.1e}' == '5.7e+38'
    # eleven rows with 3 kernels, 2 non-linearities, 4 splits, 7 expansions; then the channels of each
    assert get_space('fpnas_l0').num_archs == (3 * 2 * 4 * 7) ** 11 * (4 * 3 * 3 * 6 * 6 * 4 * 4 * 5 * 8 * 8 * 8)


def test_adaptive_sampling_starts_with_14_samples_in_fbnetv2_f():
    entropy = math.log(get_space('fbnetv2_f').num_archs)  # of the uniform distribution, nats
    assert entropy == pytest.approx(56.25, abs=0.005)
    assert int(entropy / 4) == round(entropy / 4) == 14


@pytest.mark.parametrize('name, blocks', [('fpnas_l0', 27), ('fpnas_l1', 32), ('fpnas_l2', 32)])
def test_blocks_counted_as_the_paper_does(name, blocks):
    space = get_space(name)
    arch = space.to_arch(tuple((1, 0, 0, 0, 0) for _ in space.groups))  # kernel 3 throughout: nothing is bypassed
    assert 1 + sum(len(group) for group in arch.blocks) + 1 == blocks


# ---------------------------------------------------------------- choices and architectures


@st.composite
def spaces_and_choices(draw):
    space = get_space(draw(st.sampled_from(list(PRINTED))))
    return space, tuple(
        tuple(draw(st.integers(0, len(choices) - 1)) for choices in group.values()) for group in space.groups
    )


@given(spaces_and_choices())
@settings(max_examples=100, deadline=None)
def test_to_arch_and_from_arch_are_inverse(drawn):
    space, choices = drawn
    arch = space.to_arch(choices)
    assert arch in space
    assert space.to_arch(space.from_arch(arch)) == arch
    assert space.to_arch(space.from_arch(Arch.parse(str(arch)))) == arch
    in_chs = space.stem.channels
    for row, chosen, found, group in zip(space.rows, choices, space.from_arch(arch), arch.groups):
        values = {variable: c[k] for k, (variable, c) in zip(chosen, row.variables.items())}
        assert (group.kernel, group.channels, group.stride) == (values['kernel'], values['channels'], row.stride)
        if group.kernel:
            assert found == chosen
            assert group == Group(repeats=row.repeat, stride=row.stride, **values)
        else:  # what a bypass makes irrelevant comes back as the first choice
            identity = row.stride == 1 and values['channels'] == in_chs
            assert found == (chosen[0], 0 if identity else chosen[1], 0, 0, chosen[4])
        in_chs = group.channels


def tiny_space():
    """2 * 2 * 2 * 2 * 2 = 32 choices in the first group, 2 * 1 * 2 * 1 * 2 = 8 in the second."""
    rows = [
        Row((2, 3.5), (8, 16), repeat=2, stride=1, kernel=(0, 3), act=('re', 'sw'), splits=(0, 2)),
        Row((1,), (16, 24), repeat=1, stride=2, kernel=(0, 5), act=('hs',), splits=(1, 4)),
    ]
    return MBConvSpace.from_rows('tiny', Conv(3, 2, 8, 'sw'), rows, Conv(1, 1, 32, 'sw'), 32)


def everything(space):
    ranges = [[range(len(choices)) for choices in group.values()] for group in space.groups]
    return itertools.product(*(itertools.product(*group) for group in ranges))


def test_enumeration_of_a_tiny_space():
    space = tiny_space()
    choices = list(everything(space))
    assert len(choices) == len(set(choices)) == space.num_archs == 256
    archs = {space.to_arch(c) for c in choices}
    # first group: 16 with kernel 3; bypassed, an identity (8 channels) or a convolution with 2 non-linearities (16);
    # second group: 4 with kernel 5; bypassed, a strided convolution to 16 or 24 channels
    assert len(archs) == (16 + 1 + 2) * (4 + 2)
    assert {space.from_arch(a) for a in archs} <= set(choices)

    first = [
        f'ir_r{r}_k{k}_s{s}_e{e}_c{c}_n{n}_sp{sp}'
        for k, r, s, e in itertools.product((0, 3, 5), (2, 3), (1, 2), (2, 3, 3.5))
        for c, n, sp in itertools.product((8, 16, 24), ('re', 'sw'), (0, 2, 4))
    ]
    second = [
        f'ir_r1_k{k}_s{s}_e{e}_c{c}_nhs_sp{sp}'
        for k, s, e, c, sp in itertools.product((0, 3, 5), (1, 2), (1, 2), (8, 16, 24), (0, 1, 4))
    ]
    universe = {
        Arch.parse(f'i32-cn_k3_s2_c8_nsw-{a}-{b}-cn_k1_c32_nsw') for a, b in itertools.product(first[::3], second[::5])
    }
    assert len(universe & archs) > 20 and len(universe - archs) > 1000
    assert all((arch in space) == (arch in archs) for arch in universe)


def test_what_is_in_a_space():
    space = get_space('fpnas_l0')
    arch = space.to_arch(tuple((1, 0, 1, 0, 0) for _ in space.groups))
    assert arch in space
    assert arch not in get_space('fpnas_l1') and arch not in get_space('fbnetv2_f++')
    for nothing in (None, 'fpnas_l0', str(arch), space.from_arch(arch), space):
        assert nothing not in space

    def changed(**fields):
        return dataclasses.replace(arch, groups=(dataclasses.replace(arch.groups[0], **fields), *arch.groups[1:]))

    for other, message in [
        (arch.with_img_size(192), r"not in space 'fpnas_l0': its img_size is 224, not 192"),
        (dataclasses.replace(arch, stem=Conv(5, 2, 16, 'sw')), r'its stem is cn_r1_k3_s2_c16_nsw, not cn_r1_k5_'),
        (dataclasses.replace(arch, head=Conv(1, 1, 1280, 'sw')), r'its head is .*1984.*, not .*1280'),
        (dataclasses.replace(arch, groups=arch.groups[1:]), r'it has 11 groups, not 10'),
        (changed(kernel=7), r'group 0 has kernel \(0, 3, 5\), not 7'),
        (changed(act='hs'), r"group 0 has act \('re', 'sw'\), not hs"),
        (changed(channels=12), r'group 0 has channels \(8, 16, 24, 32\), not 12'),
        (changed(expansion=1.0), r'group 0 has expansion .*, not 1.0'),
        (changed(repeats=2), r'group 0 has repeat 1 and stride 1, not 2 and 1'),
        (changed(stride=2), r'group 0 has repeat 1 and stride 1, not 1 and 2'),
        (changed(kernel=0, stride=2), r'group 0 has repeat 1 and stride 1, not 1 and 2'),
    ]:
        assert other not in space
        with pytest.raises(ValueError, match=message):
            space.from_arch(other)


def test_another_input_size_is_another_space_of_the_same_rows():
    space = get_space('fbnetv2_f++').with_img_size(160, 'mine')
    assert (space.name, space.img_size, space.rows) == ('mine', 160, get_space('fpnas_s2pp').rows)
    assert space.sample_arch(random.Random(0)) in get_space('fpnas_s2pp')
    assert get_space('fbnetv2_f++').with_img_size(160).name == 'fbnetv2_f++'


# ---------------------------------------------------------------- sampling


def generator(kind, seed):
    return random.Random(seed) if kind == 'random' else torch.Generator().manual_seed(seed)


@pytest.mark.parametrize('kind', ['random', 'torch'])
def test_sampling_is_reproducible_and_leaves_the_global_generators_alone(kind):
    space = get_space('fpnas_l2')
    before = random.getstate(), torch.get_rng_state()
    one, two, other = generator(kind, 1), generator(kind, 1), generator(kind, 2)
    first = [space.sample_arch(one) for _ in range(5)]
    assert first == [space.sample_arch(two) for _ in range(5)]
    assert first != [space.sample_arch(other) for _ in range(5)]
    assert len(set(first)) == 5 and all(arch in space for arch in first)
    assert random.getstate() == before[0] and torch.equal(torch.get_rng_state(), before[1])


@pytest.mark.parametrize('kind', ['random', 'torch'])
def test_sampling_is_uniform(kind):
    space = SearchSpace('small', ({'a': (1, 2), 'b': ('x', 'y', 'z')}, {'c': (1, 2, 3, 4)}))
    draws, gen = 4800, generator(kind, 0)
    counts = collections.Counter(space.sample(gen) for _ in range(draws))
    assert set(counts) == set(everything(space)) and len(counts) == space.num_archs == 24
    expected = draws / 24
    chi_square = sum((n - expected) ** 2 / expected for n in counts.values())
    assert 7 < chi_square < 50  # 23 degrees of freedom: outside with probability 0.002, and the seed is fixed


@pytest.mark.parametrize('not_a_generator', [None, 0, random, torch])
def test_sampling_wants_a_generator(not_a_generator):
    with pytest.raises(TypeError, match=r'expected a random\.Random or a torch\.Generator'):
        get_space('fpnas_l0').sample(not_a_generator)


# ---------------------------------------------------------------- any space: groups of variables and choices


def test_a_space_of_anything():
    space = SearchSpace('cells', ({'op': ['conv', 'pool', None]}, {'op': ['conv', 'pool'], 'width': [8, 16]}))
    assert space.num_archs == 12
    assert [list(group) for group in space.groups] == [['op'], ['op', 'width']]
    assert space.values(((2,), (0, 1))) == [{'op': None}, {'op': 'conv', 'width': 16}]
    assert space.describe(((2,), (0, 1))) == '((2,), (0, 1))'


CHOICES_OF_OTHERS = [(), ((0,),), ((0,), (0, 0), (0,)), ((3,), (0, 0)), ((-1,), (0, 0)), ((0, 0), (0, 0))]


@pytest.mark.parametrize('choices', CHOICES_OF_OTHERS)
def test_choices_of_another_space_are_refused(choices):
    space = SearchSpace('cells', ({'op': ('a', 'b', 'c')}, {'op': ('a', 'b'), 'width': (8, 16)}))
    with pytest.raises(ValueError, match="space 'cells'"):
        space.values(choices)


@pytest.mark.parametrize(
    'groups, message',
    [
        ((), "space 'mine': expected at least one group"),
        (({'a': (1,)}, {}), "space 'mine', group 1: expected at least one variable"),
        (({'a': (1,), 'b': ()},), "space 'mine', group 0: variable 'b' has no choice"),
        (({'a': (1, 2, 1)},), "space 'mine', group 0: variable 'a' has a choice twice"),
        (({'a': (3, 3.0)},), "variable 'a' has a choice twice"),
    ],
)
def test_errors_of_a_space(groups, message):
    with pytest.raises(ValueError, match=message):
        SearchSpace('mine', groups)


def test_steps():
    assert steps(112, 224, 16) == (112, 128, 144, 160, 176, 192, 208, 224)
    assert steps(1.5, 6.0, 0.75) == (1.5, 2.25, 3.0, 3.75, 4.5, 5.25, 6.0)
    assert steps(1, 1, 1) == (1,)
    assert steps(0.1, 0.5, 0.1) == (0.1, 0.2, 0.3, 0.4, 0.5)
    assert steps(8, 30, 8) == (8, 16, 24)
    for wrong in ((1, 2, 0), (1, 2, -1), (2, 1, 1)):
        with pytest.raises(ValueError, match=r'expected \(min, max, step\) with min <= max and a step above 0'):
            steps(*wrong)


# ---------------------------------------------------------------- a space of one's own, as a file


@pytest.mark.parametrize('name', ['fbnetv2_f', 'fpnas_l2', 'tiny'])
def test_a_space_through_a_json_file(name, tmp_path):
    space = tiny_space() if name == 'tiny' else get_space(name)
    path = tmp_path / 'space.json'
    path.write_text(json.dumps(space.to_dict()))
    assert get_space(path) == get_space(str(path)) == space
    assert get_space(path).sample_arch(random.Random(0)) == space.sample_arch(random.Random(0))


NAMES = ('name', 'stem', 'rows', 'head')
MINE = {
    'name': 'mine',
    'img_size': 64,
    'stem': {'kernel': 3, 'stride': 2, 'channels': 8, 'act': 'hs'},
    'rows': [
        {
            'kernel': [3, 7], 'act': ['re'], 'splits': [0, 4], 'expansion': [1, 2.5], 'channels': [8, 16, 24],
            'repeat': 2, 'stride': 2,
        },
    ],
    'head': {'kernel': 1, 'stride': 1, 'channels': 64, 'act': 'hs'},
}  # fmt: skip


def mine_with(path, value):
    """`MINE` as JSON with the entry at `path` replaced, or left out where `value` is `...`."""
    data = json.loads(json.dumps(MINE))
    at = data
    for key in path[:-1]:
        at = at[key]
    if value is ...:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    return json.dumps(data)


def test_a_space_written_by_hand(tmp_path):
    path = tmp_path / 'mine.json'
    path.write_text(json.dumps(MINE))
    space = get_space(path)
    assert (space.name, space.img_size, space.num_archs) == ('mine', 64, 24)
    assert str(space.to_arch(((1, 0, 1, 1, 2),))) == (
        'i64-cn_r1_k3_s2_c8_nhs-ir_r2_k7_s2_e2.5_c24_nre_sp4-cn_r1_k1_s1_c64_nhs'
    )
    assert space.describe(((1, 0, 1, 1, 2),)) == str(space.to_arch(((1, 0, 1, 1, 2),)))
    path.write_text(mine_with(('img_size',), ...))
    assert get_space(path).img_size == 224


@pytest.mark.parametrize(
    'text, message',
    [
        ('', r'not JSON'),
        ('[' * 100_000, r'not JSON'),
        ('[]', r'search space: expected an object with name, stem, rows, head, got a value of type list'),
        ('null', r'search space: expected an object'),
        ('{"name": "a", "name": "b"}', r"entry 'name' stands twice"),
        *((mine_with((key,), ...), rf"search space: entry '{key}' is missing") for key in NAMES),
        *((mine_with((key,), 3), rf'{key}') for key in (*NAMES, 'img_size')),
        (mine_with(('colour',), 3), r"unknown entry 'colour': expected name, stem, rows, head, img_size"),
        (mine_with(('row',), 3), r"unknown entry 'row': .*; did you mean rows\?"),
        (mine_with(('rows',), []), r"space 'mine': expected at least one group"),
        (mine_with(('rows',), [3]), r'rows\[0\]: expected an object'),
        (mine_with(('rows',), [[]]), r'rows\[0\]: expected an object'),
        (mine_with(('rows', 0, 'kernels'), [3]), r"rows\[0\]: unknown entry 'kernels': .*; did you mean kernel\?"),
        *((mine_with(('rows', 0, key), ...), rf"rows\[0\]: entry '{key}' is missing") for key in MINE['rows'][0]),
        (mine_with(('rows', 0, 'kernel'), 3), r'rows\[0\]: kernel: expected a list of choices'),
        (mine_with(('rows', 0, 'act'), 're'), r'rows\[0\]: act: expected a list of choices'),
        (mine_with(('rows', 0, 'act'), [['re']]), r'rows\[0\]: act: expected a list of choices'),
        (mine_with(('rows', 0, 'act'), None), r'rows\[0\]: act: expected a list of choices'),
        (mine_with(('rows', 0, 'kernel'), []), r"group 0: variable 'kernel' has no choice"),
        (mine_with(('rows', 0, 'kernel'), [3, 5, 3]), r"group 0: variable 'kernel' has a choice twice"),
        (mine_with(('rows', 0, 'kernel'), [3, 4]), r"space 'mine': rows\[0\]: k4: expected one of k0, k3"),
        (mine_with(('rows', 0, 'kernel'), ['3']), r"rows\[0\]: k is '3': expected one of .*; did you mean k3\?"),
        (mine_with(('rows', 0, 'act'), ['re', 'relu6']), r"rows\[0\]: n is 'relu6': expected one of nre, nsw, nhs"),
        (mine_with(('rows', 0, 'act'), [1]), r'rows\[0\]: n1: expected one of nre, nsw, nhs'),
        (mine_with(('rows', 0, 'splits'), [0, 3]), r'rows\[0\]: sp3: expected one of sp0, sp1, sp2, sp4'),
        (mine_with(('rows', 0, 'expansion'), [1, 17]), r'rows\[0\]: e17: expected an expansion above 0'),
        (mine_with(('rows', 0, 'expansion'), [1, float('nan')]), r'rows\[0\]: e is nan: expected an exp'),
        (mine_with(('rows', 0, 'channels'), [8, 0]), r'rows\[0\]: c0: expected channels from 1 to 8192'),
        (mine_with(('rows', 0, 'channels'), [8, 16.5]), r'rows\[0\]: c16.5: expected channels'),
        (mine_with(('rows', 0, 'channels'), [8, True]), r'rows\[0\]: c is True: expected channels'),
        (mine_with(('rows', 0, 'repeat'), 0), r'rows\[0\]: r0: expected repeats from 1 to 32'),
        (mine_with(('rows', 0, 'repeat'), [1]), r'expected repeats from 1 to 32'),
        (mine_with(('rows', 0, 'stride'), 4), r'rows\[0\]: s4: expected one of s1, s2'),
        (mine_with(('rows',), MINE['rows'] * 5000), r'rows\[64\]: expected at most 64 groups, got 5000'),
        (mine_with(('rows',), MINE['rows'] * 7), r'rows\[6\]: total stride 256: expected at most 128'),
        (mine_with(('img_size',), 2), r'img_size: i2: the input size is below the total stride'),
        (mine_with(('stem', 'kernel'), 4), r'stem: k4: expected one of k1, k3, k5, k7'),
        (mine_with(('stem', 'size'), 4), r"stem: unknown entry 'size'"),
        (mine_with(('head', 'kernel'), ...), r"head: entry 'kernel' is missing"),
        (mine_with(('head', 'kernel'), 3), r'head: k3: expected k1'),
    ],
    ids=lambda value: str(value)[:30] if str(value)[:1] not in '{[' else '',
)
def test_files_that_do_not_hold_a_space(text, message, tmp_path):
    path = tmp_path / 'mine.json'
    path.write_text(text)
    with pytest.raises(ValueError, match=rf'(?s)mine\.json: .*{message}'):
        get_space(path)


def test_choices_that_only_together_make_no_architecture_are_refused_at_once():
    """Each is fine beside the other row's first choices; a wide input and a large expansion are too much together."""

    def space(expansion):
        rows = [
            Row((1,), (8, 8192), repeat=1, stride=1, kernel=(3,), act=('re',), splits=(0,)),
            Row((1, expansion), (8,), repeat=1, stride=1, kernel=(0, 3), act=('re',), splits=(0,)),
        ]
        return MBConvSpace.from_rows('mine', Conv(3, 2, 8, 'sw'), rows, Conv(1, 1, 8, 'sw'))

    with pytest.raises(ArchError, match=r"space 'mine': rows\[1\]: e16 makes 131072 channels: expected at most"):
        space(16)
    assert len({space(3).to_arch(choices) for choices in everything(space(3))}) == 6


@pytest.mark.parametrize('name', ['', 'fpnas', 'fpnas_l3', 'FPNAS_L0', 'space.yaml', None, 3])
def test_unknown_names(name):
    with pytest.raises(ValueError, match=r'unknown search space .*: expected one of fbnetv2_f, .*, or a \.json file'):
        get_space(name)


def test_files_that_are_not_there_or_not_text(tmp_path):
    with pytest.raises(FileNotFoundError):
        get_space(tmp_path / 'none.json')
    (tmp_path / 'binary.json').write_bytes(b'\xff\xfe\x00{')
    with pytest.raises(ValueError, match=r'binary\.json'):
        get_space(tmp_path / 'binary.json')
