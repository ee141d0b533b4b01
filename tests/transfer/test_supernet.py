"""A supernet that starts from a network: the largest sub-network is that network, and slices keep what matters."""
import pytest
import timm
import torch

from fpnas_timm.errors import UsageError
from fpnas_timm.model.network import FPNAS
from fpnas_timm.model.supernet import SuperNet
from fpnas_timm.spaces.around import largest_arch, space_around
from fpnas_timm.transfer.importance import hidden_importance, stream_importance
from fpnas_timm.transfer.layers import units_of
from fpnas_timm.transfer.supernet import sorted_by_importance, start_supernet
from fpnas_timm.transfer.timm_weights import from_timm

from .nets import images, lively, relative_error

ARCH = 'i32-cn_k3_s2_c8_nsw-ir_k3_s1_e1_c8_nre-ir_r2_k5_s2_e4_c16_nsw_sp1-ir_k5_s1_e3_c24_nre_sp2-cn_k1_c24_nsw'


@pytest.mark.parametrize('name', ['own', 'mnasnet_small', 'efficientnet_lite0'])
@torch.no_grad()
def test_the_largest_sub_network_computes_what_the_source_computes(name):
    source = FPNAS(ARCH, num_classes=3) if name == 'own' else timm.create_model(name, num_classes=3)
    source = lively(source)
    source = source if isinstance(source, FPNAS) else from_timm(source)
    x = images(64, batch=4)
    assert relative_error(source(x), sorted_by_importance(source)(x)) < 1e-9
    space = space_around(source.arch)
    assert largest_arch(space) == source.arch
    net = SuperNet(space, num_classes=3).double()
    assert start_supernet(net, source)
    assert relative_error(source.train()(x), net(x, source.arch)) < 1e-9
    extracted = net.float().extract(source.arch).double().train()
    assert relative_error(source(x), extracted(x)) < 1e-4


@torch.no_grad()
def test_channels_are_sorted_from_important_to_not():
    net = sorted_by_importance(lively(FPNAS(ARCH, num_classes=3)))
    units = units_of(net)
    for scores in [*stream_importance(net, units).values(), hidden_importance(net.blocks[1][0])]:
        assert (scores.diff() <= 1e-12).all()


@torch.no_grad()
def test_another_number_of_classes_gets_a_new_classifier():
    source = lively(FPNAS(ARCH, num_classes=3))
    net = SuperNet(space_around(source.arch), num_classes=5).double()
    before = net.classifier.weight.clone()
    assert not start_supernet(net, source)
    assert torch.equal(before, net.classifier.weight)


def test_a_space_that_is_not_around_the_source_and_other_channels():
    source = lively(FPNAS(ARCH, num_classes=3))
    other = space_around(ARCH.replace('c24_nre', 'c32_nre'))
    with pytest.raises(UsageError, match=r"space 'around' is not around this network: group 3 is at most .*_c32_"):
        start_supernet(SuperNet(other, num_classes=3), source)
    shorter = space_around(ARCH.replace('-ir_k5_s1_e3_c24_nre_sp2', ''))
    with pytest.raises(UsageError, match='it has 2 groups, the network 3'):
        start_supernet(SuperNet(shorter, num_classes=3), source)
    with pytest.raises(UsageError, match='the source takes 3 image channels, the search 1'):
        start_supernet(SuperNet(space_around(ARCH), num_classes=3, in_chans=1), source)
    other = FPNAS(ARCH, num_classes=3, global_pool='max')
    with pytest.raises(UsageError, match='the pooling of the source is max, that of the networks of a search avg'):
        start_supernet(SuperNet(space_around(ARCH), num_classes=3), other)
