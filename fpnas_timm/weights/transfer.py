"""One file over HTTP, through the Hub client's session, within a number of bytes and a total time.

The client itself stores a body of unknown length whole, and waits without end for a server that sends a byte now and
then; a Hub endpoint is not always `huggingface.co`.
"""
import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO, TypeVar
from urllib.parse import urljoin, urlsplit

from huggingface_hub.constants import HF_HUB_DOWNLOAD_TIMEOUT
from huggingface_hub.utils import build_hf_headers, get_session, tqdm

__all__ = ['GRACE', 'MIN_RATE', 'Incomplete', 'Refused', 'receive', 'seconds_for', 'within']

GRACE = 60.0  # seconds for an answer without a body, and for the start of a body
MIN_RATE = 20_000  # bytes per second: a transfer that is slower on the whole is given up
BLOCK = 1 << 16
MAX_REDIRECTS, MAX_ATTEMPTS = 5, 3

_T = TypeVar('_T')


class Refused(Exception):
    """The transfer was ended here, or what came is not what was announced; the message says why."""


class Incomplete(Refused):
    """Fewer bytes came than were announced."""


class _BadStatus(Exception):
    """An HTTP status that is an error."""


def seconds_for(size: int) -> float:
    """The total time that a body of this many bytes may take."""
    return GRACE + size / MIN_RATE


def within(seconds: float, work: Callable[[threading.Event], _T]) -> _T:
    """The result of `work(stop)`, which runs in a thread of its own; its exceptions are raised here.

    Nothing in Python ends a call that waits for a slow server, since every byte starts the socket's time-out again. So
    a call that takes too long is left behind in its thread, with `stop` set; it must not publish anything after that.

    Raises:
        Refused: it takes longer than `seconds`.
    """
    stop, done = threading.Event(), threading.Event()
    results: list[_T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work(stop))
        except BaseException as e:
            errors.append(e)
        finally:
            done.set()

    threading.Thread(target=run, daemon=True).start()
    try:
        if not done.wait(seconds):
            raise Refused(f'the Hub sends too slowly: given up after {seconds:.0f} seconds')
    finally:
        stop.set()
    if errors:
        raise errors[0]
    return results[0]


def receive(url: str, file: BinaryIO, limit: int, size: int | None, title: str, stop: threading.Event) -> None:
    """Write what a server sends for `url` to a file; a transfer that breaks off is continued.

    Args:
        url: address on the Hub; the user's token is sent to its host only.
        file: an empty file, open for writing.
        limit: maximum number of bytes.
        size: number of bytes that the Hub has announced; None if it has not.
        title: name of the file for the progress bar.
        stop: ends the transfer when it is set.

    Raises:
        Refused: more than `limit` or other than `size` bytes came.
        OSError: the file cannot be written.
    """
    received, failed = 0, 0
    with tqdm(total=size, unit='B', unit_scale=True, desc=title) as bar:
        while True:
            before = received
            try:
                with _answer(url, received) as (restarts, blocks):
                    if restarts and received:
                        file.seek(0)
                        file.truncate()
                        bar.update(-received)
                        received = 0
                    for block in blocks:
                        received += len(block)
                        if stop.is_set() or received > (limit if size is None else min(limit, size)):
                            raise Refused(f'more than {limit if size is None else size:,} bytes came: not stored')
                        _write(file, block)
                        bar.update(len(block))
                break
            except (Refused, _NotWritten):
                raise
            except Exception:  # error types depend on the client's version
                failed = failed + 1 if received <= before else 1
                if failed >= MAX_ATTEMPTS or stop.wait(0.5 * failed):
                    raise
    if size is not None and received != size:
        raise Incomplete(f'{received:,} of {size:,} bytes')
    file.flush()


class _NotWritten(OSError):
    pass


def _write(file: BinaryIO, block: bytes) -> None:
    try:
        file.write(block)
    except OSError as e:
        raise _NotWritten(e.errno, e.strerror, getattr(file, 'name', None)) from None


@contextlib.contextmanager
def _answer(url: str, start: int) -> Iterator[tuple[bool, Iterator[bytes]]]:
    """Whether the body starts at its first byte, not at `start`; and the body, in blocks as they come."""
    headers = {**build_hf_headers(), 'Accept-Encoding': 'identity'}
    if start:
        headers['Range'] = f'bytes={start}-'
    for _ in range(MAX_REDIRECTS + 1):
        with _get(url, headers) as (status, fields, blocks):
            if status in (301, 302, 303, 307, 308) and fields.get('location'):
                there = urljoin(url, fields['location'])
                if urlsplit(there).netloc != urlsplit(url).netloc:
                    headers.pop('authorization', None)
                url = there
                continue  # its body is not read
            if status not in (200, 206):
                raise _BadStatus(f'the Hub answered {status}')
            if status == 206 and not str(fields.get('content-range')).startswith(f'bytes {start}-'):
                raise Refused('another part of the file came than was asked for')
            if fields.get('content-encoding', 'identity').lower() != 'identity':
                raise Refused('it came compressed, which was not asked for')
            yield status == 200, blocks
            return
    raise Refused(f'more than {MAX_REDIRECTS} redirections')


@contextlib.contextmanager
def _get(url: str, headers: Mapping[str, str]) -> Iterator[tuple[int, Mapping[str, str], Iterator[bytes]]]:
    """Status, header fields and undecoded body; redirections are not followed, and nothing of the body is read yet."""
    session: Any = get_session()
    if callable(getattr(session, 'stream', None)):  # httpx, in huggingface_hub >= 1.0; of requests, it is a bool
        with session.stream(
            'GET', url, headers=headers, timeout=HF_HUB_DOWNLOAD_TIMEOUT, follow_redirects=False
        ) as answer:
            yield answer.status_code, answer.headers, answer.iter_raw()
    else:  # requests
        answer = session.get(
            url, headers=headers, timeout=HF_HUB_DOWNLOAD_TIMEOUT, allow_redirects=False, stream=True
        )
        try:
            yield answer.status_code, answer.headers, answer.raw.stream(BLOCK, decode_content=False)
        finally:
            answer.close()
