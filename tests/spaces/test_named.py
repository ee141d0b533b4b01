"""The paper's spaces: the printed tables typed again, and exact counts."""
import math
import re
from fractions import Fraction

import pytest

import fpnas_timm
from fpnas_timm.spaces import Row, get_space, list_spaces

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


@pytest.mark.parametrize('name', ['', 'fpnas', 'fpnas_l3', 'FPNAS_L0', 'space.yaml', None, 3])
def test_unknown_names(name):
    with pytest.raises(ValueError, match=r'unknown search space .*: expected one of fbnetv2_f, .*, or a \.json file'):
        get_space(name)
