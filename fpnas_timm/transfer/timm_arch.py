"""A network of timm as an architecture string, with what is exact and what is not."""
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import timm
from torch import nn

from ..arch import Arch, ArchError, Conv, Group
from ..arch.checks import DEFAULT_IMG_SIZE, MAX_EXPANSION
from ..arch.sizes import ImgSize, attention_channels, expanded_channels, simplest_size
from ..errors import UsageError, did_you_mean, one_line
from ..model.network import FPNAS
from ..weights.folder import model_folder
from .timm_network import TimmBlock, TimmNetwork, read_network

__all__ = ['TimmArch', 'arch_of', 'as_arch', 'create_source', 'input_size_of']


@dataclass(frozen=True)
class TimmArch:
    """The architecture string of a timm network.

    Attributes:
        arch: the architecture.
        differences: what our network of this string computes differently, one line per block and fact; empty if it
            computes the same.
        bn_eps: epsilon of the network's batch norms; the argument `bn_eps` of our model.
        bn_momentum: their momentum; the argument `bn_momentum` of our model.
    """

    arch: Arch
    differences: tuple[str, ...] = ()
    bn_eps: float = 1e-5
    bn_momentum: float | None = 0.1

    @property
    def exact(self) -> bool:
        """Whether our network of this string can have the same outputs."""
        return not self.differences

    def __str__(self) -> str:
        return str(self.arch)


def as_arch(model: nn.Module | str) -> TimmArch:
    """The architecture string of a timm network.

    Args:
        model: a network of timm's EfficientNet builder or of this package, its name, or its `local-dir:` folder; no
            weights are loaded.

    Returns:
        The string and what it cannot express. Batch norms follow timm's EfficientNet; the input size is that of the
        pretrained weights.

    Raises:
        UsageError: an unknown name, another family of networks, or a block that has no counterpart; it is named.

    >>> print(as_arch('mobilenetv2_050'))  # doctest: +ELLIPSIS
    i224-cn_r1_k3_s2_c16_nr6-ir_r1_k3_s1_e1_c8_nr6-ir_r2_k3_s2_e6_c16_nr6-...-cn_r1_k1_s1_c1280_nr6
    >>> as_arch('mobilenetv3_small_100').differences[0]
    'the head: the head convolution comes after the pooling there, before it here'
    """
    model = create_source(model, pretrained=False) if isinstance(model, str) else model
    size = input_size_of(model)
    if isinstance(model, FPNAS):
        return TimmArch(model.arch.with_img_size(size), (), model.stem.bn.eps, model.stem.bn.momentum)
    return arch_of(read_network(model), size)


def input_size_of(model: nn.Module) -> ImgSize:
    """The input size of a model's weights in pixels, as its `pretrained_cfg` has it: one number, or (height, width)."""
    size = (getattr(model, 'pretrained_cfg', None) or {}).get('input_size')
    if size:
        return cast(ImgSize, simplest_size(tuple(size[-2:])))
    return model.arch.img_size if isinstance(model, FPNAS) else DEFAULT_IMG_SIZE


def create_source(name: str, pretrained: bool, **kwargs: Any) -> nn.Module:
    """`timm.create_model`, with a sentence for a name that does not exist and weights that are not to be had."""
    if Path(name).is_dir():
        name = f'local-dir:{model_folder(name)}'
    try:
        with _quiet_hub():
            return timm.create_model(name, pretrained=pretrained, **kwargs)
    except Exception as e:  # timm, the Hub client and models raise many kinds of errors
        reason = one_line(e, limit=400)
        if 'Unknown model' in reason:
            reason = 'no model with this name is registered' + did_you_mean(name, timm.list_models())
        elif 'Invalid pretrained tag' in reason:
            tags = timm.list_pretrained(f'{name.partition(".")[0]}.*')
            reason = f'no such weights: expected one of {", ".join(tags)}' if tags else 'it has no weights'
        elif 'No pretrained weights exist' in reason:
            reason = 'timm has no weights for this model: give one of timm.list_pretrained()'
        elif pretrained:
            reason = f'its weights are not to be had: {reason}'
        raise UsageError(f'{name}: {reason}') from None


