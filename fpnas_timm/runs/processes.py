"""Processes and signals of a run: Ctrl-C and SIGTERM as a request to stop, and what several processes agree on."""
import contextlib
import signal
import threading
from argparse import Namespace
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist
from timm.utils import is_primary

from ..errors import UsageError

__all__ = ['SharedStop', 'StopRequest', 'on_primary', 'stop_on_signal']


class StopRequest:
    """Whether a signal has come."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def __bool__(self) -> bool:
        return self.signal is not None


@contextlib.contextmanager
def stop_on_signal() -> Iterator[StopRequest]:
    """Within, SIGINT and SIGTERM set the yielded request; a second SIGINT raises KeyboardInterrupt.

    Outside of the main thread, where Python lets nobody handle signals, it does nothing.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def handle(number: int, frame: FrameType | None) -> None:
        if request and number == signal.SIGINT:
            raise KeyboardInterrupt
        request.signal = signal.Signals(number)

    before = {s: signal.signal(s, handle) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)


def on_primary(args: Namespace, start: Callable[[], Any]) -> Any:
    """What `start` returns in the first process, None in the others; its error for the user ends them all."""
    outcome, found = [None], None
    if is_primary(args):
        try:
            found = start()
        except UsageError as e:
            outcome = [str(e)]
    if args.world_size > 1:
        dist.broadcast_object_list(outcome)
    if outcome[0]:
        raise UsageError(outcome[0])
    return found


class SharedStop:
    """A request to stop that reached any process stops all of them after the same step."""

    def __init__(self, request: StopRequest, device: torch.device) -> None:
        self.request = request
        self.device = device

    def __bool__(self) -> bool:
        flag = torch.tensor([int(bool(self.request))], device=self.device)
        dist.all_reduce(flag, dist.ReduceOp.MAX)
        return bool(flag.item())
