"""The blocks: each against a second implementation, written from `docs/design.md` alone, on the same weights."""
import re

import pytest
import torch
import torch.nn.functional as F
from timm.layers import DropPath, make_divisible
from torch import nn

from fpnas_timm.arch import Block
from fpnas_timm.model.blocks import ConvNormAct, MBConv, SplitAttention, init_weights, to_fast_memory_format
from fpnas_timm.model.network import FPNAS

ACTS = {'re': F.relu, 'sw': F.silu, 'hs': lambda x: x * F.relu6(x + 3) / 6, 'r6': lambda x: x.clamp(0, 6)}
TINY = (
    'i32-cn_r1_k3_s2_c8_nsw-ir_r1_k3_s1_e1_c8_nre-ir_r2_k3_s2_e3_c16_nre_sp1-ir_r1_k0_s1_e1_c16_nre-'
    'ir_r1_k0_s2_e1_c24_nsw-ir_r2_k5_s2_e2.25_c24_nhs_sp4-ir_r1_k7_s1_e3_c28_nsw_sp2-cn_r1_k1_s1_c32_nsw'
)


def block(in_chs=16, out_chs=16, kernel=3, stride=1, expansion=3.0, act='re', splits=0) -> Block:
    return Block(in_chs, out_chs, kernel, stride, expansion, act, splits)


def lively(module: nn.Module, seed: int = 0) -> nn.Module:
    """Random affine parameters and statistics, so that no batch norm is an identity and no bias 0; in eval mode."""
    generator = torch.Generator().manual_seed(seed)
    for name, t in module.state_dict().items():
        if name.endswith('running_var') or (t.dim() == 1 and name.endswith('weight')):
            t.uniform_(0.5, 1.5, generator=generator)
        elif name.endswith(('running_mean', 'bias')):
            t.normal_(0, 0.3, generator=generator)
    return module.eval()


