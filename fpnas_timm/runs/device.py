"""The device of a run and its precision."""
import argparse
import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from timm import utils

from ..errors import UsageError

__all__ = ['low_precision', 'model_dtype', 'start_device']


def start_device(args: argparse.Namespace) -> torch.device:
    """The device of this process; joins the process group of `torchrun`, if there is one.

    Sets `args.device`, `distributed`, `world_size`, `rank` and `local_rank`.

    Raises:
        UsageError: torch has no such device here.
    """
    kind = args.device.partition(':')[0]
    try:
        there = kind != 'cuda' or torch.cuda.is_available()
        torch.empty(0, device='meta' if not there else args.device if kind == 'cuda' else kind)
    except RuntimeError:
        there = False
    if not there:
        raise UsageError(f'--device {args.device}: torch has no such device on this machine; use --device cpu')
    if torch.cuda.is_available():
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.benchmark = True
    return utils.init_distributed_device(args)


def low_precision(args: argparse.Namespace, device: torch.device) -> tuple[Callable[[], Any], Any]:
    """The context of a forward pass, and timm's gradient scaler for float16 (else None)."""
    if not args.amp:
        return contextlib.nullcontext, None
    autocast = partial(torch.autocast, device_type=device.type, dtype=getattr(torch, args.amp_dtype))
    return autocast, utils.NativeScaler(device=device.type) if args.amp_dtype == 'float16' else None


def model_dtype(args: argparse.Namespace) -> torch.dtype | None:
    """`--model-dtype`, None without."""
    return getattr(torch, args.model_dtype) if args.model_dtype else None
