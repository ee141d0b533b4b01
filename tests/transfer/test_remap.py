"""Weights of any network in any other: the same outputs where the target contains the source, close ones elsewhere."""
import random
from dataclasses import replace

import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fpnas_timm.arch import Arch, Conv, Group
from fpnas_timm.errors import UsageError
from fpnas_timm.model.network import FPNAS
from fpnas_timm.transfer.layers import units_of
from fpnas_timm.transfer.remap import transfer
from fpnas_timm.transfer.repair import num_images_that_fit
from fpnas_timm.transfer.timm_weights import from_timm

from .nets import images, lively, relative_error

SMALL = 'i32-cn_k3_s2_c8_nsw-ir_k3_s1_e1_c8_nre-ir_r2_k3_s2_e2_c12_nsw_sp1-ir_k5_s2_e3_c16_nre_sp2-cn_k1_c24_nsw'


def random_arch(rng: random.Random) -> Arch:
    """A small network: up to four groups, two of which may halve the resolution."""
    stem = Conv(rng.choice((1, 3)), rng.choice((1, 2)), rng.choice((4, 6, 8)), rng.choice(('re', 'sw', 'hs', 'r6')))
    groups = [
        Group(
            rng.randint(1, 3), rng.choice((0, 3, 5)), rng.choice((1, 1, 2)), rng.choice((1, 2, 2.5)),
            rng.choice((6, 8, 12)), rng.choice(('re', 'sw', 'hs')), rng.choice((0, 0, 1, 2)),
        )
        for _ in range(rng.randint(1, 4))
    ]
    return Arch(stem, tuple(groups), Conv(1, 1, rng.choice((8, 16)), 'sw'), 32)


def containing(arch: Arch, rng: random.Random) -> Arch:
    """A network that contains another: more channels, kernels, splits and residual blocks at random."""
    groups, in_chs = [], arch.stem.channels + rng.choice((0, 0, 3))
    stem = replace(arch.stem, channels=in_chs, kernel=arch.stem.kernel + rng.choice((0, 2)))
    old_in = arch.stem.channels
    for group in arch.groups:
        has_skip = group.stride == 1 and group.channels == old_in
        wider = in_chs if has_skip else group.channels + rng.choice((0, 0, 2, 5))
        if not has_skip and group.stride == 1 and wider == in_chs:
            wider += 1  # else it would get a residual sum
        old_in = group.channels
        if group.kernel == 0:
            groups.append(replace(group, channels=wider))
        else:
            splits = rng.choice({0: (0, 1, 2), 1: (1, 2, 4), 2: (2, 4), 4: (4,)}[group.splits])
            e = 1 if group.expansion == 1 else group.expansion + rng.choice((0, 0, 1))
            groups.append(replace(
                group, channels=wider, kernel=group.kernel + rng.choice((0, 2)), splits=splits, expansion=e,
                repeats=group.repeats + rng.choice((0, 0, 1)),
            ))
        in_chs = wider
    return Arch(stem, tuple(groups), replace(arch.head, channels=arch.head.channels + rng.choice((0, 8))), 32)


@given(st.integers(0, 10**9))
@settings(max_examples=30, deadline=None)
@torch.no_grad()
def test_a_target_that_contains_the_source_computes_the_same(seed):
    rng = random.Random(seed)
    arch = random_arch(rng)
    source = lively(FPNAS(str(arch), num_classes=3), seed)
    target = lively(FPNAS(str(containing(arch, rng)), num_classes=3), seed + 1)
    inherited = transfer(source, target)
    x = images(32, batch=3)
    assert inherited.contained and inherited.classifier and not inherited.left_out
    assert relative_error(source(x), target(x)) < 1e-5  # ReLU's further splits start at 1e-6
    assert relative_error(source.train()(x), target.train()(x)) < 1e-4


@given(st.integers(0, 10**9))
@settings(max_examples=25, deadline=None)
@torch.no_grad()
def test_any_two_networks_of_equal_strides_can_be_paired(seed):
    rng = random.Random(seed)
    pair = [random_arch(rng) for _ in range(2)]
    source, target = (lively(FPNAS(str(arch), num_classes=3), seed) for arch in pair)
    halvings = [sum(g.stride == 2 for g in arch.groups) for arch in pair]
    if pair[0].stem.stride != pair[1].stem.stride or halvings[0] != halvings[1]:
        with pytest.raises(UsageError, match='expected the same'):
            transfer(source, target)
        return
    inherited = transfer(source, target, images(32, batch=8))
    assert target(images(32)).isfinite().all()
    assert 0 <= inherited.weights <= 1 and str(inherited)
    for p in target.parameters():
        assert p.isfinite().all()


