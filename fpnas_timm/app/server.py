"""The application: which address answers what. Every answer is a JSON object; an `error` in it is a sentence."""
import base64
import contextlib
import hmac
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from .._version import __version__
from ..arch.choices import ACTS, KERNELS, SPLITS
from ..device.latency_table import COST
from ..errors import RunError, UsageError, plain_message
from ..spaces import list_spaces
from ..zoo.strings import ARCHS
from .find import COUNTS, images_of, open_space, space_answer
from .folders import learned, model_answer, search_answer
from .guard import Guard, check_depth, check_key, cookie_name, read_body
from .network import network_answer
from .worker import Worker

__all__ = ['create_app']

MAX_JSON, MAX_IMAGE = 1 << 18, 20_000_000  # bytes
DECODE_SECONDS, CLASSIFY_SECONDS = 60, 120
FILES = {
    '/': ('page.html', 'text/html'), '/page.css': ('page.css', 'text/css'), '/page.js': ('page.js', 'text/javascript'),
}

Asked = dict[str, Any]
Answer = Callable[[Request, Asked], Awaitable[Mapping[str, Any]]]


def create_app(key: str | None = None, port: int = 0) -> Starlette:
    """The explorer as an ASGI application.

    Args:
        key: who has it may open folders; None: nobody, as in a Space.
        port: where it is served on 127.0.0.1; 0 for a Space, which is asked under other names.
    """
    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        await app.state.decoder.stop()
        await app.state.classifier.stop()

    hosts = (f'127.0.0.1:{port}', f'localhost:{port}') if port else ()
    routes = [
        *(Route(path, _file) for path in FILES),
        Route('/api/start', _start),
        *(Route(f'/api/{name}', _answered(answer), methods=['POST']) for name, answer in ANSWERS.items()),
        Route('/api/classify', _classify, methods=['POST']),
    ]
    app = Starlette(routes=routes, middleware=[Middleware(Guard, hosts=hosts)], lifespan=lifespan)
    app.state.key, app.state.port = key, port
    app.state.decoder, app.state.classifier = Worker(DECODE_SECONDS), Worker(CLASSIFY_SECONDS)
    return app


async def _file(request: Request) -> Response:
    """A file of the page; the first visit with the right key gets a cookie, so that the key does not stay in links."""
    key, given = request.app.state.key, request.query_params.get('key')
    if request.url.path == '/' and key is not None and given is not None:
        rest = '&'.join(f'{k}={quote(v)}' for k, v in request.query_params.items() if k != 'key')
        answer = RedirectResponse(f'/?{rest}' if rest else '/', 303)
        if hmac.compare_digest(given.encode(), key.encode()):
            answer.set_cookie(cookie_name(request.app.state.port), key, httponly=True, samesite='strict')
        return answer
    name, kind = FILES[request.url.path]
    text = files(__package__).joinpath(name).read_text(encoding='utf-8')
    if name == 'page.css':
        text = files(f'{__package__.rpartition(".")[0]}.draw').joinpath('page.css').read_text(encoding='utf-8') + text
    return Response(text, media_type=kind)


async def _start(request: Request) -> Response:
    """What the page needs before anything else."""
    return JSONResponse({
        'version': __version__,
        'spaces': list_spaces(),
        'models': list(ARCHS),
        'folders': request.app.state.key is not None,
        'fields': {
            'kernel': [[k, f'{k} x {k}' if k else 'bypass'] for k in KERNELS],
            'act': [[name, act.label] for name, act in ACTS.items()],
            'splits': [[s, label] for s, label in SPLITS.items()],
            'stride': [[1, '1'], [2, '2']],
        },
        'max_image': MAX_IMAGE,
    })


async def _json(request: Request) -> Asked:
    if request.headers.get('content-type', '').partition(';')[0] != 'application/json':
        raise UsageError('expected JSON')
    try:
        body = (await read_body(request, MAX_JSON, 'the request')).decode('utf-8')
        check_depth(body)
        asked = json.loads(body)
    except ValueError as e:
        raise e if isinstance(e, UsageError) else UsageError('expected JSON') from None
    if not isinstance(asked, dict):
        raise UsageError('expected a JSON object')
    return asked


def _answered(answer: Answer) -> Callable[[Request], Awaitable[Response]]:
    async def respond(request: Request) -> Response:
        async def given() -> Mapping[str, Any]:
            return await answer(request, await _json(request))

        return await _said(given)

    return respond


async def _said(answer: Callable[[], Awaitable[Mapping[str, Any]]]) -> Response:
    """An answer; what the user can mend as a sentence. Its status is 200: it is no failure of the request."""
    try:
        return JSONResponse(await answer())
    except (UsageError, RunError) as e:
        return JSONResponse({'error': plain_message(e)})
    except OSError as e:
        return JSONResponse({'error': f'{e.filename}: {e.strerror}' if e.filename and e.strerror else 'cannot be read'})


def _text(asked: Asked, name: str) -> str:
    value = asked.get(name)
    if not isinstance(value, str):
        raise UsageError(f'{name}: expected text')
    return value


def _epoch(asked: Asked) -> int | None:
    epoch = asked.get('epoch')
    return epoch if type(epoch) is int else None


async def _network(request: Request, asked: Asked) -> Mapping[str, Any]:
    return network_answer(asked)


async def _space(request: Request, asked: Asked) -> Mapping[str, Any]:
    found = space_answer(_text(asked, 'space'), images_of(asked))
    request.app.state.decoder.start('prepare', asked)  # while the page is looked at
    return found


async def _decode(request: Request, asked: Asked) -> Mapping[str, Any]:
    names = (*COUNTS, COST, 'classes', 'channels')
    given: Asked = {'space': _text(asked, 'space'), **{name: asked.get(name) for name in names}}
    open_space(given['space'])  # an error at once
    if asked.get('folder') is not None:
        check_key(request)
        given['learned'] = await run_in_threadpool(learned, _text(asked, 'folder'), _epoch(asked))
    return await request.app.state.decoder.call('decode', given)


async def _search(request: Request, asked: Asked) -> Mapping[str, Any]:
    check_key(request)
    return await run_in_threadpool(search_answer, _text(asked, 'folder'), _epoch(asked))


async def _model(request: Request, asked: Asked) -> Mapping[str, Any]:
    check_key(request)
    return model_answer(_text(asked, 'folder'))


ANSWERS = {'network': _network, 'space': _space, 'decode': _decode, 'search': _search, 'model': _model}


async def _classify(request: Request) -> Response:
    """The image is the body of the request; it is kept in memory only, as long as the answer takes."""
    async def answer() -> Mapping[str, Any]:
        check_key(request)
        folder = model_answer(request.query_params.get('folder', ''))['folder']
        data = await read_body(request, MAX_IMAGE, 'the image')
        if not data:
            raise UsageError('the file is empty: expected an image')
        return await request.app.state.classifier.call('classify', {
            'folder': folder, 'stamp': (Path(folder) / 'model.safetensors').stat().st_mtime_ns,
            'image': base64.b64encode(data).decode(),
        })

    return await _said(answer)
