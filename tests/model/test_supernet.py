"""The supernet against the stand-alone networks that are cut out of it."""

import random

import pytest
import torch
import torch.nn.functional as F

from fpnas_timm.arch import Conv
from fpnas_timm.model.supernet import SuperNet, recalibrate
from fpnas_timm.spaces import MBConvSpace, Row


def space(**micro) -> MBConvSpace:
    micro = {'kernel': (0, 3, 5), 'act': ('re', 'sw'), 'splits': (0, 1, 2, 4), **micro}
    rows = [
        Row((1, 0.75, 3), (8, 12), 1, 1, **micro),
        Row((1.5, 3), (12, 16, 24), 2, 2, **micro),
        Row((1, 2), (16, 24), 2, 1, **micro),
    ]
    return MBConvSpace.from_rows('small', Conv(3, 2, 12, 'sw'), rows, Conv(1, 1, 32, 'sw'), 16)


def supernet(seed: int = 0, dtype: torch.dtype = torch.float32, **micro) -> SuperNet:
    """With random batch-norm weights: at 1 and 0 a wrong slice would not show."""
    torch.manual_seed(seed)
    net = SuperNet(space(**micro), num_classes=5)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.uniform_(module.bias, -0.5, 0.5)
    return net.to(dtype)


def archs(net: SuperNet, count: int, seed: int = 0) -> list:
    rng = random.Random(seed)
    return [net.space.sample_arch(rng) for _ in range(count)]


def same(kernel: int, splits: int) -> tuple:
    """Choices that are wide, with the same kernel and splits in every group."""
    return ((kernel, 0, splits, 2, 1), (kernel, 0, splits, 1, 2), (kernel, 0, splits, 1, 1))


def test_outputs_equal_the_extracted_network() -> None:
    """In training the same to the bit; in evaluation, after recalibration on that batch, to 1e-5."""
    net = supernet(dtype=torch.float64)
    images = torch.randn(6, 3, 16, 16, dtype=torch.float64)
    for arch in archs(net, 60):
        expected = net(images, arch)
        model = net.extract(arch).double()
        assert str(model.arch) == str(arch)
        assert torch.equal(model.train()(images), expected)
        recalibrate(model, [images])
        assert not model.training
        torch.testing.assert_close(model(images), expected, rtol=0, atol=1e-5)


def test_outputs_in_single_precision() -> None:
    net = supernet()
    images = torch.randn(6, 3, 16, 16)
    for arch in archs(net, 20, 1):
        with torch.no_grad():
            expected = net(images, arch)
            torch.testing.assert_close(net.extract(arch).train()(images), expected, rtol=0, atol=1e-5)


def test_gradients_are_those_of_the_extracted_networks() -> None:
    """Summed over two architectures, each weight's gradient is what the two networks alone have at its place."""
    net = supernet(dtype=torch.float64)
    images, target = torch.randn(6, 3, 16, 16, dtype=torch.float64), torch.randint(5, (6,))
    chosen = archs(net, 2, 3)
    for arch in chosen:
        F.cross_entropy(net(images, arch), target).backward()
    index = SuperNet(net.space, 5).double()  # a second supernet, whose weights are the numbers of their places
    start = 0
    for p in index.parameters():
        p.data = torch.arange(start, start + p.numel(), dtype=torch.float64).view_as(p)
        start += p.numel()
    expected = torch.zeros(start, dtype=torch.float64)
    for arch in chosen:
        model, places = net.extract(arch).double().train(), index.extract(arch)
        F.cross_entropy(model(images), target).backward()
        for p, place in zip(model.parameters(), places.double().parameters()):
            expected.index_add_(0, place.detach().round().long().reshape(-1), p.grad.reshape(-1))
    found = torch.cat([
        (torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1) for p in net.parameters()
    ])
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    assert (found != 0).sum() > 1000


