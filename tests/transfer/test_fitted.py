"""A supernet that is fitted to a network: its parts, their outputs, its classifier."""
from collections.abc import Callable

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

from fpnas_timm.errors import UsageError
from fpnas_timm.model.network import FPNAS
from fpnas_timm.spaces import MBConvSpace
from fpnas_timm.spaces.around import largest_arch, space_around, with_single_blocks
from fpnas_timm.transfer.fitted import PENALTY, FittedSuperNet, check_fixed_channels

ARCH = 'i16-cn_k3_s2_c8_nsw-ir_r2_k3_s2_e4_c12_nre-ir_r2_k5_s1_e3_c16_nsw_sp1-ir_k0_s1_c20_nre-cn_k1_c32_nsw'


def network() -> FPNAS:
    """A network whose statistics are those of its images."""
    torch.manual_seed(0)
    model = timm.create_model('fpnas', arch=ARCH, num_classes=5)
    for _ in range(20):
        model(torch.randn(64, 3, 16, 16))
    return model.eval()


@pytest.fixture(scope='module')
def source() -> FPNAS:
    return network()


@pytest.fixture(scope='module')
def space() -> MBConvSpace:
    return space_around(ARCH, blocks=True, channels=(1.0,))


@pytest.fixture(scope='module')
def net(source: FPNAS, space: MBConvSpace) -> FittedSuperNet:
    torch.manual_seed(1)
    net = FittedSuperNet(space, 3)
    done = list(net.fit(source, torch.randn(256, 3, 16, 16)))
    assert done[-1] == (len(space.rows), len(space.rows))
    return net


