"""Errors for users: one sentence that says what was wrong, where, what was expected and what to do."""
import sys
from collections.abc import Callable, Sequence

__all__ = ['NonFiniteError', 'RunError', 'UsageError', 'exit_status', 'plain_message']

# How gloo and torch's store say, to the processes that are left, that another one is gone.
LOST_PROCESS = ('Connection closed by peer', 'Connection reset by peer', 'Broken pipe')


class UsageError(ValueError):
    """What was asked for cannot be done: nothing has been started. Exit status 2."""


class RunError(RuntimeError):
    """A run could not go on; what it had written is kept. Exit status 1."""


class NonFiniteError(RunError):
    """Some of the values of `what` are infinite or not a number."""

    def __init__(self, what: str, values: Sequence[float]) -> None:
        super().__init__(f'{what} is not finite: {list(values)}')
        self.what = what
        self.values = list(values)


def exit_status(run: Callable[[], int | None]) -> int:
    """Call `run`; its errors for users become a line on stderr and the exit status 2 (usage), 1 (run) or 130 (Ctrl-C).

    Other exceptions are bugs and keep their traceback.
    """
    try:
        return run() or 0
    except UsageError as e:
        print(f'error: {plain_message(e)}', file=sys.stderr)
        return 2
    except RunError as e:
        print(f'error: {plain_message(e)}', file=sys.stderr)
        return 1
    except OSError as e:  # a full disk, a file without permission
        print(f'error: {e}', file=sys.stderr)
        return 1
    except RuntimeError as e:
        if not any(sign in str(e) for sign in LOST_PROCESS):
            raise
        print(
            'error: another process of this run ended first: see its message (one killed for lack of memory leaves '
            'none), mend that, then resume',
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        return 130


def plain_message(e: BaseException) -> str:
    """The sentence of an error, without the traceback that a loader's worker puts around it."""
    text = str(e)
    if text.startswith('Caught '):
        text = text.strip().rpartition(f'{type(e).__name__}: ')[2]
    return text
