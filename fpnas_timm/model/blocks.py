"""The blocks of an FP-NAS network: MBConv with Split-Attention, and the convolution of stem, head and bypass.

Micro-architecture of the main paper, Table 2 and Figure 2; `docs/design.md` lists details that the paper leaves open.
"""
import math
from typing import Any

import torch
from timm.layers import DropPath, create_act_layer, register_notrace_function
from torch import nn
from torch.nn.utils import fuse_conv_bn_eval

from ..arch import Block
from ..arch.choices import ACTS
from ..arch.sizes import attention_channels, expanded_channels
from .fused import FusedSplitAttention

__all__ = [
    'ACT_LAYERS', 'ConvNormAct', 'MBConv', 'SplitAttention', 'Subsample', 'init_weights', 'pool_splits',
    'to_fast_memory_format', 'weigh_splits',
]

ACT_LAYERS = {letters: act.layer for letters, act in ACTS.items()}


class ConvNormAct(nn.Module):
    """Convolution (no bias, padding `k // 2 * dilation`), batch norm and optional activation."""

    def __init__(
            self,
            in_chs: int,
            out_chs: int,
            kernel_size: int = 1,
            stride: int = 1,
            dilation: int = 1,
            depthwise: bool = False,
            act: str | None = None,
            bn_args: dict[str, Any] | None = None,
            device: torch.device | str | None = None,
            dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        dd: dict[str, Any] = {'device': device, 'dtype': dtype}
        subsample = kernel_size == 1 and stride > 1
        self.subsample = Subsample(stride) if subsample else nn.Identity()
        self.conv = nn.Conv2d(
            in_chs,
            out_chs,
            kernel_size,
            stride=1 if subsample else stride,
            padding=kernel_size // 2 * dilation,
            dilation=dilation,
            groups=in_chs if depthwise else 1,
            bias=False,
            **dd,
        )
        self.bn = nn.BatchNorm2d(out_chs, **(bn_args or {}), **dd)
        self.act = create_act_layer(ACT_LAYERS[act], inplace=True) if act else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(self.bn(self.conv(self.subsample(x))))

    @torch.jit.ignore
    def fuse(self) -> nn.Module:
        """Fold the batch norm into the convolution, for inference; called by `timm.utils.reparameterize_model`."""
        if not isinstance(self.bn, nn.BatchNorm2d) or self.bn.running_mean is None:
            return self
        conv = fuse_conv_bn_eval(self.conv.eval(), self.bn.eval())
        return nn.Sequential(self.subsample, conv, self.act)


class Subsample(nn.Module):
    """Selects every `stride`-th pixel, which is the input that a strided 1x1 convolution uses.

    Works around a crash: with fewer than 16 input channels in channels_last, oneDNN's backward pass of such a
    convolution writes out of bounds (torch 2.14.1, `Conv2d(12, 16, 1, stride=2)` on 64 x 64 pixels).
    """

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> (B, C, ceil(H / stride), ceil(W / stride))."""
        return x[:, :, :: self.stride, :: self.stride]


class SplitAttention(nn.Module):
    """Sum of the feature maps of `splits` parallel depthwise convolutions, weighted by attention.

    With one split this is Squeeze-Excite (a sigmoid gate); with more, the weights are a softmax across the splits for
    each channel (main paper, Figure 2; ResNeSt, https://arxiv.org/abs/2004.08955).
    """

    def __init__(
            self,
            channels: int,
            splits: int,
            act: str,
            device: torch.device | str | None = None,
            dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        dd: dict[str, Any] = {'device': device, 'dtype': dtype}
        reduced = attention_channels(channels)
        self.splits = splits
        self.fc1 = nn.Linear(channels, reduced, **dd)
        self.act = create_act_layer(ACT_LAYERS[act], inplace=True)
        self.fc2 = nn.Linear(reduced, splits * channels, **dd)

    def forward(self, xs: list[torch.Tensor]) -> torch.Tensor:
        """`splits` feature maps (B, C, H, W) -> one feature map of the same shape."""
        return weigh_splits(xs, self.fc2(self.act(self.fc1(pool_splits(xs)))))

    @torch.jit.ignore
    def fuse(self) -> nn.Module:
        """The same for inference, with fewer weights; called by `timm.utils.reparameterize_model`."""
        return FusedSplitAttention(self)


def pool_splits(xs: list[torch.Tensor]) -> torch.Tensor:
    """Feature maps (B, C, H, W), one per split -> the global average of their sum (B, C)."""
    pooled = xs[0].mean((2, 3))
    for x in xs[1:]:  # the sum of the means is the mean of the sum, and cheaper
        pooled = pooled + x.mean((2, 3))
    return pooled


def weigh_splits(xs: list[torch.Tensor], logits: torch.Tensor) -> torch.Tensor:
    """Feature maps (B, C, H, W), one per split, and logits (B, splits * C) -> their sum, weighted per channel."""
    if len(xs) == 1:
        return xs[0] * logits.sigmoid().unsqueeze(-1).unsqueeze(-1)
    weights = logits.unflatten(1, (len(xs), -1)).softmax(1).unsqueeze(-1).unsqueeze(-1)
    out = xs[0] * weights[:, 0]
    for i, x in enumerate(xs[1:]):
        out += x * weights[:, i + 1]  # as fast as addcmul, which Core ML's converter lacks
    return out


class MBConv(nn.Module):
    """Inverted residual with `splits` parallel depthwise convolutions and Split-Attention over them.

    1x1 expansion (omitted if the expansion is 1), depthwise convolutions, each with its own batch norm and activation,
    attention, 1x1 projection without activation, and a residual connection if the stride is 1 and the numbers of input
    and output channels are equal.
    """

    def __init__(
            self,
            block: Block,
            stride: int,
            dilation: int = 1,
            drop_path: float = 0.0,
            bn_args: dict[str, Any] | None = None,
            device: torch.device | str | None = None,
            dtype: torch.dtype | None = None,
    ) -> None:
        """
        Args:
            block: the block of the architecture.
            stride: the stride of the block, or 1 if `output_stride` replaced it by dilation.
            dilation: dilation of the depthwise convolutions.
            drop_path: probability of dropping the residual branch.
            bn_args: `momentum` and `eps` of the batch norms.
        """
        super().__init__()
        dd: dict[str, Any] = {'device': device, 'dtype': dtype}
        args: dict[str, Any] = {'bn_args': bn_args, **dd}
        chs = expanded_channels(block.in_chs, block.expansion)
        self.has_skip = block.stride == 1 and block.in_chs == block.out_chs
        self.conv_pw = (
            ConvNormAct(block.in_chs, chs, act=block.act, **args) if block.expansion != 1 else nn.Identity()
        )
        self.conv_dw = nn.ModuleList([
            ConvNormAct(chs, chs, block.kernel, stride, dilation, depthwise=True, act=block.act, **args)
            for _ in range(block.splits or 1)
        ])
        self.attn = SplitAttention(chs, block.splits, block.act, **dd) if block.splits else None
        self.conv_pwl = ConvNormAct(chs, block.out_chs, **args)
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shortcut = x
        x = self.conv_pw(x)
        maps = [conv(x) for conv in self.conv_dw]
        x = self.attn(maps) if self.attn is not None else maps[0]
        x = self.conv_pwl(x)
        return self.drop_path(x) + shortcut if self.has_skip else x


@register_notrace_function
def to_fast_memory_format(x: torch.Tensor) -> torch.Tensor:
    """Convert images (B, C, H, W) to channels_last on a CPU; no change on other devices or while exporting.

    oneDNN's depthwise convolutions are up to 30x faster in this format (`docs/performance.md`). All later layers keep
    the format of the image, so one cheap copy is enough. A program of `torch.export` is for any device and runtime, and
    some runtimes refuse the copy (ExecuTorch's portable kernels), so it has none: on a CPU, give it images that are in
    channels_last. TorchScript and torch.compile keep the copy.

    A module that imports this function calls `torch.fx.wrap('to_fast_memory_format')`, so that torch.fx takes it as one
    operation; the branch depends on the image and cannot be traced.
    """
    if not torch.jit.is_scripting():  # on its own, so that TorchScript does not compile what is inside
        if _is_exporting():
            return x
    if x.device.type == 'cpu' and x.dim() == 4:
        return x.contiguous(memory_format=torch.channels_last)
    return x


def _is_exporting() -> bool:
    """Whether `torch.export` runs; torch before 2.7 does not say, and its programs keep the copy."""
    return torch.compiler.is_exporting() if hasattr(torch.compiler, 'is_exporting') else False


def init_weights(model: nn.Module) -> None:
    """Initialise in place like timm's EfficientNets: normal by fan-out, batch norms 1 and 0, linear layers uniform."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels // module.groups
            nn.init.normal_(module.weight, 0.0, math.sqrt(2.0 / fan_out))
        elif isinstance(module, nn.Linear):
            bound = 1.0 / math.sqrt(module.in_features + module.out_features)
            nn.init.uniform_(module.weight, -bound, bound)
            nn.init.zeros_(module.bias)
