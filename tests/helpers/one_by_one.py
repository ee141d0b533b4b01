"""`model/shared_pass.py` without sharing: one architecture after the other."""
from collections.abc import Callable, Iterator, Sequence

import torch

from fpnas_timm.arch import Arch
from fpnas_timm.model.supernet import SuperNet


def train(
        net: SuperNet, images: torch.Tensor, archs: Sequence[Arch], loss_fn: Callable, backward: Callable,
        autocast: Callable,
) -> torch.Tensor:
    """The losses, after a backward pass of each."""
    losses = []
    for k, arch in enumerate(archs):
        with autocast():
            loss = loss_fn(net(images, arch), k)
        backward(loss)
        losses.append(loss.detach())
    return torch.stack(losses)


def score(
        net: SuperNet, images: torch.Tensor, archs: Sequence[Arch], autocast: Callable
) -> Iterator[tuple[list[int], torch.Tensor]]:
    """The position and the logits of each."""
    for k, arch in enumerate(archs):
        with autocast():
            logits = net(images, arch)
        yield [k], logits
