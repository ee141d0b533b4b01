"""Several architectures of a supernet on one batch: what they have in common is computed once.

Architectures that begin with the same groups share these groups' part of the forward and backward pass, equal
architectures all of it. They form a tree (`Node`), which is run depth first:

* To score (`score`), a feature map is freed once the last architecture that begins with it has gone on from it.
* To train (`train`), the graph is cut where architectures part. Each branch runs forward and backward on its own and
  leaves its gradient at the cut; the common part then runs backward once, with the sum. The memory is thus that of one
  architecture, and of the gradients at the cuts on its way.

The operations of an architecture are those of `SuperNet.forward`, on the same values: losses and logits are the same to
the bit. Gradients are sums over architectures in both cases, but summed at the cuts instead of at the weights, so they
are the same up to rounding.
"""
import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import torch

from ..arch import Arch, Block
from .supernet import SuperNet

__all__ = ['Node', 'score', 'train', 'tree']

Autocast = Callable[[], AbstractContextManager[Any]]


@dataclass
class Node:
    """Groups that architectures have in common, up to where they part or end.

    Attributes:
        start: number of the first group.
        groups: the blocks of these groups; may be empty in the root.
        members: the architectures: their positions in the list that the tree was made of.
        children: how they go on, each beginning with another group; empty if the network ends here.
    """

    start: int
    groups: list[tuple[Block, ...]]
    members: list[int]
    children: list['Node'] = field(default_factory=list)

    @property
    def stop(self) -> int:
        """Number of the first group after it."""
        return self.start + len(self.groups)


def tree(archs: Sequence[Arch]) -> Node:
    """The tree of architectures of one space; the first one is always on the first branch.

    >>> a, b = (Arch.parse(f'cn_k3_s2_c8_nre-ir_k3_e1_c8_nre-ir_k{k}_s2_e2_c16_nre-cn_k1_c32_nre') for k in (3, 5))
    >>> root = tree([a, b, a])
    >>> root.stop, [(child.start, child.members) for child in root.children]
    (1, [(1, [0, 2]), (1, [1])])
    """
    return _node([arch.blocks for arch in archs], list(range(len(archs))), 0)


def _node(blocks: Sequence[Sequence[tuple[Block, ...]]], members: list[int], start: int) -> Node:
    node = Node(start, [], members)
    for i in range(start, len(blocks[members[0]])):
        ways: dict[tuple[Block, ...], list[int]] = {}
        for member in members:
            ways.setdefault(blocks[member][i], []).append(member)
        if len(ways) > 1:
            node.children = [_node(blocks, way, i) for way in ways.values()]
            break
        node.groups.extend(ways)
    return node


@torch.no_grad()
def score(
        net: SuperNet, images: torch.Tensor, archs: Sequence[Arch], autocast: Autocast = contextlib.nullcontext
) -> Iterator[tuple[list[int], torch.Tensor]]:
    """The logits of architectures, without gradients.

    Args:
        net: the supernet.
        images: (B, C, H, W), B at least 2.
        archs: architectures of its space, at least one.
        autocast: context manager for the forward passes.

    Yields:
        The positions of equal architectures in `archs`, and their logits (B, num_classes). Every position once, in the
        order of the tree.
    """
    with autocast():
        x = net.run_stem(images)
    waiting = [(tree(archs), x)]
    while waiting:
        node, x = waiting.pop()
        with autocast():
            x = _run(net, node, x)
        if node.children:
            waiting.extend((child, x) for child in reversed(node.children))
        else:
            yield node.members, x


def train(
        net: SuperNet,
        images: torch.Tensor,
        archs: Sequence[Arch],
        loss_fn: Callable[[torch.Tensor, int], torch.Tensor],
        backward: Callable[[torch.Tensor], None] = torch.Tensor.backward,
        autocast: Autocast = contextlib.nullcontext,
) -> torch.Tensor:
    """Add the gradient of the sum of the architectures' losses to `.grad` of the weights.

    Args:
        net: the supernet.
        images: (B, C, H, W), B at least 2.
        archs: architectures of its space, at least one.
        loss_fn: (logits (B, num_classes), position in `archs`) -> loss, a scalar. Called once for every position; for
            position 0 first, for the others in the order of the tree.
        backward: runs the backward pass of a loss, to scale it: linear in the loss.
        autocast: context manager for the forward passes and the losses.

    Returns:
        The losses in the order of `archs`, without gradient, (K,).
    """
    run = _Training(net, loss_fn, backward, autocast, losses=[images.new_empty(())] * len(archs))
    with autocast():
        x = net.run_stem(images)
    run.visit(tree(archs), x)
    return torch.stack(run.losses)


@dataclass(frozen=True)
class _Training:
    """What `train` was given, and the losses so far."""

    net: SuperNet
    loss_fn: Callable[[torch.Tensor, int], torch.Tensor]
    backward: Callable[[torch.Tensor], None]
    autocast: Autocast
    losses: list[torch.Tensor]

    def visit(self, node: Node, x: torch.Tensor) -> None:
        """Run forward from `x` to the end of every architecture of the node, and backward to the cut that `x` is at."""
        with self.autocast():
            x = _run(self.net, node, x)
            losses = [] if node.children else [self.loss_fn(x, k) for k in node.members]
        if node.children:
            x.backward(self._gradient(node, x))
            return
        for k, loss in zip(node.members, losses):
            self.losses[k] = loss.detach()
        self.backward(losses[0] if len(losses) == 1 else torch.stack(losses).sum())

    def _gradient(self, node: Node, x: torch.Tensor) -> torch.Tensor:
        """The sum of what the branches leave at the cut `x`, summed in float32 at least, as at the weights."""
        total = None
        for child in node.children:
            leaf = x.detach().requires_grad_()
            self.visit(child, leaf)
            assert leaf.grad is not None, 'every network depends on its input'
            if total is None:
                total = leaf.grad.to(torch.promote_types(x.dtype, torch.float32))
            else:
                total += leaf.grad
        assert total is not None, 'the node has children'
        return total.to(x.dtype)


def _run(net: SuperNet, node: Node, x: torch.Tensor) -> torch.Tensor:
    """The node's groups, and the head if the network ends with them."""
    for i, blocks in enumerate(node.groups, node.start):
        x = net.run_group(i, x, blocks)
    return x if node.children else net.run_head(x)
