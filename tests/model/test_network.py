"""The network and the zoo: timm's whole model API, every way out of eager mode, and weights that come and go."""
import inspect
import json
import re
import subprocess
import sys
from itertools import combinations

import pytest
import timm
import torch
from timm.data import resolve_data_config
from timm.models import (
    FeatureGraphNet,
    create_feature_extractor,
    get_pretrained_cfg,
    group_parameters,
    save_for_hf,
)
from timm.optim import param_groups_layer_decay
from timm.utils import reparameterize_model
from torch import nn

import fpnas_timm
from fpnas_timm.arch import Arch, ArchError
from fpnas_timm.model.network import FPNAS, checkpoint_filter_fn
from fpnas_timm.paper import TABLE_B1
from fpnas_timm.zoo import ARCHS
from fpnas_timm.zoo.models import default_cfgs

# every kind of group; the last one is an identity
SMALL = (
    'i64-cn_r1_k3_s2_c8_nsw-ir_r1_k3_s1_e1_c8_nre-ir_r2_k3_s2_e3_c16_nre_sp1-ir_r1_k0_s1_e1_c24_nsw-'
    'ir_r2_k5_s2_e3_c24_nsw_sp2-ir_r1_k0_s2_e1_c32_nsw-ir_r2_k5_s2_e2.25_c40_nhs_sp4-ir_r1_k0_s1_e1_c40_nre-'
    'cn_r1_k1_s1_c96_nsw'
)
# the stem is a level of its own, the resolutions end early
SHORT = 'i32-cn_r1_k3_s2_c8_nsw-ir_r1_k3_s2_e3_c16_nre_sp2-ir_r1_k3_s2_e3_c24_nre-cn_r1_k1_s1_c32_nsw'
# strides go on to 64, and one group follows at full width
LONG = (
    'i64-cn_r1_k3_s2_c8_nre-ir_r1_k3_s2_e3_c8_nre-ir_r1_k0_s2_e1_c16_nre-ir_r1_k5_s2_e3_c16_nre_sp2-'
    'ir_r2_k3_s2_e3_c24_nre-ir_r1_k3_s2_e2_c24_nre_sp1-ir_r1_k3_s1_e2_c24_nre-cn_r1_k1_s1_c32_nre'
)
LEVELS = {SMALL: [(8, 2), (24, 4), (24, 8), (32, 16), (40, 32)], SHORT: [(8, 2), (16, 4), (24, 8)]}
SUBSETS = [(a, c) for a in LEVELS for n in range(1, 6) for c in combinations(range(len(LEVELS[a])), n)]


def make(arch: str = SMALL, **kwargs) -> nn.Module:
    """A model in eval mode whose batch norms are no identities and whose biases are not 0.

    Layer by layer the weights are the same for all options, with `features_only` too.
    """
    model = timm.create_model('fpnas', arch=arch, **{'num_classes': 10, **kwargs})
    generator = torch.Generator().manual_seed(1)
    for name, t in model.state_dict().items():
        if t.dim() > 1:
            t.normal_(0, (2 / t[0].numel()) ** 0.5, generator=generator)
        elif name.endswith('running_var') or name.endswith('weight'):
            t.uniform_(0.5, 1.5, generator=generator)
        elif name.endswith(('running_mean', 'bias')):
            t.normal_(0, 0.3, generator=generator)
    return model.eval()


def images(batch: int = 2, size: int | tuple[int, int] = 64, chans: int = 3) -> torch.Tensor:
    size = (size, size) if isinstance(size, int) else size
    return torch.randn(batch, chans, *size, generator=torch.Generator().manual_seed(2))


def close(actual, expected, tol: float = 1e-4) -> None:
    torch.testing.assert_close(actual, expected, rtol=tol, atol=tol)


@pytest.fixture(autouse=True)
def no_grad(request):
    """Without gradients, except in tests that are about them and have it in their name; the same random numbers."""
    torch.manual_seed(0)
    with torch.set_grad_enabled('grad' in request.node.name or 'backward' in request.node.name):
        yield


