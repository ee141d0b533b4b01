"""A sentence for DataLoader workers that have ended: killed, out of memory or out of shared memory."""
import contextlib
import re
from collections.abc import Iterator

from ..errors import RunError

__all__ = ['lost_worker', 'tell_lost_workers']


def lost_worker(e: BaseException) -> str | None:
    """The sentence for an error that says that a DataLoader worker has ended; None for other errors.

    torch raises it wherever the main process happens to be, or the connection to the worker breaks.
    """
    text = str(e)
    if isinstance(e, RuntimeError) and re.search('(?i)bus error|out of shared memory|shm_open|/torch_', text):
        return (
            'a DataLoader worker has no shared memory left: give the machine more (docker run --shm-size 8g), or use '
            'fewer --workers, then resume'
        )
    if isinstance(e, RuntimeError) and re.search(r'DataLoader worker .*(killed by signal|exited unexpectedly)', text):
        by = re.search(r'killed by signal: ([^.]+)', text)
        how = f' by a signal ({by[1]})' if by else ''
    elif isinstance(e, (ConnectionError, EOFError)):
        how = ''
    else:
        return None
    return (
        f'a DataLoader worker was ended{how}: for lack of memory, if nobody stopped it: use fewer --workers or a '
        'smaller --batch-size, then resume'
    )


@contextlib.contextmanager
def tell_lost_workers() -> Iterator[None]:
    """Within the context (or a function decorated with it), a DataLoader worker that has ended is a RunError."""
    try:
        yield
    except RunError:
        raise
    except (RuntimeError, ConnectionError, EOFError) as e:
        said = lost_worker(e)
        if said is None:
            raise
        raise RunError(said) from e
