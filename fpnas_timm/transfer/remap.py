"""The weights of any FP-NAS network in any other: blocks matched by resolution, channels kept by importance.

Parameter remapping over depth, width and kernel as in FNA (https://arxiv.org/abs/2001.02525), here for residual
streams, splits and attention too. Where the target contains the source, its outputs are the source's.
"""
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import torch
from timm.models import adapt_input_conv
from torch import nn

from ..arch import Conv
from ..errors import UsageError
from ..model.blocks import ConvNormAct, MBConv
from ..model.network import FPNAS
from .copy_layers import copy_block, copy_conv, near_identity, output_zero
from .importance import block_importance, stream_importance
from .layers import Channels, Unit, all_channels, kept_channels, pooling, units_of
from .match import match_blocks
from .repair import num_images_that_fit, repair
from .select import channel_ranks
from .timm_weights import from_timm

__all__ = ['Inherited', 'transfer']


@dataclass(frozen=True)
class Inherited:
    """What a network got from another.

    Attributes:
        blocks: name of each block of the target -> in words, what it got.
        left_out: blocks of the source that the target has no place for.
        weights: share of the target's weights (of convolutions and attention, without the classifier) that come from
            the source, from 0 to 1; zeros are not counted.
        contained: whether the target computes what the source computes: nothing was cut or replaced.
        fitted: the number of images that the layers were fitted to; 0 if they were not.
        classifier: whether the classifier is the source's.
        unfitted: why the layers are not fitted, if neither `contained` nor `fitted`.
    """

    blocks: dict[str, str] = field(repr=False)
    left_out: tuple[str, ...]
    weights: float
    contained: bool
    fitted: int
    classifier: bool
    unfitted: str = 'no images'

    def __str__(self) -> str:
        lines = [f'{name}: {text}' for name, text in self.blocks.items()]
        return '\n'.join([*lines, self.summary])

    @property
    def summary(self) -> str:
        """All in one line."""
        news = sum(text.startswith('new') for text in self.blocks.values())
        parts = [f'inherited: {self.weights:.0%} of the weights', f'{news} of {len(self.blocks)} blocks are new']
        if self.left_out:
            parts.append(f'left out of the source: {", ".join(self.left_out)}')
        if self.contained:
            parts.append(f'nothing was cut: the {"outputs" if self.classifier else "features"} are the same')
        else:
            unfitted = f'layers that changed are not fitted ({self.unfitted})'
            parts.append(f'fitted to {self.fitted:,} images' if self.fitted else unfitted)
        parts.append("the source's classifier" if self.classifier else 'a new classifier')
        return '; '.join(parts)


@torch.no_grad()
def transfer(
        source: nn.Module, target: FPNAS, images: Iterable[torch.Tensor] | torch.Tensor | None = None
) -> Inherited:
    """Write the weights of a network into another, in place.

    Args:
        source: an FP-NAS network, or a timm network that can be one (`as_arch`).
        target: the network to start; its classifier is overwritten if it has as many outputs as the source's, after the
            same pooling.
        images: normalised images (B, C, H, W), a tensor or batches, without labels: a few hundred are enough. With
            them, narrower blocks keep the channels that the others replace worst, the cut layers are fitted by least
            squares to what the source computes, and all batch norms are recalibrated; of large images only as many are
            used as fit into some GB of memory. Not used if the target contains the source.

    Returns:
        What was inherited, block by block.

    Raises:
        UsageError: the source is of another family, or the networks halve the resolution at different places.
    """
    if not isinstance(target, FPNAS):
        raise UsageError(f'the target is a {type(target).__name__}: expected a network of this package')
    source = source if isinstance(source, FPNAS) else from_timm(source)
    reference, first = target.stem.conv.weight, source.arch.stem.stride
    if first != target.arch.stem.stride:
        raise UsageError(f'the stem of the source has stride {first}, that of the target {target.arch.stem.stride}: '
                         'expected the same')
    theirs, ours = units_of(source), units_of(target)
    matched = match_blocks(theirs, ours, block_importance(theirs))
    modes = (source.training, target.training)
    source = source.to(device=reference.device, dtype=reference.dtype)
    sample = None if images is None else _sample(images, source, target, theirs, ours).to(reference)
    remap = _Remap(source, target, theirs, ours, _ranks(source, theirs, ours, matched, sample))
    remap.stem()
    for unit, i in zip(ours, matched):
        remap.unit(unit, None if i is None else theirs[i])
    classifier = remap.head()
    same_size = _reductions(source) == _reductions(target)
    contained = remap.contains_all(matched) and same_size
    fitted = 0
    if sample is not None and not contained and same_size:
        fitted = len(sample)
        repair(source, target, theirs, ours, matched, remap.streams, sample)
    source.train(modes[0])
    target.train(modes[1])
    left_out = tuple(unit.name for i, unit in enumerate(theirs) if i not in set(matched))
    unfitted = 'no images' if same_size else 'another output stride'
    return Inherited(remap.words, left_out, remap.share(), contained, fitted, classifier, unfitted)


