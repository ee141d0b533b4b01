"""Networks of timm as strings: parameters counted by timm, what is exact, and what cannot be."""
import pytest
import timm
import torch
from torch import nn

from fpnas_timm.arch import Arch
from fpnas_timm.arch.cost import cost
from fpnas_timm.errors import UsageError
from fpnas_timm.transfer.timm_arch import as_arch
from fpnas_timm.weights.folder import export_model

# Their Squeeze-Excite, if any, squeezes to as many units as ours, so the parameters are the same.
SAME_PARAMS = (
    'efficientnet_lite0', 'efficientnet_lite2', 'mobilenetv2_050', 'mobilenetv2_110d', 'mnasnet_100', 'fbnetc_100',
    'spnasnet_100',
)
WIDER_ATTENTION = ('efficientnet_b0', 'efficientnet_b4', 'mnasnet_small', 'semnasnet_100', 'tinynet_a')


def on_meta(name: str, **kwargs) -> nn.Module:
    with torch.device('meta'):
        return timm.create_model(name, **kwargs)


@pytest.mark.parametrize('name', SAME_PARAMS)
def test_the_string_has_the_parameters_of_the_network(name):
    found = as_arch(on_meta(name))
    assert found.exact
    assert cost(found.arch).params == sum(p.numel() for p in on_meta(name).parameters())


@pytest.mark.parametrize('name', WIDER_ATTENTION)
def test_a_network_whose_attention_is_narrower_is_contained(name):
    found = as_arch(on_meta(name))
    assert found.exact
    assert cost(found.arch).params > sum(p.numel() for p in on_meta(name).parameters())


def test_the_string_is_the_one_that_timm_builds_mobilenetv2_from():
    assert str(as_arch('mobilenetv2_100')) == (
        'i224-cn_r1_k3_s2_c32_nr6-ir_r1_k3_s1_e1_c16_nr6-ir_r2_k3_s2_e6_c24_nr6-ir_r3_k3_s2_e6_c32_nr6-'
        'ir_r4_k3_s2_e6_c64_nr6-ir_r3_k3_s1_e6_c96_nr6-ir_r3_k3_s2_e6_c160_nr6-ir_r1_k3_s1_e6_c320_nr6-'
        'cn_r1_k1_s1_c1280_nr6'
    )


def test_an_expansion_layer_of_the_same_width_is_told_from_none():
    arch = as_arch('fbnetc_100').arch
    assert arch.groups[0].expansion == 1.0001  # an inverted residual of expansion 1 has the layer, in timm
    assert as_arch('mobilenetv2_100').arch.groups[0].expansion == 1


@pytest.mark.parametrize(('name', 'differences'), [
    ('mobilenetv3_large_100', ('the head: the head convolution comes after the pooling', 'hard-sigmoid gate')),
    ('mobilenetv3_rw', ('blocks.0.0: no residual sum there',)),
    ('tf_efficientnet_b0', ("the stem: 'same' padding", "blocks.1.0: 'same' padding")),
    ('lcnet_050', ('hard-swish after the projection there, none here',)),
])
def test_what_is_approximated_is_said_block_by_block(name, differences):
    found = as_arch(on_meta(name))
    assert not found.exact
    for difference in differences:
        assert any(difference in line for line in found.differences), found.differences
    assert Arch.parse(str(found)) == found.arch


def test_batch_norms_of_tf_models_keep_their_epsilon():
    assert as_arch(on_meta('tf_efficientnet_b0')).bn_eps == 1e-3
    assert as_arch(on_meta('efficientnet_b0')).bn_eps == 1e-5


@pytest.mark.parametrize(('name', 'block'), [
    ('efficientnet_es', 'blocks.0.0 is a Fused-MBConv block'),
    ('efficientnet_cc_b0_4e', 'blocks.4.0 is a block of conditional convolutions'),
    ('efficientnetv2_rw_t', 'blocks.0.0 has a 3x3 convolution: expected 1x1'),
    ('mixnet_s', 'blocks.1.0 has a MixedConv2d'),
    ('efficientnet_blur_b0', 'blocks.1.0 has anti-aliasing'),
    ('mobilenetv1_100', 'it has no head convolution'),
    ('efficientnet_b0_g16_evos', 'convolution of 2 groups: expected one per channel'),
])
def test_what_a_string_cannot_hold_ends_in_a_sentence_that_names_the_block(name, block):
    with pytest.raises(UsageError, match=f'^{name} cannot be an architecture string: ') as e:
        as_arch(on_meta(name))
    assert block in str(e.value) and '\n' not in str(e.value)


def test_networks_of_this_package_and_their_folders(tmp_path):
    net = timm.create_model('fpnas_s1pp', num_classes=2)
    assert as_arch(net).arch == as_arch('fpnas_s1pp').arch == net.arch
    config = timm.data.resolve_model_data_config(net)
    export_model(net, tmp_path / 'run' / 'export', config, [], {})
    for folder in (f'local-dir:{tmp_path}/run/export', f'{tmp_path}/run', f'{tmp_path}/run/export'):
        assert as_arch(folder).arch == net.arch


def test_another_family_and_an_unknown_name():
    with pytest.raises(UsageError, match='resnet18 is a ResNet: expected a network of timm'):
        as_arch(on_meta('resnet18'))
    with pytest.raises(UsageError, match=r'mobilenetv2_10: no model with this name .* did you mean mobilenetv2_1'):
        as_arch('mobilenetv2_10')


def test_a_dilated_network_is_refused():
    with pytest.raises(UsageError, match='is dilated: create the model without output_stride'):
        as_arch(on_meta('mobilenetv2_050', output_stride=16))