def test_only_its_own_slice_gets_a_gradient() -> None:
    net = supernet()
    narrow = net.space.to_arch(((1, 0, 0, 0, 0), (1, 0, 0, 0, 0), (1, 0, 0, 0, 0)))
    F.cross_entropy(net(torch.randn(4, 3, 16, 16), narrow), torch.zeros(4, dtype=torch.long)).backward()
    last = net.conv_head.conv.weight.grad
    assert (last[:, :16] != 0).any()
    assert (last[:, 16:] == 0).all()
    assert net.blocks[1][0].attn.fc1.weight.grad is None
    assert (net.blocks[1][0].conv_dw[0].conv.weight.grad[:, :, 0] == 0).all()  # the outer ring of 5x5 is not of 3x3


def test_kernels_share_their_centre_and_splits_their_first() -> None:
    net = supernet()
    three, five = (net.extract(net.space.to_arch(same(k, 3))) for k in (1, 2))
    for i in range(4):
        inner = five.blocks[0][0].conv_dw[i].conv.weight[:, :, 1:4, 1:4]
        assert torch.equal(inner, three.blocks[0][0].conv_dw[i].conv.weight)
    plain = net.extract(net.space.to_arch(same(1, 0)))
    assert torch.equal(plain.blocks[0][0].conv_dw[0].conv.weight, three.blocks[0][0].conv_dw[0].conv.weight)


def test_choices_start_alike() -> None:
    """At initialisation, kernels and splits of an architecture compute nearly the same."""
    torch.manual_seed(0)
    net = SuperNet(space(), 5)
    images = torch.randn(32, 3, 16, 16)

    def features(kernel: int, splits: int) -> torch.Tensor:
        with torch.no_grad():
            return net(images, net.space.to_arch(same(kernel, splits))).flatten()

    base = features(1, 0)
    for kernel, splits in ((2, 0), (1, 1), (1, 2), (1, 3)):
        assert torch.corrcoef(torch.stack([base, features(kernel, splits)]))[0, 1] > 0.7


def test_recalibration_averages_over_batches() -> None:
    net = supernet()
    model = net.extract(archs(net, 1)[0])
    batches = [torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(i)) * (i + 1) for i in range(3)]
    recalibrate(model, batches)
    stems = [model.stem.conv(b) for b in batches]
    mean = torch.stack([s.mean((0, 2, 3)) for s in stems]).mean(0)
    var = torch.stack([s.var((0, 2, 3), correction=0) for s in stems]).mean(0)
    torch.testing.assert_close(model.stem.bn.running_mean, mean, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model.stem.bn.running_var, var, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match='at least one batch'):
        recalibrate(model, [])


def test_low_precision_and_memory_formats() -> None:
    net = supernet()
    arch = archs(net, 1)[0]
    images = torch.randn(6, 3, 16, 16)
    expected = net(images, arch)
    torch.testing.assert_close(net(images.to(memory_format=torch.channels_last), arch), expected)
    with torch.autocast('cpu', torch.bfloat16):
        low = net(images, arch)
        F.cross_entropy(low, torch.zeros(6, dtype=torch.long)).backward()
    assert low.dtype == torch.bfloat16
    assert torch.corrcoef(torch.stack([low.float().flatten(), expected.flatten()]))[0, 1] > 0.95
    assert all(p.grad.isfinite().all() for p in net.parameters() if p.grad is not None)


def test_spaces_without_some_choices() -> None:
    """No bypass, no attention, one kernel, only expansion 1: layers that nobody needs are not there."""
    for micro in ({'kernel': (3,)}, {'splits': (0,)}, {'kernel': (5,), 'splits': (2,)}, {'kernel': (0,)}):
        net = supernet(**micro)
        images = torch.randn(4, 3, 16, 16)
        for arch in archs(net, 5):
            assert torch.equal(net(images, arch), net.extract(arch).train()(images))
    assert sum(p.numel() for p in supernet(kernel=(0,)).parameters()) < 3000


def test_an_architecture_of_another_space() -> None:
    net = supernet()
    other = net.space.with_img_size(32)
    with pytest.raises(ValueError, match='not in space'):
        net.extract(other.sample_arch(random.Random(0)))
