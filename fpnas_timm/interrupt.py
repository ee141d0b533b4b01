"""Ctrl-C and SIGTERM as a request: the loop finishes its step, saves and stops; a second one stops at once."""
import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

__all__ = ['StopRequest', 'stop_on_signal']


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
