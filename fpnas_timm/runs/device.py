"""The device of a run, the rank of its processes, and the precision."""
import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from timm.utils import NativeScaler
from timm.utils.distributed import init_distributed_device_so

from ..errors import UsageError

__all__ = ['Precision', 'Process', 'best_device', 'low_precision', 'model_dtype', 'start_device']

_logger = logging.getLogger(__name__)


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


def start_device(name: str, needs_float64: bool = False) -> Process:
    """Set up the device of this process, and join the process group of `torchrun` if there is one.

    Args:
        name: as in `--device`: 'auto', 'cuda', 'cuda:1', 'cpu', 'mps', .. In a distributed run each process gets its
            own GPU. 'auto' logs what it chose.
        needs_float64: the device must have float64, which 'mps' does not.

    Raises:
        UsageError: torch has no such device on this machine, or it has no float64.
    """
    kind = name.partition(':')[0]
    if kind == 'auto':
        kind = name = best_device(needs_float64)
        if os.environ.get('RANK', '0') == '0':
            _logger.info('device: %s (auto%s)', name, ': there is no GPU' if name == 'cpu' else '')
    elif kind == 'mps' and needs_float64:
        raise UsageError('--device mps: it has no float64, which is needed here; use --device cpu')
    if not _is_there(name if kind == 'cuda' else kind):
        raise UsageError(f'--device {name}: torch has no such device on this machine; use --device cpu')
    if torch.cuda.is_available():
        torch.backends.cuda.matmul.allow_tf32 = True
        # benchmarks may choose other kernels in the next run
        torch.backends.cudnn.benchmark = not torch.are_deterministic_algorithms_enabled()
    found = init_distributed_device_so(name, dist_url=_rendezvous_url())
    return Process(
        torch.device(found['device']), found['distributed'], found['world_size'], found['global_rank'],
        found['local_rank'],
    )


def _rendezvous_url() -> str | None:
    """How the processes find each other: None for torch's default, except after a restart by torchrun.

    torch keeps the store of the first start and finds the addresses of dead processes there: the restarted ones fail to
    connect, or wait for ever. After a restart the keys therefore get a prefix of their own.
    """
    if os.environ.get('TORCHELASTIC_RESTART_COUNT', '0') == '0':
        return None
    with contextlib.suppress(RuntimeError):  # registered already
        torch.distributed.register_rendezvous_handler('fpnas-restart', _rendezvous)
    return 'fpnas-restart://'


def _rendezvous(url: str, **kwargs: Any) -> Iterator[tuple[Any, int, int]]:
    prefix = f'restart {os.environ["TORCHELASTIC_RESTART_COUNT"]}'
    for store, rank, world_size in torch.distributed.rendezvous('env://', **kwargs):
        yield torch.distributed.PrefixStore(prefix, store), rank, world_size


def best_device(needs_float64: bool = False) -> str:
    """The kind of device that `--device auto` stands for: 'cuda', 'xpu', 'npu' or 'mps' if torch has one, else 'cpu'.

    Args:
        needs_float64: leave out 'mps', which has no float64.
    """
    for kind in ('cuda', 'xpu', 'npu', 'mps'):
        if kind == 'mps' and needs_float64:
            continue
        module = torch.backends.mps if kind == 'mps' else getattr(torch, kind, None)
        if module is not None and module.is_available():
            return kind
    return 'cpu'


def _is_there(name: str) -> bool:
    """Whether torch can compute on this device."""
    if name == 'cuda' and not torch.cuda.is_available():
        return False
    try:
        return bool(torch.ones(1, device=name).item() == 1)
    except (AssertionError, AttributeError, ImportError, RuntimeError):
        return False


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
