"""The network: forward in its parts, its options, classifier, layer groups and gradient checkpointing."""
import pytest
import timm
import torch
from timm.models import group_parameters, save_for_hf
from timm.optim import param_groups_layer_decay
from torch import nn

import fpnas_timm  # noqa: F401
from fpnas_timm.errors import UsageError
from tests.model.nets import LONG, SHORT, SMALL, close, images, make, no_grad  # noqa: F401


def test_forward_is_features_then_head():
    model, x = make(), images()
    features = model.forward_features(x)
    assert features.shape == (2, 96, 2, 2)
    pooled = model.forward_head(features, pre_logits=True)
    assert pooled.shape == (2, model.head_hidden_size) == (2, model.num_features)
    close(pooled, features.mean((2, 3)))
    close(model.forward_head(features), model.classifier(pooled))
    assert torch.equal(model(x), model.forward_head(features))


def test_the_input_stays_as_it_is():
    model, x = make(), images()
    copy = x.clone()
    model(x), model.forward_intermediates(x)
    assert torch.equal(x, copy)


@pytest.mark.parametrize('size', [(63, 65), (97, 33), (32, 32), (1, 1), (224, 100)])
def test_odd_image_sizes(size):
    model, x = make(), images(2, size)
    assert model(x).shape == (2, 10)
    assert model(x).isfinite().all()
    for info, y in zip(model.feature_info, model.forward_intermediates(x, intermediates_only=True)):
        assert y.shape == (2, info['num_chs'], *(-(-s // info['reduction']) for s in size))


def test_channels_last_is_contiguous():
    model, x = make(), images()
    want = model(x)
    close(model(x.to(memory_format=torch.channels_last)), want)
    model = model.to(memory_format=torch.channels_last)
    close(model(x), want)
    close(model(x.to(memory_format=torch.channels_last)), want)


def test_bfloat16():
    want = make()(images())
    out = make().to(torch.bfloat16)(images().to(torch.bfloat16))
    assert out.dtype == torch.bfloat16
    assert (out.float() - want).abs().max() < 0.1 * want.abs().max()
    with torch.autocast('cpu', torch.bfloat16):
        out = make()(images())
    assert out.dtype == torch.bfloat16 and out.isfinite().all()


def test_backward_reaches_every_parameter():
    for arch in (SMALL, SHORT, LONG):
        model = make(arch).train()
        model(images(4)).square().mean().backward()
        idle = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
        assert not idle


# ---------------------------------------------------------------- classifier and options


def test_reset_classifier():
    model, x = make(), images()
    assert model.get_classifier() is model.classifier and model.classifier.out_features == model.num_classes == 10
    model.reset_classifier(3)
    assert model.num_classes == 3 and model.global_pool.pool_type == 'avg' and model(x).shape == (2, 3)
    model.reset_classifier(4, 'catavgmax')
    assert model(x).shape == (2, 4) and model.head_hidden_size == model.classifier.in_features == 2 * 96
    assert model.forward_head(model.forward_features(x), pre_logits=True).shape == (2, 192)
    model.reset_classifier(0, 'max')
    assert isinstance(model.get_classifier(), nn.Identity)
    close(model(x), model.forward_features(x).amax((2, 3)))
    model.reset_classifier(0, '')
    assert torch.equal(model(x), model.forward_features(x))
    model.reset_classifier(10, 'avg')
    assert model(x).shape == (2, 10) and model.head_hidden_size == 96
    model.train().reset_classifier(6)
    assert model.classifier.training and model.global_pool.training
    half = make().to(torch.bfloat16)
    half.reset_classifier(6)
    assert half.classifier.weight.dtype == torch.bfloat16


def test_reset_classifier_then_save_and_load(tmp_path):
    model = make()
    model.reset_classifier(4)
    save_for_hf(model, tmp_path, safe_serialization=True)
    loaded = timm.create_model(f'local-dir:{tmp_path}', pretrained=True).eval()
    assert torch.equal(loaded(images()), model(images()))


def test_no_classes_and_no_pooling():
    x = images()
    features = make().forward_features(x)
    close(make(num_classes=0)(x), features.mean((2, 3)))
    close(make(num_classes=0, global_pool='')(x), features)
    close(make(num_classes=0, global_pool='max')(x), features.amax((2, 3)))
    assert make(global_pool='catavgmax')(x).shape == (2, 10)
    assert make(num_classes=0).num_features == 96


@pytest.mark.parametrize('in_chans', [1, 2, 4, 12])
def test_in_chans(in_chans):
    model = make(in_chans=in_chans)
    assert model(images(chans=in_chans)).shape == (2, 10)
    assert model.stem.conv.in_channels == in_chans


def test_drop_rate():
    model, x = make(drop_rate=0.5), images()
    assert torch.equal(model(x), make()(x))
    features = model.forward_features(x)
    model.train()
    pooled = model.forward_head(features, pre_logits=True)
    assert 0.3 < (pooled == 0).float().mean() < 0.7
    assert not torch.equal(model.forward_head(features), model.forward_head(features))


def test_drop_path_rate():
    model, x = make(drop_path_rate=0.8), images()
    close(model(x), make()(x))
    rates = [getattr(b.drop_path, 'drop_prob', 0.0) for g in model.blocks for b in g if hasattr(b, 'drop_path')]
    assert rates[0] == 0 and rates == sorted(rates) and 0.4 < rates[-1] <= 0.8
    for bn in model.modules():
        if isinstance(bn, nn.BatchNorm2d):
            bn.momentum = 0.0
    model.train()
    assert not torch.equal(model(x), model(x))
    assert list(model.state_dict()) == list(make().state_dict())


def test_batch_norm_options():
    norms = [m for m in make(bn_eps=1e-3, bn_momentum=0.02).modules() if isinstance(m, nn.BatchNorm2d)]
    assert {(m.eps, m.momentum) for m in norms} == {(1e-3, 0.02)}


def test_device_and_dtype():
    model = timm.create_model('fpnas', arch=SMALL, device='meta', dtype=torch.bfloat16)
    tensors = list(model.state_dict().items())
    assert all(t.is_meta for _, t in tensors)
    assert all(t.dtype == torch.bfloat16 for n, t in tensors if 'num_batches' not in n)
    out = model(torch.empty(2, 3, 64, 64, device='meta', dtype=torch.bfloat16))
    assert out.is_meta and out.shape == (2, 1000) and out.dtype == torch.bfloat16
    model.reset_classifier(7)
    assert model.classifier.weight.is_meta and model.classifier.weight.dtype == torch.bfloat16
    double = make(device='cpu', dtype=torch.float64)
    assert double(images().double()).dtype == torch.float64
    with torch.device('meta'):
        model = timm.create_model('fpnas', arch=SMALL, num_classes=10)
    model.load_state_dict(make().state_dict(), assign=True)
    assert torch.equal(model.eval()(images()), make()(images()))


@pytest.mark.parametrize('name', ['fpnas', 'fpnas_s1pp'])
def test_unknown_options_are_refused(name):
    kwargs = dict(arch=SMALL) if name == 'fpnas' else {}
    with pytest.raises(TypeError, match='act_layer'):
        timm.create_model(name, act_layer='relu', **kwargs)
    with pytest.raises(TypeError, match='img_size'):
        timm.create_model(name, img_size=64, **kwargs)


def test_a_named_model_takes_no_other_arch():
    with pytest.raises(UsageError, match='fpnas_s1pp has its own architecture'):
        timm.create_model('fpnas_s1pp', arch=SMALL)


def test_set_grad_checkpointing_gives_the_same_gradients():
    x, results = images(4), []
    for enable in (False, True):
        model = make().train()
        model.set_grad_checkpointing(enable)
        assert model.grad_checkpointing is enable
        model(x).square().mean().backward()
        intermediates = model.forward_intermediates(x, intermediates_only=True)
        results.append(({n: p.grad for n, p in model.named_parameters()}, intermediates))
    (plain, maps), (checkpointed, maps_checkpointed) = results
    assert set(plain) == set(checkpointed)
    for name, grad in plain.items():
        close(checkpointed[name], grad)
    assert len(maps) == len(maps_checkpointed) == 5
    sum(y.square().mean() for y in maps_checkpointed).backward()


def test_grad_checkpointing_keeps_less():
    kept = []
    for enable in (False, True):
        model, sizes = make().train(), []
        model.set_grad_checkpointing(enable)
        with torch.autograd.graph.saved_tensors_hooks(lambda t, s=sizes: s.append(t.numel()) or t, lambda t: t):
            model(images(4))
        kept.append(sum(sizes))
    assert kept[1] < kept[0] / 2


@pytest.mark.parametrize('coarse', [False, True])
def test_group_matcher(coarse):
    model = make()
    groups = group_parameters(model, model.group_matcher(coarse=coarse))
    names = [n for i in sorted(groups) for n in groups[i]]
    assert sorted(names) == sorted(n for n, _ in model.named_parameters())
    assert names == [n for n, _ in model.named_parameters()]  # from the stem to the classifier
    last = groups[max(groups)]
    assert set(last) == {'classifier.weight', 'classifier.bias'}
    assert all(n.startswith('stem.') for n in groups[0])
    # stem, groups or blocks (the identity has no parameters; the head convolution joins the last), classifier
    assert len(groups) == 1 + (6 if coarse else 9) + 1
    assert 'conv_head.conv.weight' in groups[max(groups) - 1]


def test_layer_decay():
    model = make()
    groups = param_groups_layer_decay(model, weight_decay=0.05, layer_decay=0.75)
    scale = {id(p): g['lr_scale'] for g in groups for p in g['params']}
    scales = [scale[id(p)] for p in model.parameters()]
    assert len(scales) == len(scale) and scales == sorted(scales) and scales[-1] == 1
    plain = [g for g in groups if g['weight_decay'] == 0]
    assert {id(p) for g in plain for p in g['params']} == {id(p) for p in model.parameters() if p.dim() == 1}
