"""Who may ask the explorer for what.

The server listens on 127.0.0.1, but every page in the browser can send requests there, and so can the other users of
the machine. So the `Host` must be this machine's (a foreign name that resolves to it is DNS rebinding), a request from
another page is refused, and folders are only opened for who has the key that `fpnas app` printed.
"""
import hmac
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse

from ..errors import UsageError

__all__ = ['Guard', 'check_depth', 'check_key', 'cookie_name', 'read_body']

_logger = logging.getLogger('app')

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors {}"
)
MAX_DEPTH = 32
FRAMES = 'https://huggingface.co'  # the Hub shows a Space in a frame


class Guard:
    """Around the application: checks the host and the origin, adds headers, and turns bugs into a sentence.

    Args:
        app: the application.
        hosts: values of `Host` that are answered; empty: all, as in a Space, where there is nothing to protect.
    """

    def __init__(self, app: App, hosts: tuple[str, ...] = ()) -> None:
        self.app = app
        self.hosts = hosts
        self.headers = {
            'content-security-policy': POLICY.format("'none'" if hosts else FRAMES),
            'x-content-type-options': 'nosniff', 'referrer-policy': 'no-referrer', 'cache-control': 'no-store',
            'cross-origin-resource-policy': 'same-origin',
        }

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope['type'] != 'http':
            return await self.app(scope, receive, send)
        started = False

        async def with_headers(message: Message) -> None:
            nonlocal started
            if message['type'] == 'http.response.start':
                started = True
                message['headers'] = [
                    *message.get('headers', []), *((k.encode(), v.encode()) for k, v in self.headers.items())
                ]
            await send(message)

        refused = self._refused(Request(scope))
        if refused:
            return await PlainTextResponse(refused + '\n', 403)(scope, receive, with_headers)
        try:
            await self.app(scope, receive, with_headers)
        except ClientDisconnect:
            return
        except Exception as e:  # a bug: the page says so, the terminal has the traceback
            _logger.exception('%s', scope['path'])
            if not started:
                answer = {'error': f'the explorer failed ({type(e).__name__}): its terminal has the details'}
                await JSONResponse(answer, 500)(scope, receive, with_headers)

    def _refused(self, request: Request) -> str:
        """Why a request is not answered; '' if it is."""
        if not self.hosts:
            return ''
        host = request.headers.get('host', '')
        if host not in self.hosts:
            return f'this page is at http://{self.hosts[0]}/ only'
        origin = request.headers.get('origin')
        if origin is not None and origin not in [f'http://{known}' for known in self.hosts]:
            return 'requests of other pages are not answered'
        return ''


def cookie_name(port: int) -> str:
    """Cookies are shared by all ports of a host."""
    return f'fpnas-app-{port}'


def check_key(request: Request) -> None:
    """Raise UsageError unless the request comes from who has the key."""
    key = request.app.state.key
    if key is None:
        raise UsageError('folders are not opened here: install the package and run fpnas app')
    given = request.cookies.get(cookie_name(request.app.state.port), '')
    if not hmac.compare_digest(given.encode(), key.encode()):
        raise UsageError('folders are opened only from the address that fpnas app has printed: open that one')


def check_depth(text: str) -> None:
    """Raise UsageError if JSON is nested more than `MAX_DEPTH` deep; brackets in its strings count too.

    json's own RecursionError would leave Python 3.11 unable to compile modules in this thread.
    """
    if text.count('[') + text.count('{') <= MAX_DEPTH:
        return
    depth = 0
    for c in text:
        depth += (c in '[{') - (c in ']}')
        if depth > MAX_DEPTH:
            raise UsageError('not JSON that can be used: nested too deeply')


async def read_body(request: Request, limit: int, what: str) -> bytes:
    """The body of a request.

    Raises:
        UsageError: it is longer than `limit` bytes.
    """
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise UsageError(f'{what}: more than {limit:,} bytes: expected at most so many')
        parts.append(part)
    return b''.join(parts)