def disagreement(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(F.mse_loss(a, b) / b.var())


def test_the_source_is_taken_over(net: FittedSuperNet, source: FPNAS) -> None:
    x = torch.randn(8, 3, 16, 16)
    torch.testing.assert_close(net.labels(x), source(x).softmax(1))


def test_the_largest_is_close_to_the_source_and_the_others_less_so(
        net: FittedSuperNet, source: FPNAS, space: MBConvSpace
) -> None:
    torch.manual_seed(2)
    x = torch.randn(64, 3, 16, 16)
    with torch.no_grad():
        wanted, largest = source(x), net(x, largest_arch(space))
        generator = torch.Generator().manual_seed(0)
        others = [disagreement(net(x, space.sample_arch(generator)), wanted) for _ in range(8)]
    assert disagreement(largest, wanted) < 0.5 * sum(others) / len(others)


def test_fitted_parts_agree_better_than_plain_copies(source: FPNAS, space: MBConvSpace, net: FittedSuperNet) -> None:
    """The same narrow copies before their projections were solved, on images that they were not fitted to."""
    torch.manual_seed(3)
    x = torch.randn(64, 3, 16, 16)
    plain = FittedSuperNet(space, 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('fpnas_timm.transfer.fitted.fit_block', lambda unit, x, *_, **__: _run(unit.layer, x))
        list(plain.fit(source, torch.randn(64, 3, 16, 16)))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        wanted = source(x)
        archs = [space.sample_arch(generator) for _ in range(8)]
        fitted, copied = (
            sum(disagreement(of(x, arch), wanted) for arch in archs) for of in (net, plain)
        )
    assert fitted < 0.95 * copied


def shapes(module: nn.Module) -> dict[str, torch.Size]:
    return {name: values.shape for name, values in module.state_dict().items()}


def _run(layer: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    return layer(x)


def test_a_sub_network_is_the_network_of_its_parts(net: FittedSuperNet, space: MBConvSpace) -> None:
    x = torch.randn(4, 3, 16, 16)
    arch = space.sample_arch(torch.Generator().manual_seed(4))
    plain = timm.create_model('fpnas', arch=str(arch), num_classes=5).eval()
    plain.stem.load_state_dict(net.source.stem.state_dict())
    plain.conv_head.load_state_dict(net.source.conv_head.state_dict())
    plain.classifier.load_state_dict(net.source.classifier.state_dict())
    for i, (group, (block,)) in enumerate(zip(plain.blocks, arch.blocks)):
        if isinstance(group[0], nn.Identity):
            continue
        same = [part for part in net.blocks[i].values() if shapes(part) == shapes(group[0])]
        assert len(same) == 1, block
        group[0].load_state_dict(same[0].state_dict())
    torch.testing.assert_close(net(x, arch), plain(x))


def test_extract_is_a_network_for_the_classes_of_the_search(net: FittedSuperNet, space: MBConvSpace) -> None:
    arch = space.sample_arch(torch.Generator().manual_seed(5))
    model = net.extract(arch, [torch.randn(64, 3, 16, 16)])
    assert str(model.arch) == str(arch) and not model.training
    assert torch.equal(model.classifier.weight, net.classifier.weight)
    assert model(torch.randn(2, 3, 16, 16)).shape == (2, 3)
    with pytest.raises(ValueError, match='at least one batch'):
        net.extract(arch)


def test_the_classifier_is_at_the_optimum_of_its_loss(net: FittedSuperNet) -> None:
    torch.manual_seed(6)
    features, classes = 3 * torch.randn(90, 32) + 1, torch.arange(90) % 3
    features[:, 0] += 4 * classes
    net.fit_classifier(features, classes)
    weight = net.classifier.weight.detach().double().requires_grad_()
    bias = net.classifier.bias.detach().double().requires_grad_()
    loss = F.cross_entropy(features.double() @ weight.T + bias, classes)
    loss = loss + PENALTY * weight.square().sum() * features.double().var(0).mean()
    for gradient in torch.autograd.grad(loss, [weight, bias]):
        assert gradient.abs().max() < 2e-3
    assert (net.classifier(features).argmax(1) == classes).float().mean() > 0.9


def test_a_feature_that_hardly_varies_has_no_say(net: FittedSuperNet) -> None:
    torch.manual_seed(7)
    features, classes = torch.randn(90, 32), torch.arange(90) % 3
    features[:, 0] += 3 * classes
    features[:, 1] = 1e-5 * torch.randn(90)
    net.fit_classifier(features, classes)
    other = features.clone()
    other[:, 1] = 1  # as an approximation of the source may have it
    assert (net.classifier(other) - net.classifier(features)).abs().max() < 0.1


def test_the_state_of_a_source_with_other_classes(net: FittedSuperNet, space: MBConvSpace) -> None:
    again = FittedSuperNet(space, 3, num_labels=7)
    again.load_state_dict(net.state_dict())
    x, arch = torch.randn(2, 3, 16, 16), space.sample_arch(torch.Generator().manual_seed(7))
    assert torch.equal(again(x, arch), net(x, arch))


@pytest.mark.parametrize(('arch', 'given', 'said'), [
    (ARCH, {}, 'has 2 blocks that share their choices'),
    (str(with_single_blocks(largest_arch(space_around(ARCH)))), {}, 'has 8 to 12 channels'),
])
def test_spaces_that_cannot_be_fitted(arch: str, given: dict, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        check_fixed_channels(space_around(arch, **given))


def test_a_source_without_classifier_or_of_another_shape(space: MBConvSpace) -> None:
    other = timm.create_model('fpnas', arch=ARCH.replace('c32', 'c40'), num_classes=5)
    with pytest.raises(UsageError, match='is not around this network: the head'):
        list(FittedSuperNet(space, 3).fit(other, torch.randn(8, 3, 16, 16)))
    headless = timm.create_model('fpnas', arch=ARCH, num_classes=0)
    with pytest.raises(UsageError, match='has no classifier'):
        list(FittedSuperNet(space, 3).fit(headless, torch.randn(8, 3, 16, 16)))
    other = timm.create_model('fpnas', arch=ARCH, num_classes=5, global_pool='max')
    with pytest.raises(UsageError, match='the pooling of the source is max'):
        list(FittedSuperNet(space, 3).fit(other, torch.randn(8, 3, 16, 16)))


def test_a_network_is_fitted_best_in_its_own_company(source: FPNAS, space: MBConvSpace) -> None:
    """With itself as the only context, its parts are fitted to exactly what they read."""
    torch.manual_seed(4)
    x, images = torch.randn(64, 3, 16, 16), torch.randn(256, 3, 16, 16)
    generator = torch.Generator().manual_seed(1)
    archs = [space.sample_arch(generator) for _ in range(4)]
    closer = 0
    with torch.no_grad():
        wanted = source(x)
        for arch in archs:
            errors = []
            for context in (arch, largest_arch(space)):
                net = FittedSuperNet(space, 3)
                list(net.fit(source, images, contexts=[context]))
                errors.append(disagreement(net(x, arch), wanted))
            closer += errors[0] < errors[1]
    assert closer >= 3
