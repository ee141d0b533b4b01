"""Signals and distributed processes: Ctrl-C and SIGTERM as requests to stop, and synchronisation between processes."""
import contextlib
import logging
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, Protocol, TypeVar

import torch
import torch.distributed as dist

from ..errors import RunError, UsageError, one_line

__all__ = ['SharedStop', 'Stop', 'StopRequest', 'from_primary', 'log_on_primary', 'on_primary', 'stop_on_signal']

T = TypeVar('T')


class Stop(Protocol):
    """An object that becomes true when a run should stop."""

    def __bool__(self) -> bool: ...


class StopRequest:
    """Becomes true once a signal has arrived."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def __bool__(self) -> bool:
        return self.signal is not None


@contextlib.contextmanager
def stop_on_signal() -> Iterator[StopRequest]:
    """Within the context, SIGINT and SIGTERM set the yielded request; a second SIGINT raises KeyboardInterrupt.

    Does nothing outside of the main thread, where Python does not allow signal handlers.
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


def log_on_primary(logger: logging.Logger, message: str, level: int = logging.INFO) -> None:
    """Log a message on rank 0 only, once for all processes."""
    if not (dist.is_available() and dist.is_initialized() and dist.get_rank()):
        logger.log(level, message)


def on_primary(start: Callable[[], T], rank: int, world_size: int) -> T | None:
    """Call `start` on rank 0 only.

    Args:
        start: the function to call.
        rank: rank of this process.
        world_size: number of processes; all of them must call `on_primary`.

    Returns:
        The result of `start` on rank 0, None on the others.

    Raises:
        UsageError: `start` raised it on rank 0; it is raised on all ranks.
        RunError: on the other ranks, `start` raised another exception on rank 0, where it is raised as it is.
    """
    found, failure = None, None
    if rank == 0:
        try:
            found = start()
        except Exception as e:  # the other ranks wait for the broadcast, whatever happened here
            failure = e
    outcome: list[UsageError | RunError | None] = [None]
    if failure is not None:
        outcome = [UsageError(str(failure)) if isinstance(failure, UsageError) else RunError(one_line(failure))]
    if world_size > 1:
        dist.broadcast_object_list(outcome)
    if failure is not None:
        raise failure
    if outcome[0] is not None:
        raise outcome[0]
    return found


def from_primary(start: Callable[[], T], rank: int, world_size: int) -> T:
    """Call `start` on rank 0 only and send its result, which must be picklable, to all ranks; as `on_primary` else.

    For what all processes must agree on: each of them could read another file at the same path, or none.
    """
    box: list[Any] = [on_primary(start, rank, world_size)]
    if world_size > 1:
        dist.broadcast_object_list(box)
    return box[0]


class SharedStop:
    """Becomes true on all processes in the same step once any of them has received a request to stop."""

    def __init__(self, request: StopRequest, device: torch.device) -> None:
        self.request = request
        self.device = device

    def __bool__(self) -> bool:
        flag = torch.tensor([int(bool(self.request))], device=self.device)
        dist.all_reduce(flag, dist.ReduceOp.MAX)
        return bool(flag.item())
