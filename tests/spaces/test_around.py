"""The space around a network: counted by hand, contains the network, all of it smaller."""
import random

import pytest

from fpnas_timm.arch import Arch
from fpnas_timm.arch.cost import cost
from fpnas_timm.spaces import MBConvSpace
from fpnas_timm.spaces.around import check_around, largest_arch, space_around

ARCH = Arch.parse('i64-cn_k3_s2_c16_nre-ir_r2_k5_s2_e4_c32_nre_sp1-ir_k3_s1_e6_c48_nsw-cn_k1_c64_nre')


def test_choices_by_hand():
    space = space_around(ARCH, expansion=(0.5,), channels=(0.5, 0.75), divisor=8)
    first, second = space.rows
    assert (first.kernel, first.expansion, first.channels) == ((3, 5), (2.0, 4.0), (16, 24, 32))
    assert (second.kernel, second.expansion, second.channels) == ((0, 3), (3.0, 6.0), (24, 40, 48))  # 36 rounds to 40
    assert (first.splits, second.act, first.repeat, first.stride) == ((1,), ('sw',), 2, 2)
    assert space.num_archs == 2 * 2 * 3 * (2 * 2 * 3)
    fixed = space_around(ARCH, kernels=False, bypass=False)
    assert [row.kernel for row in fixed.rows] == [(5,), (3,)]


def test_the_network_is_the_largest_and_the_file_keeps_the_space():
    space = space_around(ARCH)
    assert ARCH in space and largest_arch(space) == ARCH
    assert MBConvSpace.from_dict(space.to_dict()) == space
    rng, limit = random.Random(0), cost(ARCH)
    for _ in range(50):
        found = cost(space.sample_arch(rng))
        assert found.macs <= limit.macs


def test_an_expansion_of_one_stays_and_no_other_becomes_one():
    arch = Arch.parse('i64-cn_k3_s2_c16_nre-ir_k3_s1_e1_c16_nre-ir_k3_s2_e1.5_c24_nre-cn_k1_c64_nre')
    space = space_around(arch)
    assert space.rows[0].expansion == (1.0,)
    assert all(e > 1 for e in space.rows[1].expansion)


@pytest.mark.parametrize(('kwargs', 'message'), [
    ({'expansion': (0.5, 1.5)}, 'expansion: 1.5: expected fractions above 0 and at most 1'),
    ({'channels': (0,)}, 'channels: 0: expected fractions'),
    ({'divisor': 0}, 'divisor 0: expected at least 1'),
])
def test_wrong_fractions(kwargs, message):
    with pytest.raises(ValueError, match=message):
        space_around(ARCH, **kwargs)


def test_a_space_of_another_network_is_named():
    with pytest.raises(ValueError, match=r'group 2 is at most ir_r1_k3_s1_e6_c48_nsw, the network has .*_c56_nsw'):
        check_around(space_around(ARCH), Arch.parse(str(ARCH).replace('c48', 'c56')))