@contextmanager
def _quiet_hub() -> Iterator[None]:
    """Without the Hub client's warnings of every attempt; the last one is an error."""
    logger = logging.getLogger('huggingface_hub')
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def arch_of(network: TimmNetwork, img_size: ImgSize = DEFAULT_IMG_SIZE) -> TimmArch:
    """The architecture of the layers of a timm network; see `as_arch`."""
    notes = [f'the head: {note}' if 'head' in note else f'the stem: {note}' for note in network.notes]
    groups: list[Group] = []
    for block in network.blocks:
        group, more = _group(block, groups[-1] if groups else None)
        notes += [f'{block.name}: {note}' for note in (*block.notes, *more)]
        if groups and _repeats(groups[-1], group, block):
            last = groups[-1]
            groups[-1] = Group(**{**vars(last), 'repeats': last.repeats + 1})
        else:
            groups.append(group)
    norms = network.batch_norms
    eps = {norm.eps for norm in norms}
    if len(eps) > 1:
        notes.append(f'batch norms of different epsilon ({", ".join(map(str, sorted(eps)))})')
    stem, head = network.stem, network.head
    try:
        arch = Arch(
            Conv(stem.kernel, stem.stride, stem.conv.out_channels, stem.act), tuple(groups),
            Conv(1, 1, head.conv.out_channels, head.act), img_size,
        )
    except ArchError as e:
        raise UsageError(f'this network cannot be an architecture string: {e}') from None
    return TimmArch(arch, tuple(notes), norms[0].eps, norms[0].momentum)


def _repeats(last: Group, group: Group, block: TimmBlock) -> bool:
    """Whether a block is one more repeat of the last group."""
    return bool(group.kernel) and block.stride == 1 and block.in_chs == block.out_chs and all(
        getattr(last, name) == getattr(group, name) for name in ('kernel', 'expansion', 'channels', 'act', 'splits')
    )


def _group(block: TimmBlock, last: Group | None) -> tuple[Group, list[str]]:
    """The group of one block, and what it cannot express."""
    if block.depthwise is None:  # a 1x1 convolution
        group = Group(1, 0, block.stride, 1.0, block.out_chs, block.project.act or 're', 0)
        return group, [] if block.project.act else ['no activation after its 1x1 convolution there, ReLU here']
    notes = []
    expansion = 1.0
    if block.expand is not None:
        expansion = _expansion(block, last.expansion if last else None)
    mid = expanded_channels(block.in_chs, expansion)
    if block.attention is not None:
        theirs, ours = block.attention.reduce.out_channels, attention_channels(mid)
        if theirs > ours:
            notes.append(f'its Squeeze-Excite has {theirs} hidden units, ours {ours}: the most important ones are kept')
    act, splits = block.depthwise.act, int(block.attention is not None)
    return Group(1, block.depthwise.kernel, block.stride, expansion, block.out_chs, act, splits), notes


def _expansion(block: TimmBlock, last: float | None) -> float:
    """The shortest expansion that gives the block's width, or the next larger one (more channels, with zero weights).

    An expansion of 1 has no expansion layer in our networks, but 1.0001 has one, of the same width.
    """
    ratio = block.mid_chs / block.in_chs
    candidates = [round(ratio, digits) for digits in range(5)]
    for e in ([last] if last else []) + candidates + [1.0001]:
        if e != 1 and 0 < e <= MAX_EXPANSION and expanded_channels(block.in_chs, e) == block.mid_chs:
            return float(e)
    width = -(-block.mid_chs // 8) * 8
    while True:  # widths that are no multiple of 8: pruned networks
        e = round(width / block.in_chs, 4)
        if e > MAX_EXPANSION:
            raise UsageError(
                f'{block.name} expands {block.in_chs} channels to {block.mid_chs}: expected at most {MAX_EXPANSION}x'
            )
        if e not in (0, 1) and expanded_channels(block.in_chs, e) >= block.mid_chs:
            return e
        width += 8
