"""Errors for users: one sentence that says what was wrong, where, what was expected and what to do."""
from collections.abc import Sequence

__all__ = ['NonFiniteError', 'RunError', 'UsageError']


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
