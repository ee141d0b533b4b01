"""Serves the explorer on 127.0.0.1 and opens it in the browser."""
import errno
import os
import secrets
import socket
import sys
import threading
import time
import webbrowser
from urllib.parse import quote

from ..errors import RunError, UsageError

__all__ = ['HOST', 'serve']

HOST = '127.0.0.1'
START_SECONDS = 30


def serve(port: int = 7860, arch: str = '', browser: bool = True) -> None:
    """Serve until Ctrl-C.

    Args:
        port: where; 0 for a free one.
        arch: what is shown first: a string or the name of a model.
        browser: whether to open the page.

    Raises:
        RunError: the packages of the extra `app` are missing, or the port cannot be used.
    """
    try:
        import uvicorn

        from .server import create_app
    except ImportError as e:
        if e.name not in ('starlette', 'uvicorn', 'anyio', 'h11', 'click'):
            raise
        raise RunError(f"fpnas app needs {e.name}: pip install 'fpnas-timm[app]'") from None
    listening = _listen(port)
    port = listening.getsockname()[1]
    key = secrets.token_urlsafe(16)
    url = f'http://{HOST}:{port}/?key={key}' + (f'&arch={quote(arch)}' if arch else '')
    config = uvicorn.Config(create_app(key, port), log_level='warning', access_log=False, server_header=False,
                            timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    print(f'the explorer is at {url}\nwho has this address can open folders as you; Ctrl-C ends it', flush=True)
    if browser:
        threading.Thread(target=_open, args=(server, url), daemon=True).start()
    try:
        server.run(sockets=[listening])
    except KeyboardInterrupt:
        pass
    finally:
        listening.close()


def _listen(port: int) -> socket.socket:
    # without its protocol, asyncio does not see that it is TCP, and every answer waits 40 ms (Nagle)
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, sys.platform != 'win32')
    try:
        listening.bind((HOST, port))
        listening.listen(128)
    except OSError as e:
        listening.close()
        in_use = e.errno == errno.EADDRINUSE
        reason = 'is in use by another program (another fpnas app?)' if in_use else f'cannot be used ({e.strerror})'
        raise UsageError(f'--port {port} {reason}: choose another one, or 0 for any that is free') from None
    return listening


def _open(server: object, url: str) -> None:
    """Open the page once it is served, in a window: a browser in the terminal would take it over."""
    end = time.monotonic() + START_SECONDS
    while not getattr(server, 'started', False) and time.monotonic() < end:
        time.sleep(0.05)
    windows = ('DISPLAY', 'WAYLAND_DISPLAY', 'BROWSER')
    try:
        opened = (sys.platform in ('win32', 'darwin') or any(map(os.environ.get, windows))) and webbrowser.open(url)
    except Exception:  # whatever a browser's launcher raises: the page is served nevertheless
        opened = False
    if not opened:
        print('no browser could be opened here: open that address yourself', file=sys.stderr, flush=True)
