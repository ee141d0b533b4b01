"""The supernet: one network with shared weights for all architectures of an `MBConvSpace`, each of them extractable.

The architecture is an argument of the forward call, which runs only that architecture's slice of the weights. No state
is kept between calls.
"""
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar, cast

import timm
import torch
from timm.layers import create_classifier
from torch import nn

from ..arch import Arch, Block
from ..spaces import MBConvSpace
from .blocks import ConvNormAct, MBConv, init_weights, to_fast_memory_format
from .elastic import ElasticConvNormAct, ElasticMBConv, align
from .network import FPNAS

__all__ = ['Recalibration', 'SuperNet', 'recalibrate']

Model = TypeVar('Model', bound=nn.Module)


class SuperNet(nn.Module):
    """All architectures of a space in one set of weights.

    What shares weights, and why:

    * **Channels and expansions** use the first channels of the widest layer. Nearly all weights are in the 1x1
      convolutions: with separate layers for each pair of widths, the supernet would be tens of times larger, and each
      layer would be trained that much less often.
    * **Kernels** use the centre of the largest kernel. With separate weights per kernel size, a layer's output would
      have a different meaning for each of them, and the following layers would learn much more slowly (figures in
      `docs/method.md`).
    * **Splits**: n splits use the first n depthwise convolutions; without attention, the first one is used. The layer
      before the sigmoid gate of Squeeze-Excite and the layer before the softmax across splits are separate, since
      their outputs have different meanings; the reduction layer before them is shared.
    * **Non-linearities** have no weights; all other weights are shared between them.
    * **Bypass**: a separate 1x1 convolution if the shape changes.
    * **Repeats**: each repeat of a group has its own weights, as in the stand-alone network.

    The choices of a block are initialised to nearly the same function (`align`): otherwise sampled paths start
    unrelated and training stalls.

    Batch norm always uses batch statistics, also in evaluation, since running statistics would mix different
    architectures. `train` and `eval` mode are therefore the same, and an image's logits depend on the other images in
    the batch.
    """

    def __init__(self, space: MBConvSpace, num_classes: int = 1000, in_chans: int = 3) -> None:
        """
        Args:
            space: the search space.
            num_classes: number of classifier outputs.
            in_chans: number of image channels.
        """
        super().__init__()
        self.space = space
        self.num_classes = num_classes
        self.in_chans = in_chans
        stem, head = space.stem, space.head
        self.stem = ElasticConvNormAct(in_chans, stem.channels, stem.kernel, stem.stride)
        in_chs = max_in_chs = stem.channels
        groups: list[nn.ModuleList] = []
        for row in space.rows:
            max_chs = max(row.channels)
            in_choices = {in_chs} if not groups else set(space.rows[len(groups) - 1].channels)
            can_change = row.stride > 1 or in_choices != set(row.channels) or len(row.channels) > 1
            first = ElasticMBConv(row, max_in_chs, row.stride, has_bypass=0 in row.kernel and can_change)
            rest = [ElasticMBConv(row, max_chs, 1, has_bypass=False) for _ in range(row.repeat - 1)]
            groups.append(nn.ModuleList([first, *rest]))
            max_in_chs = max_chs
        self.blocks = nn.ModuleList(groups)
        self.conv_head = ElasticConvNormAct(max_in_chs, head.channels)
        self.global_pool, self.classifier = create_classifier(head.channels, num_classes, pool_type='avg')
        init_weights(self)
        for group in self.groups:
            for layer in group:
                align(layer)

    @property
    def groups(self) -> list[list[ElasticMBConv]]:
        """The blocks of each row, one per repeat."""
        return [cast(list[ElasticMBConv], list(group)) for group in cast(list[nn.ModuleList], list(self.blocks))]

    def forward(self, x: torch.Tensor, arch: Arch) -> torch.Tensor:
        """Logits of one architecture.

        Args:
            x: images (B, C, H, W), B at least 2.
            arch: an architecture of the space.

        Returns:
            Logits (B, num_classes).
        """
        x = self.run_stem(x)
        for i, blocks in enumerate(arch.blocks):
            x = self.run_group(i, x, blocks)
        return self.run_head(x)

    def run_stem(self, x: torch.Tensor) -> torch.Tensor:
        """Images (B, C, H, W) -> feature map of the stem, the input of group 0."""
        stem = self.space.stem
        return self.stem(to_fast_memory_format(x), stem.channels, stem.act)

    def run_group(self, index: int, x: torch.Tensor, blocks: Sequence[Block]) -> torch.Tensor:
        """One group of an architecture; `x` is not modified, so that several architectures can go on from it.

        Args:
            index: number of the group, from 0.
            x: feature map before it.
            blocks: the group in the architecture, `arch.blocks[index]`.

        Returns:
            The feature map after it: `x` itself if the group is an identity.
        """
        for layer, block in zip(cast(nn.ModuleList, self.blocks[index]), blocks):
            x = layer(x, block)
        return x

    def run_head(self, x: torch.Tensor) -> torch.Tensor:
        """Feature map after the last group -> logits (B, num_classes)."""
        head = self.space.head
        return self.classifier(self.global_pool(self.conv_head(x, head.channels, head.act)))

    @torch.no_grad()
    def extract(self, arch: Arch, batches: Iterable[torch.Tensor] | None = None, **kwargs: Any) -> FPNAS:
        """The stand-alone timm model of an architecture, with the supernet's weights.

        Args:
            arch: an architecture of the space.
            batches: image batches (B, C, H, W) for the batch-norm statistics (`recalibrate`). With a single batch, the
                model's outputs on that batch in eval mode equal the supernet's. If None, the batch norms have no
                statistics and the model must be trained further.
            kwargs: further arguments of `timm.create_model`.

        Raises:
            ValueError: `arch` is not in the space.
        """
        self.space.from_arch(arch)
        model = cast(FPNAS, timm.create_model(
            'fpnas', arch=str(arch), num_classes=self.num_classes, in_chans=self.in_chans, **kwargs
        ))
        self.stem.copy_to(model.stem)
        for group, plain_group in zip(self.groups, model.blocks):
            for layer, plain in zip(group, plain_group.children()):
                layer.copy_to(cast(MBConv | ConvNormAct | nn.Identity, plain))
        self.conv_head.copy_to(cast(ConvNormAct, model.conv_head))
        model.classifier.load_state_dict(self.classifier.state_dict())
        model.to(self.classifier.weight.device)
        return model if batches is None else recalibrate(model, batches)


