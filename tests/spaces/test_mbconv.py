"""MBConv spaces: choices and architectures, and users' spaces as JSON files."""
import dataclasses
import itertools
import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fpnas_timm.arch import Arch, ArchError, Conv, Group
from fpnas_timm.spaces import MBConvSpace, Row, get_space, list_spaces, steps
from tests.spaces.cases import everything, tiny_space


@st.composite
def spaces_and_choices(draw):
    space = get_space(draw(st.sampled_from(list_spaces())))
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


def test_steps():
    assert steps(112, 224, 16) == (112, 128, 144, 160, 176, 192, 208, 224)
    assert steps(1.5, 6.0, 0.75) == (1.5, 2.25, 3.0, 3.75, 4.5, 5.25, 6.0)
    assert steps(1, 1, 1) == (1,)
    assert steps(0.1, 0.5, 0.1) == (0.1, 0.2, 0.3, 0.4, 0.5)
    assert steps(8, 30, 8) == (8, 16, 24)
    for wrong in ((1, 2, 0), (1, 2, -1), (2, 1, 1)):
        with pytest.raises(ValueError, match=r'expected \(min, max, step\) with min <= max and a step above 0'):
            steps(*wrong)


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
        ('{"name": "a", "name": "b"}', r"entry 'name' appears twice"),
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


def test_files_that_are_not_there_or_not_text(tmp_path):
    with pytest.raises(FileNotFoundError):
        get_space(tmp_path / 'none.json')
    (tmp_path / 'binary.json').write_bytes(b'\xff\xfe\x00{')
    with pytest.raises(ValueError, match=r'binary\.json'):
        get_space(tmp_path / 'binary.json')
