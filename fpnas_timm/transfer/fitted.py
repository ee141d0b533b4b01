"""A supernet whose parts are fitted by least squares instead of trained.

Every choice of every block is a narrower copy of the source's block. Its projection is solved so that the block's
output is as close as can be to the source's, not only on the source's own features but on those that sub-networks
produce, since that is what the block will read. Any sub-network is then ready to
be scored; how well its outputs agree with the source's tells how well it does after fine-tuning (docs/results.md).
"""
import random
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, cast

import timm
import torch
import torch.nn.functional as F
from torch import nn

from ..arch import Arch, Block
from ..arch.sizes import expanded_channels
from ..errors import UsageError
from ..model.blocks import ConvNormAct, MBConv, to_fast_memory_format
from ..model.network import FPNAS
from ..spaces import MBConvSpace
from ..spaces.around import check_around, largest_arch
from .copy_layers import copy_block
from .images import NUM_IMAGES
from .layers import Layer, Unit, all_channels, check_plain, units_of
from .remap import transfer
from .repair import fit_block
from .rows import apply_in_chunks
from .select import channel_ranks

__all__ = ['FittedSuperNet', 'check_fixed_channels']

MAX_ROWS = 20_000  # pixels that a choice is fitted to
CONTEXTS = 8  # random sub-networks whose features the blocks are fitted to; each has its share of the images
PENALTY = 1e-3  # of the squared weights of the classifier, whose inputs have a variance of 1 on average


