"""How the processes of a distributed search (`torchrun`) divide the work of a step.

* `data`: each process runs all K architectures on its share of the batch. All processes are busy for any K (which
  decreases during the search), and each needs memory for its own share only. The log-likelihood of the batch is the sum
  over the processes; the weight gradient is their average. Batch norm uses the statistics of each process's share, as
  usual in distributed training: N processes are equivalent to one process with N times as many `--grad-accum-steps`.
* `archs`: each process runs its share of the architectures on the whole batch: N processes are equivalent to one. For
  networks so small that starting their kernels takes the time, on a GPU, since a share of the batch takes as long as
  the batch. With fewer architectures than processes, the other processes wait.
"""
import logging
from collections.abc import Iterable, Sequence
from itertools import accumulate

import torch
import torch.distributed as dist
from torch import nn

from ..arch import Arch
from ..arch.cost import group_costs
from ..errors import UsageError
from ..model.shared_pass import Node, tree
from ..runs.processes import log_on_primary
from .names import WORK_SPLITS

__all__ = ['WorkSplit', 'divide']

_logger = logging.getLogger('search')


class WorkSplit:
    """This process's share of the work, and the sums over all processes.

    Attributes:
        data_parts: number of shares of a batch.
        data_part: which of them is this process's, from 0.
    """

    def __init__(self, kind: str = 'data', rank: int = 0, world_size: int = 1) -> None:
        """
        Args:
            kind: 'data' or 'archs'.
            rank: rank of this process.
            world_size: number of processes.

        Raises:
            UsageError: an unknown kind.
        """
        if kind not in WORK_SPLITS:
            raise UsageError(f'split {kind!r}: expected one of {", ".join(WORK_SPLITS)}')
        self.kind, self.rank, self.world_size = kind, rank, world_size
        self.divides_archs = kind == 'archs' and world_size > 1
        self.data_part, self.data_parts = (0, 1) if self.divides_archs else (rank, world_size)
        self._told = False

    def own(self, archs: Sequence[Arch]) -> list[int]:
        """The positions of the architectures that this process runs, in increasing order; empty if there are too few.

        Equal architectures are run by the same process. The first time that some processes have none, the log says so.
        """
        if not self.divides_archs:
            if self.kind == 'archs' and not self._told:
                self._told = True
                _logger.info('--split archs: there is one process, and it runs all architectures')
            return list(range(len(archs)))
        shares = divide(archs, self.world_size)
        different = len(set(archs))
        if different < self.world_size and not self._told:
            self._told = True
            log_on_primary(_logger, (
                f'--split archs: {different} different architectures for {self.world_size} processes: '
                f'{self.world_size - different} of them wait in such steps'
            ), logging.WARNING)
        return shares[self.rank] if self.rank < len(shares) else []

    def gathered(self, values: torch.Tensor) -> torch.Tensor:
        """The values of all processes, one row per rank, so that sums are bitwise identical on all processes."""
        if self.world_size == 1:
            return values[None]
        rows = [torch.empty_like(values) for _ in range(self.world_size)]
        dist.all_gather(rows, values)
        return torch.stack(rows)

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Sum the gradients over all processes; weights without gradient on all of them keep none."""
        if self.world_size == 1:
            return
        params = list(parameters)
        if self.divides_archs:  # else all ran the same architectures, so the same weights have gradients
            has = torch.tensor([float(p.grad is not None) for p in params], device=params[0].device)
            dist.all_reduce(has, dist.ReduceOp.MAX)
            for p, used in zip(params, has.tolist()):
                if used and p.grad is None:
                    p.grad = torch.zeros_like(p)
        grads = [p.grad for p in params if p.grad is not None]
        flat = torch.cat([g.reshape(-1) for g in grads])
        dist.all_reduce(flat)
        for grad, part in zip(grads, flat.split([g.numel() for g in grads])):
            grad.copy_(part.view_as(grad))


def divide(archs: Sequence[Arch], count: int) -> list[list[int]]:
    """Divide architectures among processes so that the one with most to do has as little as possible.

    Every share is a run of neighbours in the tree of their common groups, so that it has much in common; what is common
    is counted once, in multiply-adds.

    Args:
        archs: at least one architecture.
        count: number of processes.

    Returns:
        At most `count` shares, none empty: positions in `archs`, in increasing order.
    """
    ends = _ends(tree(archs))
    whole, added = [], []  # multiply-adds of each network, and those that it does not share with the one before it
    for members, shared in ends:
        costs = [c.macs for c in group_costs(archs[members[0]]).values()]
        whole.append(sum(costs))
        added.append(sum(costs[1 + shared :]))
    sums = list(accumulate(added))

    def cuts(limit: int) -> list[int]:
        """Where shares of at most `limit` begin, each as long as possible."""
        starts = [0]
        for i in range(len(ends)):
            if whole[starts[-1]] + sums[i] - sums[starts[-1]] > limit:
                starts.append(i)
        return starts

    low, high = max(whole), sum(whole)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if len(cuts(middle)) <= count else (middle + 1, high)
    starts = cuts(low)
    return [
        sorted(k for members, _ in ends[a:b] for k in members) for a, b in zip(starts, [*starts[1:], len(ends)])
    ]


def _ends(node: Node, shared: int = 0) -> list[tuple[list[int], int]]:
    """The ends of the tree from left to right: their members, and how many groups they share with the end before."""
    if not node.children:
        return [(node.members, shared)]
    first, *others = node.children
    return [*_ends(first, shared), *(end for child in others for end in _ends(child, node.stop))]
