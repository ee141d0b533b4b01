"""The mean loss of an epoch, read from the device without making it wait."""
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import torch
from timm.utils import AverageMeter

__all__ = ['Losses', 'read']


@dataclass(frozen=True)
class _Copy:
    """A loss on its way to the CPU."""

    value: torch.Tensor
    arrived: torch.cuda.Event | None  # None: it is there
    factor: int
    images: int
    update: int


class Losses:
    """The losses of an epoch; stops the run if too many in a row are not finite.

    `item()` right after a step would let the GPU run dry at every batch: Python would only prepare the next step when
    this one is done. A GPU's loss is therefore copied in the background and read when the next step has been queued.
    """

    def __init__(self, max_bad: int, error: Callable[[float, int], Exception]) -> None:
        """
        Args:
            max_bad: how many losses in a row may be infinite or NaN.
            error: (loss, number of the update) -> what is raised at one more.
        """
        self.max_bad, self.error = max_bad, error
        self.last = math.nan  # the loss that was read last
        self._mean = AverageMeter()
        self._waiting: deque[_Copy] = deque()
        self._bad_in_a_row = 0

    @property
    def mean(self) -> float:
        """Mean over the images of all losses that were read and are finite; 0 without any."""
        return float(self._mean.avg)

    def add(self, loss: torch.Tensor, factor: int, images: int, update: int) -> None:
        """Add the loss of a batch; on a GPU, read the one before it.

        Args:
            loss: a scalar.
            factor: the loss is multiplied by this number.
            images: number of images in the batch.
            update: number of its update in the epoch, for the error.
        """
        loss = loss.detach()
        arrived = None
        if loss.is_cuda:
            loss = loss.to('cpu', non_blocking=True)  # into pinned memory
            arrived = torch.cuda.Event()
            arrived.record()
        self._waiting.append(_Copy(loss, arrived, factor, images, update))
        self._read(0 if arrived is None else 1)

    def read_all(self) -> None:
        """Read the losses that are still on their way."""
        self._read(0)

    def _read(self, keep: int) -> None:
        while len(self._waiting) > keep:
            copy = self._waiting.popleft()
            self.last = read(copy.value, copy.arrived) * copy.factor
            if math.isfinite(self.last):
                self._mean.update(self.last, copy.images)
                self._bad_in_a_row = 0
                continue
            self._bad_in_a_row += 1
            if self._bad_in_a_row > self.max_bad:
                raise self.error(self.last, copy.update)


def read(value: torch.Tensor, arrived: torch.cuda.Event | None) -> float:
    """The value of a scalar on the CPU; waits until its copy has arrived."""
    if arrived is not None:
        arrived.synchronize()
    return value.item()