class FittedSuperNet(nn.Module):
    """All sub-networks of a trained network, in a space around it (`space_around`) with the source's channels.

    Attributes:
        space: the search space.
        num_classes: number of classes of the search's images.
        in_chans: number of image channels.
        source: the trained network, with its own classifier.
        classifier: for the classes of the search, on the source's features.
    """

    def __init__(self, space: MBConvSpace, num_classes: int, in_chans: int = 3, num_labels: int = 1000) -> None:
        """
        Args:
            space: the search space.
            num_classes: number of classes of the search's images.
            in_chans: number of image channels.
            num_labels: number of classes of the source.

        Raises:
            UsageError: the space has a choice that cannot be fitted.
        """
        super().__init__()
        check_fixed_channels(space)
        self.space, self.num_classes, self.in_chans = space, num_classes, in_chans
        arch = largest_arch(space)
        self.source = FPNAS(str(arch), num_classes=num_labels, in_chans=in_chans).eval()
        self.classifier = nn.Linear(arch.head.channels, num_classes)
        self.blocks = nn.ModuleList([
            nn.ModuleDict({_key(block): _layer(block) for block in _choices(space, i)})
            for i in range(len(space.rows))
        ])
        self.eval()

    def train(self, mode: bool = True) -> 'FittedSuperNet':
        """Nothing is trained here: batch norms always use their statistics."""
        return super().train(False)

    def features(self, x: torch.Tensor, arch: Arch) -> torch.Tensor:
        """Pooled features of a sub-network, (B, C, H, W) -> (B, head channels)."""
        x = self.source.stem(to_fast_memory_format(x))
        for choices, (block,) in zip(cast(list[nn.ModuleDict], list(self.blocks)), arch.blocks, strict=True):
            if not block.is_identity:
                x = choices[_key(block)](x)
        return self.source.forward_head(self.source.conv_head(x), pre_logits=True)

    def forward(self, x: torch.Tensor, arch: Arch) -> torch.Tensor:
        """Logits of a sub-network for the source's classes, (B, C, H, W) -> (B, num_labels)."""
        return self.source.classifier(self.features(x, arch))

    @torch.no_grad()
    def labels(self, x: torch.Tensor) -> torch.Tensor:
        """The probabilities that the source gives to its classes, (B, C, H, W) -> (B, num_labels)."""
        return self.source(to_fast_memory_format(x)).softmax(1)

    @torch.no_grad()
    def fit(
            self, source: FPNAS, images: torch.Tensor, seed: int = 0, contexts: Sequence[Arch] | None = None
    ) -> Iterator[tuple[int, int]]:
        """Take over the weights of a network and fit the parts, block by block.

        Args:
            source: the trained network, of the largest architecture of the space.
            images: normalised images (B, C, H, W), without labels; a few hundred are enough.
            seed: seed of the random sub-networks.
            contexts: sub-networks whose features the blocks are fitted to, each on its share of the images; None:
                `CONTEXTS` random ones. If much smaller networks are searched for, those are better contexts: they
                distort the features more.

        Yields:
            After each block its row, counted from 1, and the number of rows.

        Raises:
            UsageError: the space is not around the source, or the source has no classifier, or another pooling or
                output stride than the networks of a search.
        """
        try:
            check_around(self.space, source.arch)
        except ValueError as e:
            raise UsageError(f'{e}: make it with `fpnas space around`') from None
        check_plain(source)
        if not isinstance(source.classifier, nn.Linear):
            raise UsageError('the source has no classifier, by whose outputs its sub-networks are compared: give '
                             '--supernet trained')
        self._take(source)
        images = images.to(self.classifier.weight)
        units = units_of(self.source)
        ranks = channel_ranks(self.source.stem, units, _narrowest(self.space), images)
        rng = random.Random(seed)
        y = apply_in_chunks(self.source.stem, to_fast_memory_format(images))
        x = y.clone()
        count = min(CONTEXTS if contexts is None else len(contexts), len(images))
        shares = torch.arange(len(images), device=images.device).tensor_split(count)
        rows = [i for i in range(len(self.space.rows)) if _choices(self.space, i)]  # the others have no weights
        for i, unit in zip(rows, units, strict=True):
            y = apply_in_chunks(unit.layer, y)
            drawn = self._drawn(i, unit.has_skip, rng, count) if contexts is None else [
                '' if arch.blocks[i][0].is_identity else _key(arch.blocks[i][0]) for arch in contexts[:count]
            ]
            x = self._fit_choices(i, unit, x, y, ranks.get(unit.name), list(zip(shares, drawn)))
            yield i + 1, len(self.space.rows)

    def _take(self, source: FPNAS) -> None:
        """Copy the source, whose blocks may be grouped in another way."""
        self.source.reset_classifier(source.num_classes)
        own = self.source.to(self.classifier.weight).eval()
        transfer(source, own)

    def _drawn(self, i: int, has_skip: bool, rng: random.Random, count: int) -> list[str]:
        """Random choices of a block, by name; '' where it is left out."""
        names = [*cast(nn.ModuleDict, self.blocks[i]), *([''] if 0 in self.space.rows[i].kernel and has_skip else [])]
        return [rng.choice(names) for _ in range(count)]

    def _fit_choices(
            self, i: int, unit: Unit, x: torch.Tensor, wanted: torch.Tensor, ranks: torch.Tensor | None,
            drawn: Sequence[tuple[torch.Tensor, str]],
    ) -> torch.Tensor:
        """Fit all choices of a block to inputs `x`.

        Returns the inputs of the next block: `drawn` says which images are given to which choice, '' to none.
        """
        choices = cast(nn.ModuleDict, self.blocks[i])
        following = torch.empty_like(wanted)
        for name, layer in choices.items():
            if isinstance(layer, MBConv):
                own = unit.layer
                assert isinstance(own, MBConv)
                copy_block(own, layer, all_channels(unit.block.in_chs, x.device),
                           all_channels(unit.block.out_chs, x.device), ranks)
            else:
                layer.load_state_dict(unit.layer.state_dict())
            choice = Unit(unit.name, cast(Layer, layer), unit.block, unit.level, unit.has_skip, unit.run)
            z = fit_block(choice, x, wanted, MAX_ROWS, calibrate=False)
            for share, draw in drawn:
                if draw == name:
                    following[share] = z[share]
        for share, draw in drawn:
            if draw == '':  # left out
                following[share] = x[share]
        return following

    def fit_classifier(self, features: torch.Tensor, classes: torch.Tensor) -> None:
        """Fit the classifier to features by logistic regression (L-BFGS).

        Args:
            features: pooled features of the source (N, head channels).
            classes: the classes of the images (N,).
        """
        var, mean = torch.var_mean(features.double(), 0)
        # one scale for all: a feature that hardly varies here may vary in a sub-network, and must not get a huge weight
        std = var.mean().sqrt().clamp_min(1e-6)
        inputs = (features.double() - mean) / std
        weight = torch.zeros(self.num_classes, inputs.shape[1], dtype=torch.float64, device=inputs.device)
        bias = torch.zeros(self.num_classes, dtype=torch.float64, device=inputs.device)
        parameters = [weight.requires_grad_(), bias.requires_grad_()]
        optimizer = torch.optim.LBFGS(parameters, max_iter=100, line_search_fn='strong_wolfe')

        def closure() -> torch.Tensor:
            optimizer.zero_grad()
            loss = F.cross_entropy(inputs @ weight.T + bias, classes) + PENALTY * weight.square().sum()
            loss.backward()
            return loss

        with torch.enable_grad():
            optimizer.step(cast(Any, closure))
        with torch.no_grad():
            scaled = weight / std
            self.classifier.weight.copy_(scaled)
            self.classifier.bias.copy_(bias - scaled @ mean)

    @torch.no_grad()
    def extract(self, arch: Arch, batches: Iterable[torch.Tensor] | None = None, **kwargs: Any) -> FPNAS:
        """The stand-alone timm model of a sub-network, fitted anew as a whole (`transfer`), with the classifier.

        Args:
            arch: an architecture of the space.
            batches: image batches (B, C, H, W) to fit to, of which at most `NUM_IMAGES` images are used.
            kwargs: further arguments of `timm.create_model`.

        Raises:
            ValueError: `arch` is not in the space, or there are no images.
        """
        self.space.from_arch(arch)
        images: list[torch.Tensor] = []
        for batch in batches or ():
            images.append(batch)
            if sum(map(len, images)) >= NUM_IMAGES:
                break
        if not images:
            raise ValueError('expected at least one batch of images to fit the network to')
        model = cast(FPNAS, timm.create_model(
            'fpnas', arch=str(arch), num_classes=self.num_classes, in_chans=self.in_chans, **kwargs
        ))
        model.to(self.classifier.weight.device)
        transfer(self.source, model, torch.cat(images)[:NUM_IMAGES])
        model.classifier.load_state_dict(self.classifier.state_dict())
        return model.eval()

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        """As in torch, also for a source with another number of classes than was assumed."""
        num_labels = len(state_dict['source.classifier.weight'])
        if num_labels != self.source.num_classes:
            self.source.reset_classifier(num_labels)
            self.source.to(self.classifier.weight)
        return super().load_state_dict(state_dict, strict, assign)