def changed(arch: Arch, rng: random.Random) -> Arch:
    """A network with at most one part that differs."""
    part, act = rng.randint(-2, len(arch.groups) - 1), rng.choice(('re', 'sw', 'hs', 'r6'))
    if part < 0:
        name = ('stem', 'head')[part]
        return replace(arch, **{name: replace(getattr(arch, name), act=act)})
    option = rng.choice([{'act': act}, {'expansion': 1}, {'expansion': 1.0001}, {'expansion': 3}, {'splits': 1}])
    groups = list(arch.groups)
    groups[part] = replace(groups[part], **option)
    return replace(arch, groups=tuple(groups))


@given(st.integers(0, 10**9))
@settings(max_examples=60, deadline=None)
@torch.no_grad()
def test_outputs_are_the_same_wherever_that_is_said(seed):
    rng = random.Random(seed)
    arch = random_arch(rng)
    pools = rng.choices(('avg', 'fastavg', 'max', 'catavgmax'), (4, 1, 1, 1), k=2)
    source = lively(FPNAS(str(arch), num_classes=3, global_pool=pools[0]), seed)
    other = str(changed(containing(arch, rng), rng))
    target = lively(FPNAS(other, num_classes=3, global_pool=pools[1], bn_eps=rng.choice((1e-5, 2.0))), seed + 1)
    inherited = transfer(source, target)
    x = images(32, batch=3)
    assert inherited.classifier == (pools[0].removeprefix('fast') == pools[1].removeprefix('fast'))
    if inherited.contained:
        theirs, ours = (net.forward_features(x).amax((2, 3)) for net in (source, target))
        assert relative_error(theirs, ours[:, : theirs.shape[1]]) < 1e-4
        assert not inherited.classifier or relative_error(source(x), target(x)) < 1e-4
    else:
        assert 'the same' not in inherited.summary


@pytest.mark.parametrize(('old', 'new', 'words'), [
    ('e1_c8_nre', 'e3_c8_nre', 'blocks.0.0: from blocks.0.0, 8 channels, 8 channels and 16 more inside (with an '),
    ('e3_c16', 'e1_c16', '(without its expansion layer)'),
    ('k3_s2_c8_nsw', 'k3_s2_c8_nr6', 'stem: from the stem, 8 channels (nsw to nr6)'),
    ('c24_nsw', 'c24_nr6', 'conv_head: from the head, 24 channels (nsw to nr6)'),
])
def test_one_changed_part_is_said_and_the_layers_are_fitted(old, new, words):
    assert old in SMALL
    source, target = lively(FPNAS(SMALL, num_classes=3)), lively(FPNAS(SMALL.replace(old, new), num_classes=3), 1)
    inherited = transfer(source, target, images(32, batch=8))
    assert not inherited.contained and inherited.fitted == 8
    assert words in str(inherited)


def test_an_output_stride_of_the_target_alone():
    source = lively(FPNAS(SMALL, num_classes=3))
    dilated = lively(FPNAS(SMALL, num_classes=3, output_stride=8), 1)
    assert transfer(source, dilated).contained  # a total stride of 8 is below it
    larger = 'i32-cn_k3_s2_c8_nsw-ir_k3_s2_e2_c8_nre-ir_k3_s2_e2_c12_nre-ir_k3_s2_e2_c16_nre-cn_k1_c24_nsw'
    source, dilated = lively(FPNAS(larger, num_classes=3)), lively(FPNAS(larger, num_classes=3, output_stride=8), 1)
    inherited = transfer(source, dilated, images(32, batch=8))
    assert not inherited.contained and inherited.weights == 1
    assert 'layers that changed are not fitted (another output stride)' in inherited.summary


@torch.no_grad()
def test_itself():
    source = lively(FPNAS(SMALL, num_classes=3))
    target = lively(FPNAS(SMALL, num_classes=3), 1)
    inherited = transfer(source, target, images(32, batch=8))
    assert inherited.weights == 1 and inherited.contained and not inherited.fitted
    assert all(torch.equal(a, b) for a, b in zip(source.parameters(), target.parameters()))


