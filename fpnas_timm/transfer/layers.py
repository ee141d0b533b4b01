"""Networks as a list of layers along the residual stream, and which channels of one layer become those of another."""
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias, cast

import torch
from torch import nn

from ..arch import Block
from ..errors import UsageError
from ..model.blocks import ConvNormAct, MBConv
from ..model.network import FPNAS

__all__ = ['Channels', 'Layer', 'Unit', 'all_channels', 'check_plain', 'kept_channels', 'pooling', 'units_of']

Layer: TypeAlias = 'MBConv | ConvNormAct'


@dataclass(frozen=True)
class Channels:
    """The channels of a layer of the target, as channels of the source.

    Attributes:
        index: the channel of the source that each is a copy of (C,).
        is_first: False for further copies of a channel (C,): what reads them starts with zero weights.
    """

    index: torch.Tensor
    is_first: torch.Tensor

    @property
    def num_kept(self) -> int:
        """How many channels of the source are kept."""
        return int(self.is_first.sum())

    def contains(self, num_source: int) -> bool:
        """Whether all channels of the source are kept."""
        return self.num_kept == num_source


def kept_channels(importance: torch.Tensor, count: int) -> Channels:
    """The most important channels of the source in their order; further ones are copies of these, in order.

    >>> kept = kept_channels(torch.tensor([3.0, 1.0, 2.0]), 2)
    >>> kept.index.tolist(), kept_channels(torch.tensor([3.0, 1.0, 2.0]), 5).index.tolist()
    ([0, 2], [0, 1, 2, 0, 1])
    """
    have = len(importance)
    if count < have:
        index = importance.topk(count).indices.sort().values
    else:
        index = torch.arange(count, device=importance.device) % have
    return Channels(index, torch.arange(count, device=importance.device) < have)


def all_channels(count: int, device: torch.device | None = None) -> Channels:
    """All channels of the source in their order."""
    index = torch.arange(count, device=device)
    return Channels(index, torch.ones_like(index, dtype=torch.bool))


@dataclass(frozen=True)
class Unit:
    """A block with weights.

    Attributes:
        name: name of the module in the network.
        layer: the module.
        block: its choices.
        level: number of halvings of the resolution before and within this block, after the stem.
        has_skip: whether it adds its input to its output.
        run: number of the run of layers whose outputs are added up, and so have the same channels; 0 is the stem's.
    """

    name: str
    layer: Layer
    block: Block
    level: int
    has_skip: bool
    run: int


def units_of(net: FPNAS) -> list[Unit]:
    """The blocks of a network in order, without identities."""
    units: list[Unit] = []
    level = run = 0
    groups = cast(Sequence[nn.Sequential], net.blocks)
    for i, (group, blocks) in enumerate(zip(groups, net.arch.blocks, strict=True)):
        for j, (layer, block) in enumerate(zip(group, blocks, strict=True)):
            if isinstance(layer, nn.Identity):
                continue
            has_skip = isinstance(layer, MBConv) and layer.has_skip
            level += block.stride > 1
            run += not has_skip
            units.append(Unit(f'blocks.{i}.{j}', cast(Layer, layer), block, level, has_skip, run))
    return units


def check_plain(source: FPNAS) -> None:
    """Check that a source is as the networks of a search are: average pooling, and no stride replaced by dilation.

    Raises:
        UsageError: it is not.
    """
    stride, total = source.output_stride, source.arch.total_stride
    for what, found, usual in (
        ('pooling', pooling(source) or 'none', 'avg'), ('output stride', min(stride, total), min(32, total)),
    ):
        if found != usual:
            raise UsageError(f'the {what} of the source is {found}, that of the networks of a search {usual}: expected '
                             'the same, to search the parts of a source')


def pooling(net: nn.Module) -> str:
    """How a timm network pools before its classifier, by timm's name; those with `fast` compute the same without it."""
    name = str(getattr(net.global_pool, 'pool_type', None) or '')
    return 'avg' if name == 'fast' else name.removeprefix('fast')