def images(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# ---------------------------------------------------------------- the second implementation: tensors and formulas only


def ref_norm(sd: dict, name: str, x: torch.Tensor, training: bool) -> torch.Tensor:
    if training:
        mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
    else:
        mean, var = sd[f'{name}.running_mean'], sd[f'{name}.running_var']
    scale = sd[f'{name}.weight'] / (var + 1e-5).sqrt()
    return x * scale[:, None, None] + (sd[f'{name}.bias'] - mean * scale)[:, None, None]


def ref_conv(sd, name, x, in_chs, out_chs, kernel=1, stride=1, groups=1, act=None, training=False) -> torch.Tensor:
    weight = sd[f'{name}.conv.weight']
    assert weight.shape == (out_chs, in_chs // groups, kernel, kernel)
    assert f'{name}.conv.bias' not in sd
    x = ref_norm(sd, f'{name}.bn', F.conv2d(x, weight, None, stride, kernel // 2, 1, groups), training)
    return ACTS[act](x) if act else x


def ref_attention(sd, name, maps, act) -> torch.Tensor:
    r, chs = len(maps), maps[0].shape[1]
    reduced = make_divisible(0.25 * chs, 8)
    assert sd[f'{name}.fc1.weight'].shape == (reduced, chs)
    assert sd[f'{name}.fc2.weight'].shape == (r * chs, reduced)
    pooled = F.adaptive_avg_pool2d(sum(maps), 1)
    squeezed = ACTS[act](F.conv2d(pooled, sd[f'{name}.fc1.weight'][:, :, None, None], sd[f'{name}.fc1.bias']))
    logits = F.conv2d(squeezed, sd[f'{name}.fc2.weight'][:, :, None, None], sd[f'{name}.fc2.bias'])
    if r == 1:
        return maps[0] / (1 + torch.exp(-logits))
    out = torch.zeros_like(maps[0])
    for c in range(chs):  # for each channel on its own
        e = torch.stack([torch.exp(logits[:, i * chs + c]) for i in range(r)])
        for i in range(r):
            out[:, c] += maps[i][:, c] * (e[i] / e.sum(0))
    return out


def ref_mbconv(sd, name, x, in_chs, out_chs, kernel, stride, expansion, act, splits, training=False) -> torch.Tensor:
    chs, shortcut = in_chs, x
    if expansion != 1:
        chs = make_divisible(in_chs * expansion, 8)
        x = ref_conv(sd, f'{name}.conv_pw', x, in_chs, chs, act=act, training=training)
    maps = [
        ref_conv(sd, f'{name}.conv_dw.{i}', x, chs, chs, kernel, stride, chs, act, training)
        for i in range(max(splits, 1))
    ]
    assert f'{name}.conv_dw.{len(maps)}.conv.weight' not in sd
    x = ref_attention(sd, f'{name}.attn', maps, act) if splits else maps[0]
    x = ref_conv(sd, f'{name}.conv_pwl', x, chs, out_chs, training=training)
    return x + shortcut if stride == 1 and in_chs == out_chs else x


def ref_network(sd: dict, arch: str, x: torch.Tensor) -> torch.Tensor:
    stem, *groups, head = [
        {**dict(re.findall(r'_(sp|[rksec])([\d.]+)', token)), 'n': token.split('_n')[1][:2]}
        for token in arch.split('-')[1:]
    ]
    chs = int(stem['c'])
    x = ref_conv(sd, 'stem', x, x.shape[1], chs, int(stem['k']), int(stem['s']), act=stem['n'])
    for i, g in enumerate(groups):
        out_chs = int(g['c'])
        for j in range(int(g['r'])):
            stride, name = int(g['s']) if j == 0 else 1, f'blocks.{i}.{j}'
            if g['k'] == '0':
                if stride == 1 and chs == out_chs:
                    assert not any(n.startswith(name) for n in sd)
                else:
                    x = ref_conv(sd, name, x, chs, out_chs, 1, stride, act=g['n'])
            else:
                kernel, expansion, splits = int(g['k']), float(g['e']), int(g.get('sp', 0))
                x = ref_mbconv(sd, name, x, chs, out_chs, kernel, stride, expansion, g['n'], splits)
            chs = out_chs
    x = ref_conv(sd, 'conv_head', x, chs, int(head['c']), act=head['n'])
    return x.mean((2, 3)) @ sd['classifier.weight'].T + sd['classifier.bias']


# ---------------------------------------------------------------- tests


@pytest.mark.parametrize('act', ACTS)
@pytest.mark.parametrize('splits', [1, 2, 4])
def test_split_attention_is_the_second_implementation(splits, act):
    attn = lively(SplitAttention(24, splits, act))
    maps = [images(2, 24, 5, 7, seed=i) for i in range(splits)]
    copies = [m.clone() for m in maps]
    sd = {f'attn.{n}': t for n, t in attn.state_dict().items()}
    torch.testing.assert_close(attn(maps), ref_attention(sd, 'attn', maps, act), rtol=1e-5, atol=1e-5)
    for m, copy in zip(maps, copies):
        assert torch.equal(m, copy), 'the maps are changed in place'


@pytest.mark.parametrize(('channels', 'reduced'), [(8, 8), (24, 8), (48, 16), (90, 24), (672, 168)])
def test_width_of_the_attention(channels, reduced):
    assert make_divisible(0.25 * channels, 8) == reduced
    attn = SplitAttention(channels, 2, 're')
    assert (attn.fc1.out_features, attn.fc2.out_features) == (reduced, 2 * channels)
    assert attn.fc1.bias is not None and attn.fc2.bias is not None


def test_attention_weights_add_up_to_one_per_channel():
    attn = lively(SplitAttention(16, 4, 'sw'))
    same = images(2, 16, 6, 6)
    torch.testing.assert_close(attn([same] * 4), same)
    one = lively(SplitAttention(16, 1, 'sw'))
    ratio = one([same]) / same
    assert ratio.min() > 0 and ratio.max() < 1


@pytest.mark.parametrize('training', [False, True], ids=['eval', 'train'])
@pytest.mark.parametrize('b', [
    block(),
    block(splits=1, act='sw'),
    block(splits=2, act='hs', kernel=5),
    block(splits=4, expansion=2.25, out_chs=24),
    block(splits=2, stride=2, kernel=5),
    block(splits=4, expansion=1),
    block(expansion=1, in_chs=12, out_chs=20),
    block(expansion=0.5, in_chs=20, out_chs=20, act='sw', kernel=7),
    block(stride=2, in_chs=16, out_chs=16, splits=1),
], ids=str)
def test_mbconv_is_the_second_implementation(b, training):
    module = lively(MBConv(b, b.stride)).train(training)
    x = images(3, b.in_chs, 9, 12)
    sd = {f'm.{n}': t.clone() for n, t in module.state_dict().items()}
    want = ref_mbconv(sd, 'm', x, b.in_chs, b.out_chs, b.kernel, b.stride, b.expansion, b.act, b.splits, training)
    copy = x.clone()
    torch.testing.assert_close(module(x), want, rtol=1e-4, atol=1e-4)
    assert torch.equal(x, copy), 'the input is changed in place'


def test_network_is_the_second_implementation():
    model = lively(FPNAS(TINY, num_classes=7))
    x = images(2, 3, 32, 40)
    with torch.no_grad():
        torch.testing.assert_close(model(x), ref_network(model.state_dict(), TINY, x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(('stride', 'out_chs', 'has_skip'), [(1, 16, True), (1, 24, False), (2, 16, False)])
def test_residual_only_if_stride_1_and_channels_agree(stride, out_chs, has_skip):
    module = lively(MBConv(block(stride=stride, out_chs=out_chs, splits=2), stride))
    nn.init.zeros_(module.conv_pwl.bn.weight)
    nn.init.zeros_(module.conv_pwl.bn.bias)  # nothing of the branch is left
    x = images(2, 16, 8, 8)
    want = x if has_skip else torch.zeros(2, out_chs, 8 // stride, 8 // stride)
    assert torch.equal(module(x), want)


def test_stride_that_became_dilation_keeps_the_sum_off():
    module = MBConv(block(stride=2), stride=1, dilation=2)
    assert not module.has_skip
    assert module(images(1, 16, 8, 8)).shape == (1, 16, 8, 8)


@pytest.mark.parametrize('splits', [0, 2])
def test_no_expansion_convolution_at_expansion_1(splits):
    module = MBConv(block(in_chs=12, expansion=1, splits=splits), 1)
    assert isinstance(module.conv_pw, nn.Identity)
    assert not any(n.startswith('conv_pw.') for n in module.state_dict())
    assert module.conv_dw[0].conv.weight.shape == (12, 1, 3, 3)  # 12, not a multiple of 8
    assert isinstance(MBConv(block(in_chs=12, expansion=1.25), 1).conv_pw, ConvNormAct)


def test_each_split_has_its_own_batch_norm():
    module = MBConv(block(splits=4), 1)
    assert len(module.conv_dw) == 4
    assert len({id(conv.bn) for conv in module.conv_dw} | {id(conv.conv) for conv in module.conv_dw}) == 8
    assert MBConv(block(), 1).attn is None


def test_stochastic_depth_is_on_the_branch_only():
    module = lively(MBConv(block(), 1, drop_path=0.5))
    assert isinstance(module.drop_path, DropPath)
    x = images(64, 16, 4, 4)
    torch.manual_seed(0)
    module.train()
    dropped = (module(x) == x).flatten(1).all(1)
    assert 10 < dropped.sum() < 54  # whole images, about half of them
    module.eval()
    assert not (module(x) == x).flatten(1).all(1).any()
    assert isinstance(MBConv(block(), 1).drop_path, nn.Identity)


def test_bypassed_groups():
    model = lively(FPNAS(
        'i32-cn_k3_s2_c8_nsw-ir_r3_k0_c8_nre-ir_r3_k0_s2_c8_nhs-ir_k0_c16_nre-ir_k3_e1_c16_nsw-cn_k1_c32_nsw'
    ))
    identity, strided, wider = (group[0] for group in model.blocks[:3])
    assert [len(group) for group in model.blocks] == [1, 1, 1, 1]
    x = images(2, 8, 9, 9)
    assert isinstance(identity, nn.Identity) and torch.equal(identity(x), x)
    for module, act, stride, out_chs in ((strided, 'hs', 2, 8), (wider, 're', 1, 16)):
        assert isinstance(module, ConvNormAct)
        sd = {f'm.{n}': t for n, t in module.state_dict().items()}
        want = ref_conv(sd, 'm', x, 8, out_chs, 1, stride, act=act)
        torch.testing.assert_close(module(x), want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(('kernel', 'stride', 'dilation'), [(1, 2, 1), (3, 1, 2), (5, 2, 1), (7, 1, 4)])
def test_padding_is_half_the_kernel(kernel, stride, dilation):
    conv = ConvNormAct(8, 8, kernel, stride, dilation, depthwise=True)
    assert conv(images(1, 8, 13, 16)).shape == (1, 8, -(-13 // stride), -(-16 // stride))
    assert isinstance(conv.act, nn.Identity)


def test_batch_norm_options_reach_every_norm():
    module = MBConv(block(splits=2), 1, bn_args=dict(eps=1e-3, momentum=0.01))
    norms = [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(norms) == 4
    assert {(m.eps, m.momentum) for m in norms} == {(1e-3, 0.01)}


def test_fused_convolution_gives_the_same():
    conv = lively(ConvNormAct(8, 16, 3, act='hs'))
    x = images(2, 8, 7, 7)
    want = conv(x)
    fused = conv.fuse()
    assert not any(isinstance(m, nn.BatchNorm2d) for m in fused.modules())
    torch.testing.assert_close(fused(x), want, rtol=1e-4, atol=1e-4)
    conv.bn = nn.Identity()
    assert conv.fuse() is conv  # nothing to fold


@pytest.mark.parametrize('shape', [(2, 3, 5, 7), (1, 1, 1, 1), (2, 16, 1, 4), (0, 3, 8, 8)])
def test_fast_memory_format_keeps_values(shape):
    x = torch.arange(torch.Size(shape).numel(), dtype=torch.float32).reshape(shape)
    out = to_fast_memory_format(x)
    assert out.shape == x.shape and out.dtype == x.dtype
    assert torch.equal(out, x)
    assert out.is_contiguous(memory_format=torch.channels_last)
    strided = torch.cat([x, x], -1)[..., ::2]
    assert torch.equal(to_fast_memory_format(strided), strided)


def test_fast_memory_format_leaves_others_alone():
    flat = torch.zeros(3, 4)
    assert to_fast_memory_format(flat) is flat
    meta = torch.zeros(1, 3, 4, 4, device='meta')
    assert to_fast_memory_format(meta) is meta
    x = images(1, 3, 4, 4).requires_grad_()
    to_fast_memory_format(x).sum().backward()
    assert torch.equal(x.grad, torch.ones_like(x))


def test_init_weights():
    torch.manual_seed(0)
    module = nn.ModuleDict(dict(b=MBConv(block(in_chs=64, out_chs=64, splits=2), 1), fc=nn.Linear(100, 50)))
    init_weights(module)
    for conv, fan_out in ((module['b'].conv_pw.conv, 192), (module['b'].conv_dw[1].conv, 9)):
        assert conv.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.1)
    assert module['fc'].weight.abs().max() <= 150 ** -0.5
    assert not module['fc'].bias.any()
    assert all((m.weight == 1).all() and not m.bias.any() for m in module.modules() if isinstance(m, nn.BatchNorm2d))


def test_strided_1x1_convolution_with_few_channels() -> None:
    """oneDNN's own backward pass of this convolution corrupts the memory of the process (torch 2.14.1)."""
    layer = ConvNormAct(12, 16, 1, stride=2, act='re').double()
    reference = torch.nn.functional.conv2d
    images = torch.randn(32, 12, 64, 64).contiguous(memory_format=torch.channels_last)
    expected = reference(images.double(), layer.conv.weight, stride=2)
    torch.testing.assert_close(layer.conv(layer.subsample(images.double())), expected)
    layer = layer.float()
    for _ in range(3):
        layer(images.requires_grad_()).sum().backward()
    assert images.grad.isfinite().all()
    assert (images.grad[:, :, 1::2] == 0).all()