# ---------------------------------------------------------------- forward, in its parts


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


# ---------------------------------------------------------------- features


@pytest.mark.parametrize('arch', LEVELS, ids=['small', 'short'])
def test_feature_info_is_what_the_string_says(arch):
    model = make(arch)
    assert [(f['num_chs'], f['reduction']) for f in model.feature_info] == LEVELS[arch]
    modules = dict(model.named_modules())
    assert all(f['module'] in modules for f in model.feature_info)
    assert model.feature_info[0]['module'] == ('blocks.0' if arch == SMALL else 'stem')


@pytest.mark.parametrize(('arch', 'out_indices'), SUBSETS, ids=lambda v: v if isinstance(v, tuple) else v[:3])
def test_features_only_with_every_subset(arch, out_indices):
    x = images()
    everything = make(arch).forward_intermediates(x, intermediates_only=True)
    model = make(arch, features_only=True, out_indices=out_indices)
    assert model.feature_info.channels() == [LEVELS[arch][i][0] for i in out_indices]
    assert model.feature_info.reduction() == [LEVELS[arch][i][1] for i in out_indices]
    features = model(x)
    assert len(features) == len(out_indices)
    for y, (chs, reduction), i in zip(features, (LEVELS[arch][i] for i in out_indices), out_indices):
        assert y.shape == (2, chs, 64 // reduction, 64 // reduction)
        close(y, everything[i])


@pytest.mark.parametrize('feature_cls', ['list', 'dict', 'hook', 'fx', 'getter'])
@pytest.mark.parametrize('out_indices', [None, (1, 3), (4,)])
def test_features_only_classes_agree(feature_cls, out_indices):
    x, whole = images(), make()
    options = {} if out_indices is None else dict(out_indices=out_indices)
    model = timm.create_model('fpnas', arch=SMALL, features_only=True, feature_cls=feature_cls, **options)
    names = {n.replace('.', '_'): t for n, t in whole.state_dict().items()}
    own = model.state_dict()
    for name, t in own.items():
        t.copy_(names[name.replace('.', '_').removeprefix('model_').removeprefix('graph_module_')])
    features = model.eval()(x)
    features = list(features.values()) if isinstance(features, dict) else features
    want = whole.forward_intermediates(x, indices=out_indices and list(out_indices), intermediates_only=True)
    assert len(features) == len(want)
    for y, z in zip(features, want):
        close(y, z)


def test_features_only_negative_indices_and_default():
    assert make(features_only=True).feature_info.channels() == [8, 24, 24, 32, 40]
    assert make(SHORT, features_only=True).feature_info.channels() == [8, 16, 24]  # timm's default is five levels
    assert make(features_only=True, out_indices=(-2, -1)).feature_info.channels() == [32, 40]
    assert make(features_only=True, output_stride=8).feature_info.reduction() == [2, 4, 8, 8, 8]


@pytest.mark.parametrize('arch', LEVELS, ids=['small', 'short'])
@pytest.mark.parametrize('stop_early', [False, True])
def test_forward_intermediates(arch, stop_early):
    model, x = make(arch), images()
    output, maps = model.forward_intermediates(x, stop_early=stop_early)
    close(output, model.forward_features(x))
    assert [(y.shape[1], 64 // y.shape[2]) for y in maps] == LEVELS[arch]
    for n in range(1, len(maps) + 1):
        last = model.forward_intermediates(x, indices=n, stop_early=stop_early, intermediates_only=True)
        assert all(torch.equal(a, b) for a, b in zip(last, maps[-n:])) and len(last) == n
    for i in range(len(maps)):
        output_i, (one,) = model.forward_intermediates(x, indices=[i], stop_early=stop_early)
        assert torch.equal(one, maps[i])
        if stop_early and i < len(maps) - 1:
            assert torch.equal(output_i, one)
        else:
            close(output_i, output)


def test_forward_intermediates_stop_early_runs_no_more():
    model, x = make(), images()
    ran = []
    for i, group in enumerate(model.blocks):
        group.register_forward_hook(lambda *_, i=i: ran.append(i))
    model.forward_intermediates(x, indices=[0, 1], stop_early=True)
    assert ran == [0, 1, 2]  # the bypassed group ends the resolution


def test_forward_intermediates_refuses_what_it_has_not():
    with pytest.raises(AssertionError, match='NCHW'):
        make().forward_intermediates(images(), output_fmt='NLC')
    with pytest.raises(AssertionError):
        make().forward_intermediates(images(), indices=[5])


@pytest.mark.parametrize('indices', [1, 3, [0], [0, 2], [4], [-1]], ids=str)
@pytest.mark.parametrize('arch', LEVELS, ids=['small', 'short'])
def test_prune_intermediate_layers(arch, indices):
    if arch == SHORT and indices == [4]:
        indices = [2]
    x = images()
    want = make(arch).forward_intermediates(x, indices=indices, intermediates_only=True)
    model = make(arch)
    taken = model.prune_intermediate_layers(indices)
    levels = len(LEVELS[arch])
    positions = range(levels)[-indices:] if isinstance(indices, int) else indices
    assert taken == [i % levels for i in positions]
    output, got = model.forward_intermediates(x, indices=taken)
    assert len(got) == len(want) and all(torch.equal(a, b) for a, b in zip(got, want))
    assert len(model.blocks) == model.feature_info[max(taken)]['stage']
    assert isinstance(model.get_classifier(), nn.Identity)
    chs = LEVELS[arch][max(taken)][0]
    assert model.num_features == model.head_hidden_size == chs
    assert model(x).shape[:2] == output.shape[:2] == (2, chs)
    model.reset_classifier(5, 'avg')
    assert model(x).shape == (2, 5)


def test_prune_keeps_the_head_if_asked():
    model, x = make(), images()
    want = model(x)
    model.prune_intermediate_layers([4], prune_head=False)
    assert torch.equal(model(x), want)
    model.prune_intermediate_layers([0], prune_head=False)  # there is nothing left for the head to follow
    assert model(x).shape == (2, 8, 32, 32)


@pytest.mark.parametrize('output_stride', [8, 16, 32])
@pytest.mark.parametrize('arch', [SMALL, SHORT, LONG], ids=['small', 'short', 'long'])
def test_output_stride(arch, output_stride):
    model, x = make(arch, output_stride=output_stride), images(1, 128)
    total = min(Arch.parse(arch).total_stride, output_stride)
    assert model.forward_features(x).shape[2:] == (128 // total, 128 // total)
    plain = make(arch).state_dict()
    assert {n: t.shape for n, t in model.state_dict().items()} == {n: t.shape for n, t in plain.items()}
    model.load_state_dict(plain)
    for info, y in zip(model.feature_info, model.forward_intermediates(x, intermediates_only=True)):
        assert y.shape[1:] == (info['num_chs'], 128 // info['reduction'], 128 // info['reduction'])
    assert max(m.dilation[0] for m in model.modules() if isinstance(m, nn.Conv2d)) == _widest(arch, output_stride)


def _widest(arch: str, output_stride: int) -> int:
    """Dilation after the strides that `output_stride` takes away, counting only kernels that can be dilated."""
    stride, dilation, widest = Arch.parse(arch).stem.stride, 1, 1
    for group in Arch.parse(arch).blocks:
        for block in group:
            widest = max(widest, dilation if block.kernel else 1)
            if block.stride > 1 and stride * block.stride > output_stride:
                dilation *= block.stride
            else:
                stride *= block.stride
    return widest


def test_output_stride_gives_the_map_of_the_whole_at_a_finer_grid():
    # every 4th pixel of the dilated map is the strided one: what dilation is for
    arch = SMALL.replace('_sp2', '').replace('_sp4', '').replace('_sp1', '')  # no global pooling
    x, dilated, plain = images(1, 128), make(arch, output_stride=8), make(arch)
    dilated.load_state_dict(plain.state_dict())
    close(dilated.forward_features(x)[:, :, ::4, ::4], plain.forward_features(x))


@pytest.mark.parametrize('output_stride', [0, 1, 4, 12, 64, -8, '32'])
def test_output_stride_takes_no_other(output_stride):
    with pytest.raises(ValueError, match=r'output_stride .*expected one of \(8, 16, 32\)'):
        make(output_stride=output_stride)


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
    with pytest.raises(TypeError, match='arch'):
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


# ---------------------------------------------------------------- out of eager mode


def test_torchscript():
    model, x = make(), images()
    scripted = torch.jit.script(model)
    close(scripted(x), model(x))
    close(scripted(images(3, (50, 70))), model(images(3, (50, 70))))
    traced = torch.jit.trace(model, x)
    close(traced(images(3)), model(images(3)))


def test_fx():
    model, x = make(), images(3, (50, 70))
    out = create_feature_extractor(model, {'blocks.1': 'a', 'conv_head': 'b', 'classifier': 'logits'})(x)
    assert set(out) == {'a', 'b', 'logits'}
    close(out['logits'], model(x))
    close(out['b'], model.forward_features(x))
    levels = FeatureGraphNet(make(), (0, 2, 4))(x)
    for y, want in zip(levels, model.forward_intermediates(x, [0, 2, 4], intermediates_only=True)):
        close(y, want)


def test_torch_export():
    model = make()
    batch = torch.export.Dim('batch', min=1, max=64)
    program = torch.export.export(model, (images(),), dynamic_shapes=({0: batch},))
    for n in (1, 2, 5):
        close(program.module()(images(n)), model(images(n)))


def test_torch_compile_without_graph_breaks():
    torch.compiler.reset()
    model = make()
    compiled = torch.compile(model, backend='eager', fullgraph=True)
    close(compiled(images()), model(images()))
    close(compiled(images(5)), model(images(5)))
    features = make(features_only=True, out_indices=(1, 4))
    compiled = torch.compile(features, backend='eager', fullgraph=True)
    for y, want in zip(compiled(images()), features(images())):
        close(y, want)
    torch.compiler.reset()


def test_torch_compile_backward_is_the_same():
    torch.compiler.reset()
    x, grads = images(4), []
    for wrap in (lambda m: m, lambda m: torch.compile(m, backend='aot_eager', fullgraph=True)):
        model = make(SHORT).train()
        wrap(model)(x).square().mean().backward()
        grads.append([p.grad for p in model.parameters()])
    for a, b in zip(*grads):
        close(a, b)
    torch.compiler.reset()


@pytest.mark.filterwarnings('ignore')
@pytest.mark.skipif(
    'dynamic_shapes' not in inspect.signature(torch.onnx.export).parameters,
    reason=f'torch {torch.__version__} exports to ONNX in another way',
)
def test_onnx(tmp_path):
    onnx = pytest.importorskip('onnx')
    pytest.importorskip('onnxscript')
    onnxruntime = pytest.importorskip('onnxruntime')
    model, path = make(), tmp_path / 'model.onnx'
    batch = torch.export.Dim('batch', min=1, max=64)
    torch.onnx.export(
        model, (images(),), str(path), dynamo=True, dynamic_shapes=({0: batch},), input_names=['x'], verbose=False
    )
    onnx.checker.check_model(str(path))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=['CPUExecutionProvider'])
    for n in (1, 2, 5):
        (out,) = session.run(None, {'x': images(n).numpy()})
        close(torch.from_numpy(out), model(images(n)))


@pytest.mark.parametrize('arch', [SMALL, SHORT, LONG], ids=['small', 'short', 'long'])
def test_reparameterize_model(arch):
    model, x = make(arch), images()
    fused = reparameterize_model(model)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in fused.modules())
    assert any(isinstance(m, nn.BatchNorm2d) for m in model.modules())
    close(fused(x), model(x))
    for y, want in zip(fused.forward_intermediates(x)[1], model.forward_intermediates(x)[1]):
        close(y, want)


# ---------------------------------------------------------------- weights


def test_checkpoint_filter_fn():
    model = make()
    sd = model.state_dict()
    for prefix in ('', 'module.', '_orig_mod.', 'module._orig_mod.', '_orig_mod.module.'):
        named = {prefix + n: t for n, t in sd.items()}
        for checkpoint in (named, {'state_dict': named, 'epoch': 3}, {'model': named}):
            out = checkpoint_filter_fn(checkpoint, model)
            assert list(out) == list(sd) and all(out[n] is t for n, t in sd.items())


@pytest.mark.parametrize('prefix', ['', 'module.', '_orig_mod.', 'module._orig_mod.'])
def test_pretrained_from_a_training_checkpoint(tmp_path, prefix):
    model = make()
    path = tmp_path / 'last.pth.tar'
    torch.save({'epoch': 1, 'state_dict': {prefix + n: t for n, t in model.state_dict().items()}}, path)
    overlay = dict(file=str(path), num_classes=10)
    by_cfg = timm.create_model(
        'fpnas', arch=SMALL, pretrained=True, pretrained_cfg_overlay=overlay, num_classes=10
    ).eval()
    assert torch.equal(by_cfg(images()), model(images()))
    by_path = timm.create_model('fpnas', arch=SMALL, num_classes=10, checkpoint_path=str(path)).eval()
    assert torch.equal(by_path(images()), model(images()))


def test_save_for_hf_and_load(tmp_path):
    model, x = make(), images()
    save_for_hf(model, tmp_path, safe_serialization=True)
    assert (tmp_path / 'model.safetensors').is_file()
    config = json.loads((tmp_path / 'config.json').read_text())
    assert config['architecture'] == 'fpnas'
    assert config['model_args']['arch'] == SMALL
    assert config['num_classes'] == 10
    assert config['pretrained_cfg']['input_size'] == [3, 64, 64]

    name = f'local-dir:{tmp_path}'
    loaded = timm.create_model(name, pretrained=True).eval()
    assert str(loaded.arch) == SMALL
    assert torch.equal(loaded(x), model(x))
    assert resolve_data_config({}, model=loaded)['input_size'] == (3, 64, 64)

    other = timm.create_model(name, pretrained=True, num_classes=3).eval()
    assert other(x).shape == (2, 3)
    assert torch.equal(other.forward_features(x), model.forward_features(x))
    gray = timm.create_model(name, pretrained=True, in_chans=1).eval()
    close(gray.stem.conv.weight, model.stem.conv.weight.sum(1, keepdim=True))
    six = timm.create_model(name, pretrained=True, in_chans=6).eval()
    close(six(torch.cat([x, x], 1)), model(x))
    features = timm.create_model(name, pretrained=True, features_only=True, out_indices=(1, 3)).eval()
    for y, want in zip(features(x), model.forward_intermediates(x, [1, 3], intermediates_only=True)):
        close(y, want)
    assert not torch.equal(timm.create_model(name, pretrained=False).eval()(x), model(x))


def test_options_survive_saving(tmp_path):
    model = make(in_chans=1, output_stride=16, bn_eps=1e-3)
    save_for_hf(model, tmp_path, safe_serialization=True)
    loaded = timm.create_model(f'local-dir:{tmp_path}', pretrained=True).eval()
    x = images(chans=1)
    assert torch.equal(loaded(x), model(x))


OTHERS = {
    'wider': SMALL.replace('c16_nre', 'c32_nre'),
    'one block more': SMALL.replace('ir_r2_k5_s2_e3_', 'ir_r3_k5_s2_e3_'),
    'one block less': SMALL.replace('ir_r2_k5_s2_e3_', 'ir_r1_k5_s2_e3_'),
    'other kernel': SMALL.replace('k5_s2_e2.25', 'k3_s2_e2.25'),
    'more splits': SMALL.replace('_sp2', '_sp4'),
    'other attention': SMALL.replace('_sp1', ''),
    'added attention': SMALL.replace('e1_c8_nre', 'e1_c8_nre_sp1'),
    'group added': SMALL.replace('-cn_r1_k1', '-ir_r1_k3_s1_e3_c40_nre-cn_r1_k1'),
    'group gone': re.sub('-ir_r2_k5_s2_e2.25.*-cn', '-cn', SMALL),
    'identity': re.sub('ir_r1_k3_s1_e1_c8_nre', 'ir_r1_k0_s1_e1_c8_nre', SMALL),
    'not bypassed': SMALL.replace('ir_r1_k0_s2_e1_c32_nsw', 'ir_r1_k3_s2_e2_c32_nsw'),
    'wider head': SMALL.replace('c96', 'c128'),
    'other stem': SMALL.replace('cn_r1_k3_s2_c8', 'cn_r1_k5_s2_c8'),
    'short': SHORT,
}


@pytest.mark.parametrize('way', ['load_state_dict', 'checkpoint_path', 'fine-tuning'])
@pytest.mark.parametrize('other', OTHERS)
def test_weights_of_another_architecture(tmp_path, other, way):
    assert OTHERS[other] != SMALL
    weights = make(OTHERS[other]).state_dict()
    path = tmp_path / 'other.pth'
    torch.save(weights, path)
    with pytest.raises(RuntimeError) as e:
        if way == 'load_state_dict':
            make().load_state_dict(weights)
        elif way == 'checkpoint_path':
            timm.create_model('fpnas', arch=SMALL, num_classes=10, checkpoint_path=str(path))
        else:  # timm loads with strict=False here
            overlay = dict(file=str(path), num_classes=10)
            timm.create_model('fpnas', arch=SMALL, pretrained=True, pretrained_cfg_overlay=overlay, num_classes=3)
    message = str(e.value)
    assert 'another architecture' in message and '\n' not in message and len(message) < 300 + len(SMALL)
    assert SMALL in message
    (tensor,) = re.findall(r'(?:stem|blocks|conv_head)\S+weight', message)
    assert tensor in weights or tensor in make().state_dict()


def test_other_mistakes_keep_the_words_of_torch():
    model = make()
    with pytest.raises(RuntimeError, match='Missing key'):
        model.load_state_dict({})
    with pytest.raises(RuntimeError, match='size mismatch for classifier'):
        model.load_state_dict(make(num_classes=3).state_dict())
    with pytest.raises(RuntimeError, match='size mismatch for stem'):
        model.load_state_dict(make(in_chans=1).state_dict())
    result = model.load_state_dict(make(num_classes=0).state_dict(), strict=False)
    assert sorted(result.missing_keys) == ['classifier.bias', 'classifier.weight']


def test_parts_of_a_network_load_without_strict():
    model, part = make(), make()
    part.prune_intermediate_layers([2])
    result = part.load_state_dict(model.state_dict(), strict=False)
    assert not result.missing_keys and any(n.startswith('blocks.5') for n in result.unexpected_keys)
    result = model.load_state_dict(part.state_dict(), strict=False)
    assert not result.unexpected_keys and any(n.startswith('conv_head') for n in result.missing_keys)
    stem = {n: t for n, t in model.state_dict().items() if n.startswith('stem')}
    assert len(model.load_state_dict(stem, strict=False).unexpected_keys) == 0


def test_pretrained_without_weights():
    for name, kwargs in (('fpnas', dict(arch=SMALL)), ('fpnas_s1pp', {})):
        with pytest.raises(RuntimeError, match=f'No pretrained weights exist for {name}\\b'):
            timm.create_model(name, pretrained=True, **kwargs)


@pytest.mark.parametrize(('arch', 'words'), [
    (None, 'needs an architecture string'),
    ('', 'needs an architecture string'),
    (5, 'got 5'),
    (['ir'], 'list'),
    ('resnet', 'resnet'),
    (SMALL.replace('_sp2', '_sp3'), 'token 6'),
    (SMALL.removesuffix('-cn_r1_k1_s1_c96_nsw'), 'token 9'),
])
def test_bad_arch(arch, words):
    with pytest.raises(ArchError, match=re.escape(words)):
        timm.create_model('fpnas', arch=arch)


def test_arch_is_needed():
    with pytest.raises(ArchError, match='arch=STRING'):
        timm.create_model('fpnas')


# ---------------------------------------------------------------- the zoo


def test_registered_names():
    names = ['fpnas', *ARCHS]
    assert sorted(timm.list_models('fpnas*')) == sorted(names)
    assert list(ARCHS) == list(TABLE_B1)
    assert timm.list_models('fpnas*', pretrained=True) == []
    assert all(timm.is_model(n) for n in names)


def test_no_cfg_claims_weights():
    ours = {name for name in default_cfgs if name.startswith('fpnas')}  # other tests may have registered their own
    assert ours == {'fpnas', *ARCHS}
    for name in ours:
        cfg = get_pretrained_cfg(name)
        assert not (cfg.url or cfg.hf_hub_id or cfg.file or cfg.has_weights), name


@pytest.mark.parametrize('name', ARCHS)
def test_named_models_on_the_meta_device(name):
    model = timm.create_model(name, device='meta')
    size = TABLE_B1[name].img_size
    assert str(model.arch) == ARCHS[name] and model.arch.img_size == size
    cfg = model.pretrained_cfg
    assert cfg['input_size'] == (3, size, size)
    x = torch.empty(2, 3, size, size, device='meta')
    assert model.forward_features(x).shape[2:] == cfg['pool_size']
    assert model(x).shape == (2, 1000)
    modules = dict(model.named_modules())
    assert isinstance(modules[cfg['first_conv']], nn.Conv2d) and isinstance(modules[cfg['classifier']], nn.Linear)


@pytest.mark.parametrize(('arch', 'size', 'pool'), [
    (SMALL, 64, 2),
    (SMALL.replace('i64', 'i97'), 97, 4),
    (SHORT, 32, 4),
    (LONG.replace('i64', 'i224'), 224, 4),
])
def test_cfg_of_fpnas_follows_the_string(arch, size, pool):
    model = timm.create_model('fpnas', arch=arch)
    assert model.pretrained_cfg['input_size'] == (3, size, size)
    assert model.pretrained_cfg['pool_size'] == (pool, pool)
    assert resolve_data_config({}, model=model)['input_size'] == (3, size, size)
    assert get_pretrained_cfg('fpnas').input_size == (3, 224, 224)  # the registry's own stays
    overlay = dict(input_size=(3, 48, 48), crop_pct=1.0)
    model = timm.create_model('fpnas', arch=arch, pretrained_cfg_overlay=overlay)
    assert model.pretrained_cfg['input_size'] == (3, 48, 48) and model.pretrained_cfg['crop_pct'] == 1.0


def test_arch_of_the_model():
    model = make('cn_k3_s2_c8_nsw-ir_e3_k3_s2_nre_c16-cn_c32_nsw_k1')
    assert isinstance(model, FPNAS) and isinstance(model.arch, fpnas_timm.Arch)
    assert str(model.arch) == 'i224-cn_r1_k3_s2_c8_nsw-ir_r1_k3_s2_e3_c16_nre-cn_r1_k1_s1_c32_nsw'


def test_import_warns_of_nothing_and_stays_off_the_network():
    code = (
        'import socket\n'
        'class Refused(socket.socket):\n'
        '    def __init__(self, *args, **kwargs):\n'
        '        raise SystemExit("import opens a socket")\n'
        'socket.socket = Refused\n'
        'import fpnas_timm, timm\n'
        'model = timm.create_model("fpnas_s1pp")\n'
        'print("fpnas_l2" in timm.list_models())\n'
    )
    run = subprocess.run(
        [sys.executable, '-W', 'error::UserWarning', '-c', code], capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == ['True'] and run.stderr == ''
