"""Reads a network of timm's EfficientNet builder as a list of layers that an FP-NAS network has too.

Everything that an FP-NAS network computes differently is written down as a note of its block, and everything that it
cannot hold at all ends in an error that names the block.
"""
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from timm.layers import BatchNormAct2d
from timm.layers import activations as timm_acts
from timm.layers.conv2d_same import Conv2dSame
from timm.models import _efficientnet_blocks as timm_blocks
from timm.models.efficientnet import EfficientNet
from timm.models.mobilenetv3 import MobileNetV3
from torch import nn

from ..arch.choices import ACTS, KERNELS
from ..errors import UsageError

__all__ = ['Attention', 'ConvBn', 'TimmBlock', 'TimmNetwork', 'read_network']

FAMILIES = "a network of timm's EfficientNet builder: EfficientNet, MobileNetV2, MobileNetV3, MNASNet, FBNet, SPNASNet"
_LETTERS: dict[type[nn.Module], str] = {
    nn.ReLU: 're', nn.ReLU6: 'r6', nn.SiLU: 'sw', timm_acts.Swish: 'sw', nn.Hardswish: 'hs', timm_acts.HardSwish: 'hs',
}
_SIGMOIDS, _HARD_SIGMOIDS = (nn.Sigmoid, timm_acts.Sigmoid), (nn.Hardsigmoid, timm_acts.HardSigmoid)


@dataclass(frozen=True)
class ConvBn:
    """A convolution, its batch norm (None: the convolution has a bias instead) and its activation ('' for none)."""

    conv: nn.Conv2d
    bn: nn.BatchNorm2d | None
    act: str

    @property
    def stride(self) -> int:
        return int(self.conv.stride[0])

    @property
    def kernel(self) -> int:
        return int(self.conv.kernel_size[0])


@dataclass(frozen=True)
class Attention:
    """Squeeze-Excite: two 1x1 convolutions with bias. `hard`: its gate is a hard sigmoid."""

    reduce: nn.Conv2d
    expand: nn.Conv2d
    hard: bool


@dataclass(frozen=True)
class TimmBlock:
    """An MBConv block, or (without `depthwise`) a 1x1 convolution; `notes`: what our block computes differently."""

    name: str
    expand: ConvBn | None
    depthwise: ConvBn | None
    attention: Attention | None
    project: ConvBn
    notes: tuple[str, ...] = ()

    @property
    def stride(self) -> int:
        return (self.depthwise or self.project).stride

    @property
    def in_chs(self) -> int:
        return (self.expand or self.depthwise or self.project).conv.in_channels

    @property
    def mid_chs(self) -> int:
        return (self.depthwise or self.project).conv.out_channels

    @property
    def out_chs(self) -> int:
        return self.project.conv.out_channels


@dataclass(frozen=True)
class TimmNetwork:
    """The layers of a network; `notes` are those of stem and head."""

    stem: ConvBn
    blocks: tuple[TimmBlock, ...]
    head: ConvBn
    classifier: nn.Module
    notes: tuple[str, ...]

    @property
    def batch_norms(self) -> list[nn.BatchNorm2d]:
        """All batch norms that have a counterpart in the FP-NAS network."""
        layers = [self.stem, self.head]
        for block in self.blocks:
            layers += [layer for layer in (block.expand, block.depthwise, block.project) if layer is not None]
        return [layer.bn for layer in layers if layer.bn is not None]


def read_network(model: nn.Module) -> TimmNetwork:
    """The layers of a timm network.

    Args:
        model: a network of timm's EfficientNet builder, with or without pretrained weights.

    Raises:
        UsageError: another family, or a block that an FP-NAS network cannot hold; the message names it.
    """
    if not isinstance(model, (EfficientNet, MobileNetV3)):
        raise UsageError(f'{_name(model)} is a {type(model).__name__}: expected {FAMILIES}')
    try:
        notes: list[str] = []
        stem = _conv_bn('the stem', model.conv_stem, model.bn1, notes)
        blocks = [
            _read_block(f'blocks.{i}.{j}', block)
            for i, stage in enumerate(cast(Sequence[nn.Sequential], model.blocks))
            for j, block in enumerate(stage)
        ]
        head = _read_head(model, notes)
    except UsageError as e:
        raise UsageError(f'{_name(model)} cannot be an architecture string: {e}') from None
    if not blocks:
        raise UsageError(f'{_name(model)} has no blocks: expected {FAMILIES}')
    return TimmNetwork(stem, tuple(blocks), head, cast(nn.Module, model.classifier), tuple(notes))


