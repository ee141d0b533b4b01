"""Processes and signals of a run: Ctrl-C and SIGTERM as a request to stop, and what several processes agree on."""
import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Protocol, TypeVar

import torch
import torch.distributed as dist

from ..errors import UsageError

__all__ = ['SharedStop', 'Stop', 'StopRequest', 'on_primary', 'stop_on_signal']

T = TypeVar('T')


class Stop(Protocol):
    """Whatever is true once a run should stop."""

    def __bool__(self) -> bool: ...


class StopRequest:
    """Whether a signal has come."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def __bool__(self) -> bool:
        return self.signal is not None


@contextlib.contextmanager
def stop_on_signal() -> Iterator[StopRequest]:
    """Within, SIGINT and SIGTERM set the yielded request; a second SIGINT raises KeyboardInterrupt.

    Outside of the main thread, where Python allows no signal handlers, it does nothing.
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


def on_primary(start: Callable[[], T], rank: int, world_size: int) -> T | None:
    """Call `start` in the first process only.

    Args:
        start: what to do.
        rank: of this process.
        world_size: number of processes; all of them must make this call.

    Returns:
        What `start` returns in the first process, None in the others.

    Raises:
        UsageError: `start` raised one in the first process; it is raised in all of them.
    """
    outcome: list[str | None] = [None]
    found = None
    if rank == 0:
        try:
            found = start()
        except UsageError as e:
            outcome = [str(e)]
    if world_size > 1:
        dist.broadcast_object_list(outcome)
    if outcome[0]:
        raise UsageError(outcome[0])
    return found


class SharedStop:
    """A request to stop that reaches any process stops all of them after the same step."""

    def __init__(self, request: StopRequest, device: torch.device) -> None:
        self.request = request
        self.device = device

    def __bool__(self) -> bool:
        flag = torch.tensor([int(bool(self.request))], device=self.device)
        dist.all_reduce(flag, dist.ReduceOp.MAX)
        return bool(flag.item())