def _reductions(net: FPNAS) -> list[int]:
    """The stride of each level's feature map: `output_stride` keeps the last ones large."""
    return [level['reduction'] for level in net.feature_info]


def _sample(
        images: Iterable[torch.Tensor] | torch.Tensor, source: FPNAS, target: FPNAS, theirs: list[Unit],
        ours: list[Unit],
) -> torch.Tensor:
    """The images to fit to, as many as fit into memory."""
    whole = images if isinstance(images, torch.Tensor) else torch.cat(list(images))
    for net, which in ((source, 'source'), (target, 'target')):
        if whole.dim() != 4 or whole.shape[1] != net.in_chans:
            raise UsageError(
                f'images: a tensor of shape {tuple(whole.shape)}: expected (B, {net.in_chans}, H, W), as the '
                f'{which} takes them'
            )
    size = (int(whole.shape[-2]), int(whole.shape[-1]))
    return whole[: min(num_images_that_fit(n, u, *size) for n, u in ((source, theirs), (target, ours)))]


def _ranks(
        source: FPNAS, theirs: list[Unit], ours: list[Unit], matched: Sequence[int | None],
        images: torch.Tensor | None,
) -> dict[str, torch.Tensor]:
    """Which expanded channels narrower blocks keep, by images; empty without images."""
    counts: dict[str, int] = {}
    for unit, i in zip(ours, matched):
        if i is not None and _loses_expanded(theirs[i], unit):
            count = cast(MBConv, unit.layer).conv_pwl.conv.in_channels
            counts[theirs[i].name] = min(count, counts.get(theirs[i].name, count))
    if images is None or not counts:
        return {}
    source.eval()
    return channel_ranks(source.stem, theirs, counts, images)


def _loses_expanded(match: Unit, unit: Unit) -> bool:
    a, b = match.layer, unit.layer
    if not (isinstance(a, MBConv) and isinstance(b, MBConv)):
        return False
    if not (isinstance(a.conv_pw, ConvNormAct) and isinstance(b.conv_pw, ConvNormAct)):
        return False
    return b.conv_pwl.conv.in_channels < a.conv_pwl.conv.in_channels


