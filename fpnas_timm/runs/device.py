"""The device of a run, the rank of its processes, and the precision."""
import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from timm.utils import NativeScaler
from timm.utils.distributed import init_distributed_device_so

from ..errors import UsageError

__all__ = ['Precision', 'Process', 'low_precision', 'model_dtype', 'start_device']


@dataclass(frozen=True)
class Process:
    """This process of a run: its device and its rank."""

    device: torch.device
    distributed: bool = False
    world_size: int = 1  # number of processes
    rank: int = 0  # global rank of this process
    local_rank: int = 0  # rank on this machine

    @property
    def primary(self) -> bool:
        """Whether this is rank 0, which writes the files and the log."""
        return self.rank == 0


@dataclass(frozen=True)
class Precision:
    """The numeric precision and the memory format of a forward pass."""

    autocast: Callable[[], AbstractContextManager[Any]] = contextlib.nullcontext  # context of the forward pass
    dtype: torch.dtype | None = None  # dtype of weights and images; None: float32
    channels_last: bool = False

    def layout(self, images: torch.Tensor) -> torch.Tensor:
        """Images (B, C, H, W) in the memory format of the network."""
        return images.contiguous(memory_format=torch.channels_last) if self.channels_last else images


def start_device(name: str) -> Process:
    """Set up the device of this process, and join the process group of `torchrun` if there is one.

    Args:
        name: as in `--device`: 'cuda', 'cuda:1', 'cpu', 'mps', .. In a distributed run each process gets its own GPU.

    Raises:
        UsageError: torch has no such device on this machine.
    """
    kind = name.partition(':')[0]
    try:
        there = kind != 'cuda' or torch.cuda.is_available()
        torch.empty(0, device='meta' if not there else name if kind == 'cuda' else kind)
    except RuntimeError:
        there = False
    if not there:
        raise UsageError(f'--device {name}: torch has no such device on this machine; use --device cpu')
    if torch.cuda.is_available():
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.benchmark = True
    found = init_distributed_device_so(name)
    return Process(
        torch.device(found['device']), found['distributed'], found['world_size'], found['global_rank'],
        found['local_rank'],
    )


def low_precision(
        amp: bool, amp_dtype: str, device: torch.device
) -> tuple[Callable[[], AbstractContextManager[Any]], NativeScaler | None]:
    """The autocast context of a forward pass, and timm's gradient scaler.

    Args:
        amp: use mixed precision; if False, the context does nothing.
        amp_dtype: 'float16' or 'bfloat16'.
        device: device of the run.

    Returns:
        The context, and the scaler (None unless mixed precision is float16).
    """
    if not amp:
        return contextlib.nullcontext, None
    autocast = partial(torch.autocast, device_type=device.type, dtype=getattr(torch, amp_dtype))
    return autocast, NativeScaler(device=device.type) if amp_dtype == 'float16' else None


def model_dtype(name: str | None) -> torch.dtype | None:
    """The torch dtype for `--model-dtype`, or None if not given.

    >>> model_dtype('bfloat16')
    torch.bfloat16
    """
    return getattr(torch, name) if name else None