def _name(model: nn.Module) -> str:
    config = getattr(model, 'pretrained_cfg', None) or {}
    return str(config.get('architecture') or type(model).__name__)


def _read_head(model: Any, notes: list[str]) -> ConvBn:
    if isinstance(model.conv_head, nn.Identity):
        raise UsageError('it has no head convolution (features_only, or a model without a head)')
    if isinstance(model, EfficientNet):
        return _conv_bn('the head', model.conv_head, model.bn2, notes)
    notes.append('the head convolution comes after the pooling there, before it here')
    if model.global_pool.feat_mult() > 1:
        raise UsageError(f'it pools in two ways ({model.global_pool.pool_type}) before its head convolution')
    if isinstance(model.norm_head, nn.Identity):
        return ConvBn(model.conv_head, None, _letters('the head', model.act2))
    return _conv_bn('the head', model.conv_head, model.norm_head, notes)


def _read_block(name: str, block: nn.Module) -> TimmBlock:
    reader = _READERS.get(type(block))
    if reader is None:
        known = {
            timm_blocks.EdgeResidual: 'a Fused-MBConv block (EdgeResidual)',
            timm_blocks.CondConvResidual: 'a block of conditional convolutions (CondConv)',
            timm_blocks.UniversalInvertedResidual: 'a universal inverted bottleneck of MobileNetV4',
            timm_blocks.MobileAttention: 'an attention block of MobileNetV4',
        }
        raise UsageError(f'{name} is {known.get(type(block), f"a {type(block).__name__}")}: expected MBConv blocks')
    return reader(name, cast(Any, block))


def _inverted_residual(name: str, block: Any) -> TimmBlock:
    notes: list[str] = []
    _refuse_extras(name, block)
    expand = _conv_bn(name, block.conv_pw, block.bn1, notes, kernel=1)
    depthwise = _depthwise(name, block.conv_dw, block.bn2, notes)
    attention = _attention(name, block.se, depthwise.act, notes)
    if expand.act != depthwise.act:
        notes.append(f'{expand.act} after the expansion and {depthwise.act} after the depthwise convolution')
    project = _conv_bn(name, block.conv_pwl, block.bn3, notes, kernel=1)
    return _block(name, block, expand, depthwise, attention, project, notes)


def _depthwise_separable(name: str, block: Any) -> TimmBlock:
    notes: list[str] = []
    _refuse_extras(name, block)
    depthwise = _depthwise(name, block.conv_dw, block.bn1, notes)
    attention = _attention(name, block.se, depthwise.act, notes)
    project = _conv_bn(name, block.conv_pw, block.bn2, notes, kernel=1)
    return _block(name, block, None, depthwise, attention, project, notes)


def _conv_bn_act(name: str, block: Any) -> TimmBlock:
    notes: list[str] = []
    project = _conv_bn(name, block.conv, block.bn1, notes, kernel=1)
    if not isinstance(block.aa, nn.Identity):
        raise UsageError(f'{name} has anti-aliasing')
    if project.stride == 1 and project.conv.in_channels == project.conv.out_channels:
        raise UsageError(f'{name} is a 1x1 convolution that keeps the number of channels: a bypass is an identity here')
    return TimmBlock(name, None, None, None, project, tuple(notes))


_READERS: dict[type[nn.Module], Callable[[str, Any], TimmBlock]] = {
    timm_blocks.InvertedResidual: _inverted_residual,
    timm_blocks.DepthwiseSeparableConv: _depthwise_separable,
    timm_blocks.ConvBnAct: _conv_bn_act,
}


def _block(
        name: str, block: Any, expand: ConvBn | None, depthwise: ConvBn, attention: Attention | None, project: ConvBn,
        notes: list[str],
) -> TimmBlock:
    result = TimmBlock(name, expand, depthwise, attention, project)
    if result.stride == 1 and result.in_chs == result.out_chs and not block.has_skip:
        notes.append('no residual sum there, but one here')
    if project.act:
        notes.append(f'{ACTS[project.act].label} after the projection there, none here')
    return TimmBlock(name, expand, depthwise, attention, project, tuple(notes))


