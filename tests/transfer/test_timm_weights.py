"""Our network of a timm network's string computes what timm's computes."""
import copy

import pytest
import timm
import torch
from torch import nn

from fpnas_timm.errors import UsageError
from fpnas_timm.transfer.timm_arch import as_arch
from fpnas_timm.transfer.timm_weights import from_timm

from .nets import images, lively, relative_error

EXACT = (
    'efficientnet_lite0', 'efficientnet_b0', 'mobilenetv2_050', 'mnasnet_small', 'semnasnet_075', 'fbnetc_100',
    'spnasnet_100', 'tinynet_e',
)


def without_dropout(model: nn.Module) -> nn.Module:
    model = copy.deepcopy(model)
    for module in model.modules():
        for name in ('drop_rate', 'drop_prob', 'p'):
            if hasattr(module, name):
                setattr(module, name, 0.0)
    return model.train()


@pytest.mark.parametrize('name', EXACT)
@torch.no_grad()
def test_outputs_are_the_same_at_any_size_in_both_modes(name):
    theirs = lively(timm.create_model(name, num_classes=7))
    assert as_arch(theirs).exact
    ours = from_timm(theirs)
    assert ours.num_classes == 7 and not ours.training
    for size in (64, 75):
        x = images(size)
        assert relative_error(theirs(x), ours(x)) < 1e-9
        assert relative_error(without_dropout(theirs)(x), without_dropout(ours)(x)) < 1e-9
    theirs, ours, x = theirs.float(), ours.float(), images(64).float()
    assert relative_error(theirs(x), ours(x)) < 1e-4


@pytest.mark.parametrize(('name', 'bound'), [
    ('tf_efficientnet_lite0', 0.5), ('mobilenetv3_small_050', 0.5), ('efficientnet_b1_pruned', 0.05),
])
@torch.no_grad()
def test_what_is_not_exact_is_close(name, bound):
    theirs = lively(timm.create_model(name, num_classes=7))
    assert not as_arch(theirs).exact
    ours, x = from_timm(theirs), images(64)
    assert relative_error(theirs(x), ours(x)) < bound
    assert ours.stem.bn.eps == theirs.bn1.eps


@torch.no_grad()
def test_same_padding_is_exact_where_all_sizes_are_odd():
    theirs = lively(timm.create_model('tf_efficientnet_lite0', num_classes=3))
    ours, x = from_timm(theirs), images(65)  # 65, 33, 17, 9, 5, 3
    assert relative_error(theirs(x), ours(x)) < 1e-9


def test_the_classifier_is_kept_if_the_numbers_of_classes_agree():
    theirs = lively(timm.create_model('mobilenetv2_035', num_classes=5))
    same, other, none = (from_timm(theirs, n) for n in (5, 6, 0))
    assert torch.equal(same.classifier.weight, theirs.classifier.weight)
    assert other.classifier.out_features == 6 and isinstance(none.classifier, nn.Identity)


@pytest.mark.parametrize('pool', ['max', 'avgmax', 'catavgmax', 'fast'])
@torch.no_grad()
def test_the_pooling_is_the_sources(pool):
    theirs = lively(timm.create_model('mobilenetv2_035', num_classes=5, global_pool=pool))
    ours, x = from_timm(theirs), images(64)
    assert as_arch(theirs).exact and relative_error(theirs(x), ours(x)) < 1e-9
    same = from_timm(ours, drop_rate=0.5)
    assert same.drop_rate == 0.5 and relative_error(same(x), ours(x)) < 1e-9
    other = from_timm(theirs, global_pool='avgmax' if pool == 'max' else 'max')
    assert not torch.equal(*(net.classifier.weight[:, :1280] for net in (other, ours)))


def test_what_a_network_of_this_package_is_given():
    ours = from_timm(timm.create_model('mobilenetv2_035', num_classes=5, in_chans=1))
    again = from_timm(ours, num_classes=3, drop_path_rate=0.2)
    assert (again.num_classes, again.in_chans) == (3, 1) and torch.equal(again.stem.conv.weight, ours.stem.conv.weight)
    with pytest.raises(UsageError, match='in_chans: expected with the name of a model only'):
        from_timm(ours, in_chans=3)
    with pytest.raises(UsageError, match='it pools in two ways'):
        from_timm(timm.create_model('mobilenetv3_small_050', global_pool='catavgmax'))


def test_images_that_are_not_square():
    theirs = timm.create_model('mobilenetv2_035', pretrained_cfg_overlay={'input_size': (3, 96, 128)})
    assert as_arch(theirs).arch.img_size == from_timm(theirs).arch.img_size == (96, 128)
    own = timm.create_model('fpnas', arch=str(as_arch('mobilenetv2_035')), pretrained_cfg_overlay={
        'input_size': (3, 96, 96)})
    assert as_arch(own).arch.img_size == 96


def test_grey_images_and_the_data_config():
    theirs = lively(timm.create_model('efficientnet_lite0', in_chans=1, num_classes=2))
    ours = from_timm(theirs, drop_rate=0.3)
    assert ours.in_chans == 1 and ours.drop_rate == 0.3
    given, got = (timm.data.resolve_model_data_config(m) for m in (theirs, ours))
    assert got == given


def test_no_weights_and_unknown_tags_end_in_a_sentence():
    with pytest.raises(UsageError, match=r'mnasnet_small.nope: no such weights: expected one of mnasnet_small\.lamb'):
        from_timm('mnasnet_small.nope')
    with pytest.raises(UsageError, match=r'mnasnet_140: timm has no weights for this model'):
        from_timm('mnasnet_140')
    with pytest.raises(UsageError, match=r'vit_tiny_patch16_224 is a VisionTransformer: expected'):
        from_timm(timm.create_model('vit_tiny_patch16_224'))
