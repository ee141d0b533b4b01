"""The supernet's layers: each has the weights of the widest choice, and runs only the slice an architecture needs."""
from collections.abc import Sequence
from typing import Any, TypeVar, cast

import torch
import torch.nn.functional as F
from timm.layers import get_act_fn
from torch import nn

from ..arch import Block
from ..arch.sizes import attention_channels, expanded_channels
from ..spaces import Row
from .blocks import ACT_LAYERS, ConvNormAct, MBConv, SplitAttention, Subsample, pool_splits, weigh_splits

__all__ = ['ElasticConvNormAct', 'ElasticMBConv', 'align']

Layer = TypeVar('Layer', bound=nn.Module)


class ElasticConvNormAct(nn.Module):
    """`ConvNormAct` of any width and kernel size up to its maximum; `conv` and `bn` hold the shared weights."""

    def __init__(
            self, max_in_chs: int, max_out_chs: int, kernel_size: int = 1, stride: int = 1, depthwise: bool = False
    ) -> None:
        super().__init__()
        self.depthwise = depthwise
        self.stride = stride
        self.subsample = Subsample(stride) if kernel_size == 1 and stride > 1 else nn.Identity()
        groups = max_in_chs if depthwise else 1
        self.conv = nn.Conv2d(max_in_chs, max_out_chs, kernel_size, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(max_out_chs, track_running_stats=False)

    def forward(self, x: torch.Tensor, out_chs: int, act: str | None = None, kernel: int | None = None) -> torch.Tensor:
        """The convolution, batch norm and activation of one architecture.

        Args:
            x: feature map (B, C, H, W), C at most `max_in_chs`.
            out_chs: output channels, at most `max_out_chs`.
            act: activation, as in the architecture string; no activation if None.
            kernel: kernel size, at most that of the layer; that of the layer if None.

        Returns:
            Feature map (B, out_chs, ceil(H / stride), ceil(W / stride)).
        """
        conv, bn = self.conv, self.bn
        kernel = kernel or conv.kernel_size[0]
        shape = (out_chs, 1 if self.depthwise else x.shape[1], kernel, kernel)
        weight, scale, shift = _corners((conv.weight, shape), (bn.weight, shape[:1]), (bn.bias, shape[:1]))
        stride = 1 if kernel == 1 else self.stride
        groups = out_chs if self.depthwise else 1
        x = F.conv2d(self.subsample(x), weight, None, stride, kernel // 2, groups=groups)
        x = F.batch_norm(x, None, None, scale, shift, training=True, eps=bn.eps)
        return x if act is None else get_act_fn(ACT_LAYERS[act])(x, inplace=True)

    def copy_to(self, plain: ConvNormAct) -> None:
        """Copy the weights to a plain layer of at most this layer's width and kernel size."""
        _copy_corner(self.conv.weight, plain.conv.weight)
        _copy_corner(self.bn.weight, plain.bn.weight)
        _copy_corner(self.bn.bias, plain.bn.bias)


class ElasticSplitAttention(nn.Module):
    """`SplitAttention` of any width, with any number of splits that the row allows."""

    def __init__(self, max_chs: int, splits: tuple[int, ...]) -> None:
        super().__init__()
        reduced = attention_channels(max_chs)
        self.fc1 = nn.Linear(max_chs, reduced)
        self.gate = nn.Linear(reduced, max_chs) if 1 in splits else None
        self.mix = nn.ModuleList([nn.Linear(reduced, max_chs) for _ in range(max(splits) if max(splits) > 1 else 0)])

    def _fc2(self, splits: int) -> list[nn.Linear]:
        return [_existing(self.gate)] if splits == 1 else cast(list[nn.Linear], list(self.mix[:splits]))

    def forward(self, xs: list[torch.Tensor], act: str) -> torch.Tensor:
        """Feature maps (B, C, H, W), one per split -> one of the same shape; `act` as in the architecture string."""
        chs = xs[0].shape[1]
        reduced = attention_channels(chs)
        layers = self._fc2(len(xs))
        weight, bias, *fc2 = _corners(
            (self.fc1.weight, (reduced, chs)),
            (self.fc1.bias, (reduced,)),
            *((fc.weight, (chs, reduced)) for fc in layers),
            *((fc.bias, (chs,)) for fc in layers),
        )
        x = get_act_fn(ACT_LAYERS[act])(F.linear(pool_splits(xs), weight, bias), inplace=True)
        weight, bias = torch.cat(fc2[: len(layers)]), torch.cat(fc2[len(layers) :])
        return weigh_splits(xs, F.linear(x, weight, bias))

    def copy_to(self, plain: SplitAttention) -> None:
        """Copy the weights to a plain layer of at most this layer's width."""
        _copy_corner(self.fc1.weight, plain.fc1.weight)
        _copy_corner(self.fc1.bias, plain.fc1.bias)
        layers = self._fc2(plain.splits)
        for fc, weight, bias in zip(
            layers, plain.fc2.weight.chunk(len(layers)), plain.fc2.bias.chunk(len(layers))
        ):
            _copy_corner(fc.weight, weight)
            _copy_corner(fc.bias, bias)


class ElasticMBConv(nn.Module):
    """All blocks that a row of the search space allows, for one of the row's repeats."""

    def __init__(self, row: Row, max_in_chs: int, stride: int, has_bypass: bool) -> None:
        super().__init__()
        max_chs, splits = max(row.channels), max(row.splits)
        expanded = max(expanded_channels(max_in_chs, e) for e in row.expansion)
        can_expand = any(e != 1 for e in row.expansion)
        self.conv_pw = ElasticConvNormAct(max_in_chs, expanded) if can_expand and max(row.kernel) else None
        kernel = max(row.kernel)
        self.conv_dw = nn.ModuleList([
            ElasticConvNormAct(expanded, expanded, kernel, stride, depthwise=True) for _ in range(max(splits, 1))
        ] if kernel else [])
        self.attn = ElasticSplitAttention(expanded, row.splits) if splits and kernel else None
        self.conv_pwl = ElasticConvNormAct(expanded, max_chs) if kernel else None
        self.bypass = ElasticConvNormAct(max_in_chs, max_chs, stride=stride) if has_bypass else None

    def forward(self, x: torch.Tensor, block: Block) -> torch.Tensor:
        """(B, block.in_chs, H, W) -> (B, block.out_chs, H', W')."""
        if block.is_identity:
            return x
        if block.kernel == 0:
            return _existing(self.bypass)(x, block.out_chs, block.act)
        shortcut = x
        chs = expanded_channels(block.in_chs, block.expansion)
        if block.expansion != 1:
            x = _existing(self.conv_pw)(x, chs, block.act)
        maps = [conv(x, chs, block.act, block.kernel) for conv in self.conv_dw[: block.splits or 1]]
        x = _existing(self.attn)(maps, block.act) if block.splits else maps[0]
        x = _existing(self.conv_pwl)(x, block.out_chs)
        return x + shortcut if block.stride == 1 and block.in_chs == block.out_chs else x

    def copy_to(self, plain: MBConv | ConvNormAct | nn.Identity) -> None:
        """Copy the weights to a plain block that the row allows."""
        if isinstance(plain, ConvNormAct):
            _existing(self.bypass).copy_to(plain)
        elif isinstance(plain, MBConv):
            if isinstance(plain.conv_pw, ConvNormAct):
                _existing(self.conv_pw).copy_to(plain.conv_pw)
            for conv, plain_conv in zip(self.depthwise, plain.conv_dw):
                conv.copy_to(cast(ConvNormAct, plain_conv))
            if plain.attn is not None:
                _existing(self.attn).copy_to(plain.attn)
            _existing(self.conv_pwl).copy_to(plain.conv_pwl)

    @property
    def depthwise(self) -> list[ElasticConvNormAct]:
        """The depthwise convolutions, one per split; empty if the row only allows the bypass."""
        return cast(list[ElasticConvNormAct], list(self.conv_dw))


def _existing(layer: Layer | None) -> Layer:
    """Return the layer; it is None only if no choice of the row uses it."""
    assert layer is not None, 'the architecture is not of this space'
    return layer


@torch.no_grad()
def align(block: ElasticMBConv) -> None:
    """Initialise all choices of a block to nearly the same function: the identity plus a small random part.

    The 1x1 convolutions and the bypass get ones on the diagonal. The depthwise convolutions get a one at the centre of
    the kernel, and the same weights for all splits. The random part is scaled down accordingly.
    """
    for layer in (block.conv_pw, block.conv_pwl, block.bypass):
        if layer is not None:
            layer.conv.weight.mul_(0.5).squeeze(-1).squeeze(-1).diagonal().add_(1)
    depthwise = block.depthwise
    for layer in depthwise[:1]:
        middle = layer.conv.kernel_size[0] // 2
        layer.conv.weight.mul_(0.3)[:, :, middle, middle] += 1
    for layer in depthwise[1:]:
        layer.conv.weight.copy_(depthwise[0].conv.weight)


class _Corners(torch.autograd.Function):
    """Slices of weights whose backward pass only touches the slices.

    The backward pass of plain indexing allocates a zero-filled gradient of the full weight and adds all of it, for
    every sampled architecture. Here the gradient is added directly to the slice of `weight.grad`. As a consequence,
    gradients only appear in `.grad`: use `backward`, not `autograd.grad`.
    """

    @staticmethod
    def forward(ctx: Any, indices: Sequence[tuple[slice, ...]], *weights: torch.Tensor) -> tuple[torch.Tensor, ...]:
        ctx.parts = list(zip(weights, indices))
        return tuple(w.detach()[index].contiguous() for w, index in ctx.parts)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[None, ...]:
        for (weight, index), grad in zip(ctx.parts, grads):
            if weight.grad is None:
                weight.grad = torch.zeros_like(weight)
            weight.grad[index].add_(grad)  # `+=` would copy the slice back
        return None, *(None for _ in grads)


def _corners(*corners: tuple[torch.Tensor, tuple[int, ...]]) -> Sequence[torch.Tensor]:
    """The first channels and the centre of the kernel of each weight; unchanged if that is the whole weight."""
    weights = [weight for weight, _ in corners]
    if all(w.shape == shape for w, shape in corners):
        return weights
    indices = [_part(w, shape) for w, shape in corners]
    if not torch.is_grad_enabled():
        return [w[index] for w, index in zip(weights, indices)]
    return _Corners.apply(indices, *weights)


def _part(weight: torch.Tensor, shape: tuple[int, ...]) -> tuple[slice, ...]:
    """Slices that select a given shape: the first channels (axes 0 and 1) and the centre of the kernel (2 and 3)."""
    rings = [(whole - size) // 2 for whole, size in zip(weight.shape[2:], shape[2:])]
    return (*map(slice, shape[:2]), *(slice(r, r + size) for r, size in zip(rings, shape[2:])))


def _copy_corner(weight: torch.Tensor, plain: torch.Tensor) -> None:
    """Copy the corresponding slice of `weight` to `plain`."""
    with torch.no_grad():
        plain.copy_(weight[_part(weight, tuple(plain.shape))])
