"""Feature maps: `features_only` in every way, `forward_intermediates`, pruning and output stride."""
from itertools import combinations

import pytest
import timm
import torch
from torch import nn

import fpnas_timm  # noqa: F401
from fpnas_timm.arch import Arch
from tests.model.nets import LEVELS, LONG, SHORT, SMALL, close, images, make, no_grad  # noqa: F401

SUBSETS = [(a, c) for a in LEVELS for n in range(1, 6) for c in combinations(range(len(LEVELS[a])), n)]


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