def _refuse_extras(name: str, block: Any) -> None:
    if block.conv_s2d is not None:
        raise UsageError(f'{name} has a space-to-depth convolution')
    if not isinstance(block.aa, nn.Identity):
        raise UsageError(f'{name} has anti-aliasing')


def _depthwise(name: str, conv: nn.Module, bn: nn.Module, notes: list[str]) -> ConvBn:
    layer = _conv_bn(name, conv, bn, notes, depthwise=True)
    if layer.kernel not in KERNELS:
        expected = ', '.join(map(str, filter(None, KERNELS)))
        raise UsageError(f'{name} has a kernel of {layer.kernel}: expected one of {expected}')
    if not layer.act:
        raise UsageError(f'{name} has no activation after its depthwise convolution')
    return layer


def _conv_bn(
        name: str, conv: nn.Module, bn: nn.Module, notes: list[str], kernel: int | None = None, depthwise: bool = False
) -> ConvBn:
    """Check a convolution and its batch norm; `kernel`: the only size that is allowed."""
    if not isinstance(conv, nn.Conv2d):
        raise UsageError(f'{name} has a {type(conv).__name__}: expected a plain convolution')
    if not isinstance(bn, nn.BatchNorm2d) or not bn.affine or bn.running_mean is None:
        raise UsageError(f'{name} has a {type(bn).__name__}: expected a batch norm')
    if conv.groups != (conv.in_channels if depthwise else 1) or (depthwise and conv.in_channels != conv.out_channels):
        expected = 'one per channel' if depthwise else '1'
        raise UsageError(f'{name} has a convolution of {conv.groups} groups: expected {expected}')
    if conv.bias is not None:
        raise UsageError(f'{name} has a convolution with a bias')
    size, stride = conv.kernel_size[0], conv.stride[0]
    if conv.kernel_size != (size, size) or (kernel is not None and size != kernel):
        found, expected = 'x'.join(map(str, conv.kernel_size)), f'{kernel}x{kernel}' if kernel else 'a square one'
        raise UsageError(f'{name} has a {found} convolution: expected {expected}')
    if tuple(conv.dilation) != (1, 1):
        raise UsageError(f'{name} is dilated: create the model without output_stride')
    if isinstance(conv, Conv2dSame):
        if stride > 1 and size > 1:
            notes.append("'same' padding at stride 2, which differs from ours by a pixel at even sizes")
    elif tuple(conv.padding) != (size // 2, size // 2):
        raise UsageError(f'{name} has a padding of {conv.padding}: expected {size // 2}')
    return ConvBn(conv, bn, _letters(name, bn.act) if isinstance(bn, BatchNormAct2d) else '')


def _letters(name: str, act: nn.Module) -> str:
    """The letters of an activation in the string; '' for none."""
    if isinstance(act, nn.Identity):
        return ''
    letters = _LETTERS.get(type(act)) or _ME_ACTS.get(type(act).__name__)
    if letters is None:
        known = ', '.join(a.label for a in ACTS.values())
        raise UsageError(f'{name} has the activation {type(act).__name__}: expected {known}')
    return letters


# timm's memory-efficient variants
_ME_ACTS = {'SwishMe': 'sw', 'HardSwishMe': 'hs'}


def _attention(name: str, module: nn.Module, act: str, notes: list[str]) -> Attention | None:
    if isinstance(module, nn.Identity):
        return None
    if not isinstance(module, timm_blocks.SqueezeExcite):
        raise UsageError(f'{name} has the attention {type(module).__name__}: expected Squeeze-Excite')
    hard = isinstance(module.gate, _HARD_SIGMOIDS) or type(module.gate).__name__ == 'HardSigmoidMe'
    if hard:
        notes.append('a hard-sigmoid gate there, a sigmoid here')
    elif not isinstance(module.gate, _SIGMOIDS):
        raise UsageError(f'{name} has the gate {type(module.gate).__name__}: expected a sigmoid')
    inner = _letters(name, module.act1)
    if inner != act:
        there, here = (ACTS[a].label if a else 'nothing' for a in (inner, act))
        notes.append(f'{there} within its Squeeze-Excite there, {here} here')
    return Attention(module.conv_reduce, module.conv_expand, hard)

