"""Signals, DataLoader workers and distributed processes.

Ctrl-C and SIGTERM are requests to stop; workers leave them to the main process; a lost worker is a sentence; what one
process of a distributed run reads or finds wrong, all of them know.
"""
import atexit
import contextlib
import functools
import logging
import multiprocessing
import os
import re
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any, Protocol, TypeVar

import torch
import torch.distributed as dist
from torch.utils.data._utils import signal_handling

from ..errors import RunError, UsageError, one_line

__all__ = [
    'LostWorker', 'SharedStop', 'Stop', 'StopRequest', 'check_same_on_all', 'end_workers', 'explain_lost_workers',
    'from_primary', 'log_on_primary', 'lost_worker', 'on_primary', 'shield_workers', 'start_workers', 'stop_on_signal',
]

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


def check_same_on_all(facts: Mapping[str, Any]) -> None:
    """In a distributed run, check that all processes found the same; must be called on every process.

    Args:
        facts: name -> value; values must be comparable and picklable.

    Raises:
        UsageError: a value differs between processes; raised on all of them.
    """
    if not (dist.is_available() and dist.is_initialized()):
        return
    found: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(found, dict(facts))
    for rank, theirs in enumerate(found):
        for name, value in found[0].items():
            if theirs[name] != value:
                shown = f' ({value} in process 0, {theirs[name]} in process {rank})' if isinstance(value, int) else ''
                raise UsageError(
                    f'the {name} differs between the processes of this run{shown}: every machine needs the same data '
                    'and files'
                )


class LostWorker(RunError):
    """A DataLoader worker ended on its own, e.g. killed for lack of memory."""


class _Shielded:
    """A `worker_init_fn` after which the worker ignores SIGINT and SIGTERM."""

    def __init__(self, init_fn: Callable[[int], None] | None) -> None:
        self.init_fn = init_fn

    def __call__(self, worker_id: int) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        if self.init_fn is not None:
            self.init_fn(worker_id)


def shield_workers(loader: Any) -> None:
    """Let the workers of a DataLoader ignore SIGINT and SIGTERM, so that the main process can finish what it does.

    A terminal, `timeout`, scancel and cgroups send these signals to all processes of a run. Workers end with their
    loader; those that are left when Python exits are killed, and those whose main process is gone end by themselves.

    Args:
        loader: a torch DataLoader, or timm's loader around one, not yet iterated.
    """
    plain = getattr(loader, 'loader', loader)
    if plain.num_workers:
        plain.worker_init_fn = _Shielded(plain.worker_init_fn)
        _end_workers_at_exit()


def start_workers(loader: Any) -> Iterator[Any]:
    """`iter(loader)`, without a moment in which a new worker would take a SIGINT or SIGTERM itself.

    Args:
        loader: a DataLoader passed to `shield_workers`.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})  # inherited by the workers
    try:
        return iter(loader)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_workers(batches: Iterator[Any]) -> None:
    """End the workers behind the batches of a DataLoader now.

    An iterator that is left in a reference cycle would do so when Python happens to collect it, perhaps in a forked
    worker of the next loader, and wait there for processes that are not its own.

    Args:
        batches: from `start_workers`; an iterator without workers, or whose workers have ended, is left as it is.
    """
    workers = list(getattr(batches, '_workers', ()))
    shutdown = getattr(batches, '_shutdown_workers', None)
    if workers and shutdown is not None and all(worker.is_alive() for worker in workers):
        shutdown()  # not if one was killed: it may have held a lock that this waits for
    _kill([worker for worker in workers if worker.is_alive()])


@functools.cache
def _end_workers_at_exit() -> None:
    """Called once, after multiprocessing's own function at exit is registered: ours comes before it."""
    atexit.register(_end_workers)


def _end_workers() -> None:
    """multiprocessing would send SIGTERM at exit and wait for ever."""
    _kill([child for child in multiprocessing.active_children() if child.daemon])


def _kill(workers: Sequence[BaseProcess]) -> None:
    if workers:
        _ignore_ended_workers()
        for worker in workers:
            worker.kill()


@contextlib.contextmanager
def explain_lost_workers(advice: str) -> Iterator[None]:
    """Within the context, the many errors by which a lost DataLoader worker shows become one sentence.

    Args:
        advice: how to go on, at the end of the sentence, such as 'continue with --resume auto'.

    Raises:
        LostWorker: a worker was killed, or ended on its own.
    """
    try:
        yield
    except (RuntimeError, OSError, EOFError) as e:
        _ignore_ended_workers()  # at once: torch would raise another error while this one is handled
        reason = lost_worker(e)
        if reason is None:
            raise
        raise LostWorker(f'a DataLoader worker {reason}: lower --workers or --batch-size, then {advice}') from None


def _ignore_ended_workers() -> None:
    """Let no end of a worker raise an error any more, which torch's signal handler does wherever Python is just then.

    torch sets its handler again with the next DataLoader.
    """
    for _ in range(2):  # the handler may be called here
        with contextlib.suppress(RuntimeError, ValueError):  # ValueError: not in the main thread
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal_handling._SIGCHLD_handler_set = False


def lost_worker(e: BaseException) -> str | None:
    """What happened to the worker; None if the error is of another kind."""
    text = one_line(e)
    if isinstance(e, RuntimeError):
        if re.search('(?i)bus error|out of shared memory|shm_open|/torch_', text):
            return 'has no shared memory left (docker run --shm-size 8g gives more)'
        if 'Pin memory thread exited unexpectedly' in text:  # it could not read what a killed worker had sent
            return 'ended unexpectedly, often for lack of memory'
        if 'DataLoader worker (pid' not in text:
            return None
        _, found, name = text.partition('killed by signal: ')
        how = f'was killed by the signal {name.partition(".")[0]}' if found else 'ended unexpectedly'
        return f'{how}, often for lack of memory'
    in_worker = text.startswith('Caught ') and 'in pin memory thread' not in text
    if in_worker or not any(_waits_for_workers(frame) for frame, _ in traceback.walk_tb(e.__traceback__)):
        return None  # an error within a worker, or not from a loader that has some
    return f'ended unexpectedly ({text}), often for lack of memory'  # the connection to it was reset


def _waits_for_workers(frame: FrameType) -> bool:
    """Whether it belongs to the iterator of a DataLoader with workers."""
    in_loader = frame.f_code.co_filename.endswith('torch/utils/data/dataloader.py')
    return in_loader and getattr(frame.f_locals.get('self'), '_num_workers', 0) > 0


class SharedStop:
    """Becomes true on all processes in the same step once any of them has received a request to stop.

    Also if torchrun, which started them, has gone (killed, or its machine's job was): a restart would find their output
    folder in use.
    """

    def __init__(self, request: StopRequest, device: torch.device) -> None:
        self.request = request
        self.device = device
        self.parent = os.getppid() if 'TORCHELASTIC_RUN_ID' in os.environ else None

    def __bool__(self) -> bool:
        orphaned = self.parent is not None and os.getppid() != self.parent
        flag = torch.tensor([int(bool(self.request) or orphaned)], device=self.device)
        dist.all_reduce(flag, dist.ReduceOp.MAX)
        return bool(flag.item())