def check_fixed_channels(space: MBConvSpace) -> None:
    """Raise UsageError for a space in which not every choice can be fitted to the source's features."""
    in_chs = space.stem.channels
    for i, row in enumerate(space.rows, 1):
        what = None
        if row.repeat > 1:
            what = f'has {row.repeat} blocks that share their choices'
        elif len(row.channels) > 1:
            what = f'has {min(row.channels)} to {max(row.channels)} channels'
        elif len(row.act) > 1 or len(row.splits) > 1:
            what = 'has a choice of non-linearities or splits'
        elif 0 in row.kernel and len(row.kernel) > 1 and (row.stride > 1 or in_chs != row.channels[0]):
            what = 'can be a bypass that changes the shape'
        if what is not None:
            raise UsageError(
                f'space {space.name!r}: group {i} {what}, which cannot be fitted to the source: make the space with '
                '`fpnas space around SOURCE --blocks --channels 1 -o space.json`, or give --supernet trained'
            )
        in_chs = row.channels[0]


def _choices(space: MBConvSpace, i: int) -> list[Block]:
    """The different blocks of a row, without the identity."""
    row = space.rows[i]
    in_chs = space.rows[i - 1].channels[0] if i else space.stem.channels
    blocks = {
        _key(block): block
        for kernel in row.kernel for expansion in row.expansion
        for block in [Block(in_chs, row.channels[0], kernel, row.stride, expansion, row.act[0], row.splits[0])]
        if not block.is_identity
    }
    return list(blocks.values())


def _key(block: Block) -> str:
    return f'k{block.kernel}_w{_width(block)}'


def _width(block: Block) -> int:
    """The number of expanded channels; 0 of a bypass."""
    return expanded_channels(block.in_chs, block.expansion) if block.kernel else 0


def _layer(block: Block) -> nn.Module:
    """The layer of a block."""
    if block.kernel == 0:
        return ConvNormAct(block.in_chs, block.out_chs, stride=block.stride, act=block.act)
    return MBConv(block, block.stride)


def _narrowest(space: MBConvSpace) -> dict[str, int]:
    """Name of each block that can become narrower -> its smallest number of expanded channels."""
    counts = {}
    for i in range(len(space.rows)):
        widths = {_width(block) for block in _choices(space, i) if block.kernel}
        if len(widths) > 1:
            counts[f'blocks.{i}.0'] = min(widths)
    return counts
