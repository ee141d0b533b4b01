"""`arch/cost.py` against fvcore and against the parameters of the built model, to the last unit."""

import random
from typing import Any

import pytest
import timm
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fpnas_timm.arch import Arch
from fpnas_timm.arch.cost import Cost, block_cost, cost, group_cost, group_costs
from fpnas_timm.arch.sizes import ImgSize
from fpnas_timm.model.network import FPNAS
from fpnas_timm.spaces import get_space, list_spaces
from fpnas_timm.zoo.report import count

ARCHS_PER_SPACE = 25  # 225 in all nine


def torchs_count(model: nn.Module, size: int, in_chans: int) -> float:
    """Multiply-adds of convolutions and linear layers by torch's own counter."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(torch.zeros(1, in_chans, size, size))
    return counter.get_total_flops() / 2


@pytest.mark.parametrize('name', list_spaces())
def test_equals_torchs_count_fvcores_and_numel(name: str) -> None:
    """By torch's counter for all, by fvcore for one in five, of each size: tracing takes it three times as long."""
    space, rng = get_space(name), random.Random(name)
    for i in range(ARCHS_PER_SPACE):
        arch = space.sample_arch(rng)
        size = [arch.img_size, 33, 65, 95, 127][i % 5]  # odd maps on the way down, all of them
        num_classes, in_chans = [(1000, 3), (10, 1), (0, 4)][i // 3 % 3]
        with torch.device('meta'):  # counts do not depend on the weights: they are left uninitialised
            model = FPNAS(str(arch), num_classes=num_classes, in_chans=in_chans).to_empty(device='cpu')
        found = cost(arch, size, num_classes, in_chans)
        assert found.params == sum(p.numel() for p in model.parameters()), (str(arch), size)
        assert found.macs == torchs_count(model, size, in_chans), (str(arch), size)
        if i % 6 == 0:
            assert found.macs == count(model, size, in_chans).macs, (str(arch), size)


def test_convention_is_the_papers() -> None:
    # EfficientNet-B0 is listed at 390 M in the paper; conv 384.5 M + linear 1.3 M
    assert round(count(timm.create_model('efficientnet_b0'), 224).macs / 1e6, 1) == 385.8


def test_groups_add_up_and_match_the_modules() -> None:
    arch = get_space('fpnas_l1').sample_arch(random.Random(1))  # 240 -> 15 -> 8
    parts, model = group_costs(arch), FPNAS(str(arch))
    assert Cost(*map(sum, zip(*parts.values()))) == cost(arch)
    modules = {'stem': model.stem, 'head': model.conv_head, 'classifier': model.classifier}
    modules |= {f'groups.{i}': group for i, group in enumerate(model.blocks)}
    assert list(parts) == ['stem', *(f'groups.{i}' for i in range(13)), 'head', 'classifier']
    for name, part in parts.items():
        assert part.params == sum(p.numel() for p in modules[name].parameters()), name


@pytest.mark.parametrize('output_stride', [8, 16, 32])
@pytest.mark.parametrize('size', [64, (33, 70)])
def test_strides_that_become_dilation(output_stride: int, size: ImgSize) -> None:
    """Also that of a bypass; and two ways of pooling before the classifier."""
    arch = Arch.parse(
        'i64-cn_k3_s2_c8_nsw-ir_r2_k3_s2_e3_c8_nre-ir_k0_s2_c8_nre-ir_k3_s2_e2_c16_nre_sp2-ir_r2_k5_s2_e1_c24_nre-'
        'cn_k1_c32_nsw'
    )
    args: dict[str, Any] = {'output_stride': output_stride, 'global_pool': 'catavgmax'}
    model = FPNAS(str(arch), num_classes=7, **args)
    found = cost(arch, size, 7, **args)
    assert found.params == sum(p.numel() for p in model.parameters())
    assert found.macs == count(model, size).macs
    assert cost(model, size, 7) == found  # type: ignore[arg-type]
    parts = group_costs(arch, size, 7, **args)
    assert Cost(*map(sum, zip(*parts.values()))) == found and parts['groups.1'].macs > 0


def test_identity_costs_nothing() -> None:
    arch = Arch.parse('i32-cn_k3_s2_c16_nsw-ir_k0_s1_c16_nre-ir_k3_s2_e2_c16_nre-cn_k1_c32_nsw')
    assert arch.blocks[0][0].is_identity
    assert block_cost(arch.blocks[0][0], 16) == Cost(0, 0)


def test_too_small_an_image_is_refused() -> None:
    arch = get_space('fpnas_l0').sample_arch(random.Random(0))
    with pytest.raises(ValueError, match='img_size 31 is too small: this network needs at least 32 pixels'):
        cost(arch, 31)


def test_a_group_costs_the_sum_of_its_blocks() -> None:
    arch = Arch.parse('i30-cn_k3_s2_c16_nsw-ir_r3_k5_s2_e3_c24_nre_sp2-ir_k0_c24_nre-cn_k1_c32_nsw')
    first, *others = arch.blocks[0]
    assert group_cost(arch.groups[0], 16, 15) == sum((block_cost(b, 8) for b in others), block_cost(first, 15))
    assert group_cost(arch.groups[1], 24, 8) == Cost(0, 0)
