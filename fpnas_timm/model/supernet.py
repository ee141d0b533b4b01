"""The supernet: one network whose weights all architectures of an `MBConvSpace` share, and from which each is cut out.

A sampled architecture is passed in the call and runs only its own slice of the weights; nothing of it is remembered.
"""
from collections.abc import Iterable
from typing import Any

import timm
import torch
from timm.layers import create_classifier
from torch import nn

from ..arch import Arch
from ..spaces import MBConvSpace
from .blocks import init_weights, to_fast_memory_format
from .elastic import ElasticConvNormAct, ElasticMBConv, align
from .network import FPNAS

__all__ = ['SuperNet', 'recalibrate']


class SuperNet(nn.Module):
    """All architectures of a space in one set of weights.

    What shares weights, and why:

    * **Channels and expansions** take the first entries of the widest layer. The 1x1 convolutions are nearly all of
      the weights; a layer for each pair of widths would make the supernet tens of times larger, and train each of
      them as much less.
    * **Kernels** take the centre of the largest. With kernels of their own, a layer's output would mean something else
      with each of them, and what follows it learn much more slowly (`docs/method.md` has the figures).
    * **Splits** take the first depthwise convolutions of the most there are, so that the first one is the same with
      and without attention. The layer that leads to the sigmoid gate of Squeeze-Excite is not the one that leads to
      the softmax across splits: the two mean different things. The reduction before them is the same.
    * **Non-linearities** have no weights and share all others.
    * **Bypass**: where the shape changes, a 1x1 convolution of its own.
    * **Repeats** of a group have weights of their own each: in the stand-alone network they have too.

    It is initialised so that the choices of a block start as nearly the same function (`align`): else each sampled
    path would speak to the next layer in a language of its own, and little would be learned before they agree.

    Batch norm takes the statistics of the batch, always, in evaluation too: those of one architecture say nothing about
    another's. So the mode (`train`, `eval`) makes no difference, and the images of a batch are scored together.
    """

    def __init__(self, space: MBConvSpace, num_classes: int = 1000, in_chans: int = 3) -> None:
        """
        Args:
            space: the search space.
            num_classes: outputs of the classifier.
            in_chans: channels of the input image.
        """
        super().__init__()
        self.space = space
        self.num_classes = num_classes
        self.in_chans = in_chans
        stem, head = space.stem, space.head
        self.stem = ElasticConvNormAct(in_chans, stem.channels, stem.kernel, stem.stride)
        in_chs = max_in_chs = stem.channels
        groups = []
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
        for group in self.blocks:
            for block in group:
                align(block)

    def forward(self, x: torch.Tensor, arch: Arch) -> torch.Tensor:
        """Images (B, C, H, W), B of at least 2, -> logits (B, num_classes) of `arch`, which must be of the space."""
        stem, head = self.space.stem, self.space.head
        x = self.stem(to_fast_memory_format(x), stem.channels, stem.act)
        for group, blocks in zip(self.blocks, arch.blocks):
            for layer, block in zip(group, blocks):
                x = layer(x, block)
        x = self.conv_head(x, head.channels, head.act)
        return self.classifier(self.global_pool(x))

    @torch.no_grad()
    def extract(self, arch: Arch, batches: Iterable[torch.Tensor] | None = None, **kwargs: Any) -> FPNAS:
        """The stand-alone timm model of an architecture with the supernet's weights.

        Args:
            arch: an architecture of the space.
            batches: image batches (B, C, H, W) from which its batch norms take their statistics (`recalibrate`). On a
                single batch, its outputs in evaluation are the supernet's. Without, it can only be trained on.
            kwargs: of `timm.create_model`.

        Raises:
            ValueError: `arch` is not of the space.
        """
        self.space.from_arch(arch)
        model = timm.create_model(
            'fpnas', arch=str(arch), num_classes=self.num_classes, in_chans=self.in_chans, **kwargs
        )
        self.stem.copy_to(model.stem)
        for group, plain_group in zip(self.blocks, model.blocks):
            for layer, plain in zip(group, plain_group):
                layer.copy_to(plain)
        self.conv_head.copy_to(model.conv_head)
        model.classifier.load_state_dict(self.classifier.state_dict())
        model.to(self.classifier.weight.device)
        return model if batches is None else recalibrate(model, batches)


@torch.no_grad()
def recalibrate(model: nn.Module, batches: Iterable[torch.Tensor]) -> nn.Module:
    """Set the running statistics of all batch norms to the average over `batches`; returns the model, in eval mode.

    Every layer sees what it would see in training. The variances are those that normalise a batch (divided by n, where
    torch's own running average divides by n - 1), so that on a single batch both modes give the same outputs.

    Args:
        model: any network with batch norms.
        batches: images (B, C, H, W), B of at least 2.

    Raises:
        ValueError: there is no batch.
    """
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    sums = {norm: (torch.zeros_like(norm.running_mean), torch.zeros_like(norm.running_var)) for norm in norms}

    def collect(norm: nn.BatchNorm2d, inputs: tuple[torch.Tensor]) -> None:
        var, mean = torch.var_mean(inputs[0].double(), (0, 2, 3), correction=0)
        sums[norm][0].add_(mean)
        sums[norm][1].add_(var)

    hooks = [norm.register_forward_pre_hook(collect) for norm in norms]
    device = next(model.parameters()).device
    count = 0
    try:
        model.train()
        for batch in batches:
            model(batch.to(device))
            count += 1
    finally:
        for hook in hooks:
            hook.remove()
        model.eval()
    if not count:
        raise ValueError('expected at least one batch of images to take batch-norm statistics from')
    for norm, (mean, var) in sums.items():
        norm.running_mean.copy_(mean / count)
        norm.running_var.copy_(var / count)
    return model