@torch.no_grad()
def test_new_parts_can_learn():
    source = lively(FPNAS(SMALL, num_classes=3))
    wide = SMALL.replace('r2_k3_s2_e2_c12_nsw_sp1', 'r3_k5_s2_e4_c20_nsw_sp2').replace('c16_nre_sp2', 'c24_nre_sp4')
    target = lively(FPNAS(wide, num_classes=3), 1)
    transfer(source, target)
    with torch.enable_grad():
        target.train()(images(32, batch=8)).square().sum().backward()
    for p in target.parameters():
        assert p.grad is not None
    grad = target.blocks[1][2].conv_pwl.bn.weight.grad
    assert grad.abs().max() > 0, 'a block that adds nothing at first learns to'
    assert target.blocks[1][0].conv_dw[1].bn.weight.grad.abs().max() > 0, 'as does a further split'


@torch.no_grad()
def test_a_smaller_target_fitted_to_images_is_closer_than_one_that_is_not():
    source = lively(FPNAS(SMALL, num_classes=3))
    small = SMALL.replace('e2_c12', 'e1.5_c8').replace('e3_c16', 'e2_c12').replace('k5_s2', 'k3_s2')
    x, errors = images(32, batch=16), []
    for given_images in (None, images(32, batch=64)):
        target = lively(FPNAS(small, num_classes=3), 1)
        inherited = transfer(source, target, given_images)
        assert inherited.fitted == (64 if given_images is not None else 0) and not inherited.contained
        errors.append(relative_error(source(x), target(x)))
    assert errors[1] < 0.6 * errors[0], errors


def test_the_memory_for_large_images_is_bounded():
    net = timm.create_model('fpnas_l0', num_classes=0)
    units = units_of(net)
    largest = max(m.in_channels for m in net.modules() if isinstance(m, torch.nn.Conv2d) and m.groups > 1)
    few, many = (num_images_that_fit(net, units, size, size) for size in (1024, 224))
    assert 2 <= few < 32 and few * 20 <= many <= 2048
    assert many * largest * 7 * 7 * 4 < 2**30


def test_words_for_users():
    source = lively(FPNAS(SMALL, num_classes=3))
    target = FPNAS(SMALL.replace('k5_s2_e3_c16', 'k3_s2_e2_c12'), num_classes=5).double()
    inherited = transfer(source, target)
    assert inherited.blocks['blocks.2.0'] == (
        'from blocks.2.0, 12 of 16 channels, 24 of 40 channels inside (kernel 5 to 3)'
    )
    assert str(inherited).endswith('layers that changed are not fitted (no images); a new classifier')


@torch.no_grad()
def test_a_timm_network_is_a_source_and_image_channels_may_differ():
    theirs = lively(timm.create_model('mobilenetv2_035', num_classes=3))
    ours = from_timm(theirs)
    target = lively(FPNAS(str(ours.arch), num_classes=3, in_chans=1), 1)
    assert transfer(theirs, target).weights == 1
    assert torch.allclose(target.stem.conv.weight, ours.stem.conv.weight.sum(1, keepdim=True))


def test_networks_that_do_not_fit_and_other_families():
    source = lively(FPNAS(SMALL, num_classes=3))
    with pytest.raises(UsageError, match='the target is a ResNet: expected a network of this package'):
        transfer(source, timm.create_model('resnet18'))
    smaller = FPNAS(SMALL.replace('c16', 'c12'), num_classes=3)
    with pytest.raises(UsageError, match=r'images: a tensor of shape \(8, 1, 32, 32\): expected \(B, 3, H, W\)'):
        transfer(source, smaller, torch.zeros(8, 1, 32, 32))
    with pytest.raises(UsageError, match='the stem of the source has stride 2, that of the target 1'):
        transfer(source, FPNAS(SMALL.replace('k3_s2_c8', 'k3_s1_c8'), num_classes=3))
    with pytest.raises(UsageError, match='halves the resolution 2 times after its stem, the target 1'):
        transfer(source, FPNAS(SMALL.replace('k5_s2', 'k5_s1'), num_classes=3))
    with pytest.raises(UsageError, match='is a ResNet'):
        transfer(timm.create_model('resnet18'), FPNAS(SMALL))
