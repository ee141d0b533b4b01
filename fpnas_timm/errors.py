"""Errors for users: one sentence that says what was wrong, where, what was expected and what to do."""
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

__all__ = ['NonFiniteError', 'RunError', 'UsageError', 'did_you_mean', 'one_line']


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


def did_you_mean(given: object, known: Iterable[str]) -> str:
    """A hint to put behind an error: the known name nearest to what was given, '' if none is near.

    >>> did_you_mean('epoch', ['epochs', 'lr'])
    '; did you mean epochs?'
    """
    close = get_close_matches(given[:80], list(known), n=1) if isinstance(given, str) else []
    return f'; did you mean {close[0]}?' if close else ''


def one_line(e: BaseException, limit: int = 300) -> str:
    """What an exception says, in one line of at most `limit` characters; its type if it says nothing.

    >>> one_line(KeyError()), one_line(ValueError('two\\nlines'))
    ('KeyError', 'two lines')
    """
    return ' '.join(str(e).split())[:limit] or type(e).__name__