class _Remap:
    """Copies one block after another; remembers what each became, in words and numbers."""

    def __init__(
            self, source: FPNAS, target: FPNAS, theirs: list[Unit], ours: list[Unit], ranks: Mapping[str, torch.Tensor]
    ) -> None:
        self.source = source
        self.target = target
        self.importance = stream_importance(source, theirs)
        self.ranks = ranks  # of the expanded channels of some blocks: name -> importance
        self.in_run = _runs_before(theirs)
        self.current = 0  # run of the source that the target's stream is a copy of here
        self.last: Unit | None = None  # the last block that was copied
        self.words: dict[str, str] = {}
        self.streams: list[Channels] = []  # output channels of stem and blocks
        self.losses = 0

    def _stream(self, run: int, count: int) -> Channels:
        return kept_channels(self.importance[run], count)

    def stem(self) -> None:
        """Copy the stem, also to another number of image channels or another kernel size."""
        conv, own = self.source.stem, self.target.stem
        out = self._stream(0, own.conv.out_channels)
        if conv.conv.in_channels == own.conv.in_channels:
            copy_conv(conv, own, out, all_channels(own.conv.in_channels, out.index.device))
        else:
            norm = {'eps': conv.bn.eps}
            adapted = ConvNormAct(
                own.conv.in_channels, conv.conv.out_channels, conv.conv.kernel_size[0], bn_args=norm
            )
            adapted.to(own.conv.weight)
            self.losses += 1
            adapted.load_state_dict({
                **conv.state_dict(), 'conv.weight': adapt_input_conv(own.conv.in_channels, conv.conv.weight.clone())
            })
            copy_conv(adapted, own, out, all_channels(own.conv.in_channels, out.index.device))
        self.streams.append(out)
        width, changed = conv.conv.out_channels, self._other_act(self.source.arch.stem, self.target.arch.stem)
        self._note('stem', f'from the stem, {_of(out, width)}{changed}', out, width)
        self.losses += conv.conv.kernel_size[0] > own.conv.kernel_size[0]

    def unit(self, unit: Unit, match: Unit | None) -> None:
        """Copy a block from its counterpart, or make it pass its input on."""
        if match is None:
            self._add(unit)
            return
        inputs = self._stream(self.in_run[match.name], unit.block.in_chs)
        out = self._stream(match.run, unit.block.out_chs)
        self.current, self.last = match.run, match
        if isinstance(unit.layer, MBConv) and isinstance(match.layer, MBConv):
            hidden = copy_block(match.layer, unit.layer, inputs, out, self.ranks.get(match.name))
            width = match.layer.conv_pwl.conv.in_channels
            text = f'from {match.name}, {_of(out, match.block.out_chs)}, {_of(hidden, width)} inside'
            self.losses += not hidden.contains(width)
        elif isinstance(unit.layer, ConvNormAct) and isinstance(match.layer, ConvNormAct):
            copy_conv(match.layer, unit.layer, out, inputs)
            text = f'from {match.name}, {_of(out, match.block.out_chs)}'
        else:
            near_identity(unit.layer, inputs, inputs if len(inputs.index) == len(out.index) else out)
            text = f'new ({match.name} is of another kind)'
            self.losses += 1
        text += _differences(unit, match)
        self.losses += not _is_contained(unit, match)
        self.streams.append(out)
        self._note(unit.name, text, out, match.block.out_chs)

    def _add(self, unit: Unit) -> None:
        inputs, out = (self._stream(self.current, count) for count in (unit.block.in_chs, unit.block.out_chs))
        if unit.has_skip and isinstance(unit.layer, MBConv):
            if self.last is not None and isinstance(self.last.layer, MBConv):
                like = self._stream(self.in_run[self.last.name], len(inputs.index))
                copy_block(self.last.layer, unit.layer, like, out)
            output_zero(unit.layer)
            text = 'new, adds nothing at first'
        else:
            near_identity(unit.layer, inputs, out)
            text = 'new, passes its input on'
            self.losses += 1
        self.streams.append(out)
        self.words[unit.name] = text

    def head(self) -> bool:
        """Copy head and classifier; returns whether the classifier was copied."""
        conv, own = cast(ConvNormAct, self.source.conv_head), cast(ConvNormAct, self.target.conv_head)
        last = max(self.importance)
        importance = conv.bn.weight.abs()
        classifier, new = self.source.classifier, self.target.classifier
        if isinstance(classifier, nn.Linear):  # which reads each channel once, or for two ways of pooling twice
            importance = importance * classifier.weight.unflatten(1, (-1, len(importance))).norm(dim=(0, 1))
        out = kept_channels(importance, own.conv.out_channels)
        copy_conv(conv, own, out, self._stream(last, own.conv.in_channels))
        width, changed = conv.conv.out_channels, self._other_act(self.source.arch.head, self.target.arch.head)
        self._note('conv_head', f'from the head, {_of(out, width)}{changed}', out, width)
        self.streams.append(out)
        fits = isinstance(classifier, nn.Linear) and isinstance(new, nn.Linear) and pooling(self.source) == pooling(
            self.target
        )
        if not fits or classifier.out_features != new.out_features:
            return False
        weight = classifier.weight.unflatten(1, (-1, width))[:, :, out.index] * out.is_first
        new.weight.copy_(weight.flatten(1))
        new.bias.copy_(classifier.bias)
        return True

    def _other_act(self, theirs: Conv, ours: Conv) -> str:
        """Whether the activation of stem or head changes, in words; '' if it does not."""
        self.losses += theirs.act != ours.act
        return f' (n{theirs.act} to n{ours.act})' if theirs.act != ours.act else ''

    def contains_all(self, matched: list[int | None]) -> bool:
        """Whether nothing of the source was lost."""
        found = {i for i in matched if i is not None}
        return not self.losses and len(found) == len(self.in_run)

    def _note(self, name: str, text: str, out: Channels, width: int) -> None:
        self.words[name] = text
        self.losses += not out.contains(width)

    def share(self) -> float:
        """The share of the target's weights that are not zero and come from the source."""
        layers = _layers(self.target)
        copied = sum(_num_copied(self.words, name, module) for name, module in layers)
        return copied / sum(p.numel() for _, module in layers for p in module.parameters() if p.dim() > 1)


