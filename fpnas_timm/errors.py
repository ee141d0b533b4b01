"""Errors for users: one sentence that says what is wrong, where, what was expected and what to do."""
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from itertools import accumulate
from typing import Any

__all__ = ['NonFiniteError', 'RunError', 'TooOldError', 'UsageError', 'did_you_mean', 'one_line', 'plain_message']


class UsageError(ValueError):
    """Invalid options, arguments or input; the run has not started. Exit status 2."""


class RunError(RuntimeError):
    """A run failed; the files it has written are kept. Exit status 1."""


class NonFiniteError(RunError):
    """Some values of the quantity `what` are infinite or not a number.

    `archs` are the architectures that the values belong to, if these are not those that were asked about.
    """

    def __init__(self, what: str, values: Sequence[float], archs: Sequence[Any] | None = None) -> None:
        super().__init__(f'{what} is not finite: {list(values)}')
        self.what = what
        self.values = list(values)
        self.archs = archs


class TooOldError(ImportError):
    """A package that is needed is there in a version that is too old. Exit status 2."""


def did_you_mean(given: object, known: Iterable[str]) -> str:
    """A hint to append to an error message: the known name most similar to the given one; '' if none is similar.

    If it is the first words of two or three names, these.

    >>> did_you_mean('epoch', ['epochs', 'lr'])
    '; did you mean epochs?'
    >>> did_you_mean('warm_up', ['warmup_epochs', 'warmup_lr', 'lr'])
    '; did you mean warmup_epochs or warmup_lr?'
    """
    known = list(known)
    start = given.replace('_', '').replace('-', '') if isinstance(given, str) else ''
    begin = [name for name in known if start in accumulate(name.split('_')[:-1])]
    if 2 <= len(begin) <= 3:
        return f'; did you mean {", ".join(begin[:-1])} or {begin[-1]}?'
    close = get_close_matches(given[:80], known, n=1) if isinstance(given, str) else []
    return f'; did you mean {close[0]}?' if close else ''


def one_line(e: BaseException, limit: int = 300) -> str:
    """The message of an exception in one line of at most `limit` characters; its type if the message is empty.

    >>> one_line(KeyError()), one_line(ValueError('two\\nlines'))
    ('KeyError', 'two lines')
    """
    text = ' '.join(str(e).split())
    if 'weights_only' in text:  # torch and timm advise to load it in a way that runs what is in it
        return 'not a file of weights, or one with more in it than tensors'
    return text[:limit] or type(e).__name__


def plain_message(e: BaseException) -> str:
    """The message of an error, without the traceback that torch adds to errors of DataLoader workers."""
    text = str(e)
    if text.startswith('Caught '):
        text = text.strip().rpartition(f'{type(e).__name__}: ')[2]
    return text