def recalibrate(model: Model, batches: Iterable[torch.Tensor]) -> Model:
    """Set the running statistics of all batch norms to their averages over `batches`; returns the model in eval mode.

    See `Recalibration`.

    Args:
        model: any network with batch norms.
        batches: images (B, C, H, W), B at least 2.

    Raises:
        ValueError: `batches` is empty.
    """
    with Recalibration(model) as statistics:
        for batch in batches:
            statistics.add(batch)
    return model


class Recalibration:
    """Within this context, the statistics of a network's batch norms are collected; at its end, they are set.

    The statistics are those of forward passes in training mode. Variances are divided by n, like those used to
    normalise a batch in training (torch's running variance divides by n - 1 instead), so that after a single batch both
    modes give the same outputs. The network is then in eval mode.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.device = next(model.parameters()).device
        self.count = 0
        self._buffers: dict[nn.Module, tuple[torch.Tensor, torch.Tensor]] = {
            norm: (norm.running_mean, norm.running_var)
            for norm in model.modules()
            if isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None and norm.running_var is not None
        }
        self._sums = {n: (torch.zeros_like(mean), torch.zeros_like(var)) for n, (mean, var) in self._buffers.items()}
        self._hooks: list[Any] = []

    def __enter__(self) -> 'Recalibration':
        self._hooks = [norm.register_forward_pre_hook(self._collect) for norm in self._buffers]
        self.model.train()
        return self

    def _collect(self, norm: nn.Module, inputs: tuple[torch.Tensor]) -> None:
        var, mean = torch.var_mean(inputs[0].double(), (0, 2, 3), correction=0)
        self._sums[norm][0].add_(mean)
        self._sums[norm][1].add_(var)

    @torch.no_grad()
    def add(self, batch: torch.Tensor) -> None:
        """Collect the statistics of a batch of images (B, C, H, W), B at least 2."""
        self.model(batch.to(self.device))
        self.count += 1

    @torch.no_grad()
    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()
        self.model.eval()
        if kind is not None:
            return
        if not self.count:
            raise ValueError('expected at least one batch of images to take batch-norm statistics from')
        for norm, (mean, var) in self._buffers.items():
            mean.copy_(self._sums[norm][0] / self.count)
            var.copy_(self._sums[norm][1] / self.count)