def _layers(net: FPNAS) -> list[tuple[str, nn.Module]]:
    return [('stem', net.stem), *((unit.name, unit.layer) for unit in units_of(net)), ('conv_head', net.conv_head)]


def _num_copied(words: dict[str, str], name: str, module: nn.Module) -> int:
    if words.get(name, 'new').startswith('new'):
        return 0
    return int(sum(p.count_nonzero() for p in module.parameters() if p.dim() > 1))


def _runs_before(units: list[Unit]) -> dict[str, int]:
    """Name of each block -> the run that it reads."""
    runs = [0, *(unit.run for unit in units)]
    return {unit.name: run for unit, run in zip(units, runs)}


def _of(channels: Channels, have: int) -> str:
    count = len(channels.index)
    if channels.num_kept < have:
        return f'{channels.num_kept} of {have} channels'
    return f'{have} channels and {count - have} more' if count > have else f'{have} channels'


def _differences(unit: Unit, match: Unit) -> str:
    """What else changes, in words."""
    a, b = match.block, unit.block
    parts = []
    if a.kernel != b.kernel and a.kernel and b.kernel:
        parts.append(f'kernel {a.kernel} to {b.kernel}')
    if a.splits != b.splits:
        parts.append(f'sp{a.splits} to sp{b.splits}')
    if a.act != b.act:
        parts.append(f'n{a.act} to n{b.act}')
    if a.kernel and b.kernel and (a.expansion == 1) != (b.expansion == 1):
        parts.append('without its expansion layer' if b.expansion == 1 else 'with an expansion layer')
    if match.has_skip != unit.has_skip:
        parts.append('with a residual sum' if unit.has_skip else 'without its residual sum')
    return f' ({", ".join(parts)})' if parts else ''


def _is_contained(unit: Unit, match: Unit) -> bool:
    """Whether the differences are such that the block can compute the same."""
    a, b = match.block, unit.block
    splits = a.splits == b.splits or (a.splits, b.splits) in ((0, 1), (0, 2), (0, 4), (1, 2), (1, 4), (2, 4))
    expands = not (a.kernel and b.kernel) or (a.expansion == 1) == (b.expansion == 1)
    return a.act == b.act and match.has_skip == unit.has_skip and expands and splits and a.kernel <= b.kernel
