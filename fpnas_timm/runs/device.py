"""The device of a run, its place among the processes of the run, and its precision."""
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
    """This process of a run: its device, and its place among all processes."""

    device: torch.device
    distributed: bool = False
    world_size: int = 1  # number of processes
    rank: int = 0  # of this one, over all machines
    local_rank: int = 0  # of this one, on its machine

    @property
    def primary(self) -> bool:
        """Whether this is the process that writes files and log lines."""
        return self.rank == 0


@dataclass(frozen=True)
class Precision:
    """The number and memory format of a forward pass."""

    autocast: Callable[[], AbstractContextManager[Any]] = contextlib.nullcontext  # around the forward pass
    dtype: torch.dtype | None = None  # of weights and images; None: float32
    channels_last: bool = False

    def layout(self, images: torch.Tensor) -> torch.Tensor:
        """Images (B, C, H, W) in the memory format of the network."""
        return images.contiguous(memory_format=torch.channels_last) if self.channels_last else images


def start_device(name: str) -> Process:
    """Find the device of this process, and join the process group of `torchrun` if there is one.

    Args:
        name: as `--device`: 'cuda', 'cuda:1', 'cpu', 'mps', .. In a distributed run each process gets a GPU of its own.

    Raises:
        UsageError: torch has no such device here.
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
    """The context of a forward pass, and timm's gradient scaler.

    Args:
        amp: mixed precision; without it the context does nothing.
        amp_dtype: 'float16' or 'bfloat16'.
        device: of the run.

    Returns:
        The context, and the scaler, which only float16 needs (else None).
    """
    if not amp:
        return contextlib.nullcontext, None
    autocast = partial(torch.autocast, device_type=device.type, dtype=getattr(torch, amp_dtype))
    return autocast, NativeScaler(device=device.type) if amp_dtype == 'float16' else None


def model_dtype(name: str | None) -> torch.dtype | None:
    """The dtype that `--model-dtype` names (default: none).

    >>> model_dtype('bfloat16')
    torch.bfloat16
    """
    return getattr(torch, name) if name else None
