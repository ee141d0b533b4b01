"""The state of a search in its folder: read from the checkpoint, and given to a search."""
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import RunError, UsageError, one_line
from ..runs.checkpoints import load_checkpoint
from .names import CHECKPOINT, PREVIOUS
from .strategies import AnySearch

__all__ = ['load_state', 'read_checkpoint']


def read_checkpoint(folder: Path) -> dict[str, Any]:
    """The last complete state in the folder of a search.

    Raises:
        FileNotFoundError: there is no checkpoint.
        RunError: none can be read; the message says what to do.
    """
    try:
        return load_checkpoint(folder / CHECKPOINT)
    except RunError as e:
        advice = f'restore one, or delete {CHECKPOINT} and {PREVIOUS} to search from the start'
        raise RunError(f'{e}: {advice}') from None


def load_state(search: AnySearch, state: Mapping[str, Any], folder: Path) -> None:
    """Restore a state of `read_checkpoint`.

    Raises:
        UsageError: it is not one of this search.
    """
    try:
        search.load_state_dict(dict(state))
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as e:
        if isinstance(e, UsageError):
            raise
        raise UsageError(f'{folder / CHECKPOINT}: not the state of this search ({one_line(e)}): delete it, or restore '
                         'the one that was there') from None
