"""The amounts of work agree with the counts of `arch.cost`, which fvcore checks."""
import random

import pytest

from fpnas_timm.arch.cost import cost
from fpnas_timm.arch.sizes import area, attention_channels, expanded_channels, out_size
from fpnas_timm.device.latency_table import network_work
from fpnas_timm.spaces import get_space


@pytest.mark.parametrize('name', ['fpnas_s1pp', 'fpnas_l0'])
def test_multiply_adds_are_those_of_the_network(name: str) -> None:
    space, rng = get_space(name), random.Random(0)
    for _ in range(20):
        arch = space.sample_arch(rng)
        macs = arch.stem.channels * 27 * area(out_size(arch.img_size, 2)) / 1e6 + 1984 * 10 / 1e6
        for work in network_work(arch):
            macs += work.get('pointwise', 0) + work.get('attention', 0)
            for kernel in (3, 5):
                macs += kernel**2 * sum(work.get(f'depthwise k{kernel} s{stride}', 0) for stride in (1, 2))
        assert macs * 1e6 == pytest.approx(cost(arch, num_classes=10).macs, rel=1e-9)


def test_calls_are_the_layers_of_the_network() -> None:
    """Against the modules of the network itself."""
    import timm
    from torch import nn

    import fpnas_timm  # noqa: F401

    arch = get_space('fpnas_s1pp').sample_arch(random.Random(3))
    model = timm.create_model('fpnas', arch=str(arch))
    works = network_work(arch)
    convs = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    pointwise = [m for m in convs if m.kernel_size == (1, 1)]
    assert sum(work['pointwise calls'] for work in works) == len(pointwise)
    assert sum(work['depthwise calls'] for work in works) == sum(m.groups > 1 for m in convs)
    linear = sum(isinstance(m, nn.Linear) for m in model.modules()) - 1
    assert 2 * sum(v for work in works for k, v in work.items() if k.startswith('attention calls')) == linear


def test_an_identity_is_no_work_and_attention_is_counted_by_its_widths() -> None:
    from fpnas_timm.arch import Group
    from fpnas_timm.device.work import group_work

    bypassed = Group(2, 0, 1, 1.0, 16, 'sw')
    assert not group_work(bypassed, 16, 8)
    assert group_work(bypassed, 8, 8)['bypass calls'] == 1
    work = group_work(Group(1, 3, 1, 3.0, 16, 'sw', 4), 16, 8)
    width = expanded_channels(16, 3.0)
    assert work['attention'] == width * attention_channels(width) * 5 / 1e6
    assert work['weigh'] == 4 * width * 64 / 1e6 and 'scale' not in work


def test_padding_is_to_16_channels_and_fewer_are_work_of_their_own() -> None:
    """12 channels in and 20 out, in the first layer; 24 and 40 channels in the blocks."""
    from fpnas_timm.arch import Group
    from fpnas_timm.device.work import group_work

    work = group_work(Group(1, 3, 2, 2.0, 20, 'sw', 2), 12, 8)
    assert work['pointwise'] == (12 * 24 * 64 + 24 * 20 * 16) / 1e6
    assert work['pointwise, padded'] == (16 * 32 * 64 + 32 * 32 * 16) / 1e6
    assert work['pointwise, narrow'] == 12 * 32 * 64 / 1e6
    assert work['maps, padded'] == 2 * 32 * 16 / 1e6 and work['depthwise k3 s2'] == 2 * 24 * 16 / 1e6
    assert 'pointwise, narrow' not in group_work(Group(1, 3, 1, 2.0, 20, 'sw'), 16, 8)
