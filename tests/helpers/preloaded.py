"""Python processes that have torch imported already: forked from one that waits, since importing it takes seconds.

timm, huggingface_hub and this package are not among what is preloaded: they read the environment when imported.
"""
import contextlib
import json
import os
import subprocess
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
_server: subprocess.Popen | None = None


def run_python(code: str, env: Mapping[str, str], cwd: str | Path, timeout: float = 120) -> subprocess.CompletedProcess:
    """Run code as `python -W ignore -c CODE` does, in a fork of the process that has torch imported.

    Args:
        code: its `sys.argv` is `['-c']`.
        env: the whole environment; PYTHONPATH is obeyed.
        cwd: working directory.
        timeout: seconds, after which it is killed.
    """
    global _server
    if _server is None or _server.poll() is not None:
        _server = subprocess.Popen(
            [sys.executable, '-W', 'ignore', '-m', 'tests.helpers.preloaded'], cwd=ROOT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, 'OMP_NUM_THREADS': '1'},
        )
    assert _server.stdin is not None and _server.stdout is not None
    request = {'code': code, 'env': dict(env), 'cwd': str(cwd), 'timeout': timeout}
    _server.stdin.write(json.dumps(request) + '\n')
    _server.stdin.flush()
    status, out, err = json.loads(_server.stdout.readline())
    return subprocess.CompletedProcess(['-c', code], status, out, err)


def _serve() -> None:
    import tempfile

    import torch  # noqa: F401
    import torchvision  # noqa: F401

    for line in sys.stdin:
        request = json.loads(line)
        with tempfile.TemporaryFile('w+b') as out, tempfile.TemporaryFile('w+b') as err:
            child = os.fork()
            if child == 0:
                _run(request, out.fileno(), err.fileno())
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            texts = []
            for file in (out, err):
                file.seek(0)
                texts.append(file.read().decode())
        print(json.dumps([status, *texts]), flush=True)


def _run(request: dict, out: int, err: int) -> None:
    """In the fork: never returns."""
    import signal

    status = 1
    try:
        signal.alarm(int(request['timeout']))
        for source, target in ((os.open(os.devnull, os.O_RDONLY), 0), (out, 1), (err, 2)):
            os.dup2(source, target)
        os.environ.clear()
        os.environ.update(request['env'])
        os.chdir(request['cwd'])
        sys.path[:0] = filter(None, request['env'].get('PYTHONPATH', '').split(os.pathsep))
        sys.argv = ['-c']
        main = type(sys)('__main__')
        sys.modules['__main__'] = main
        exec(compile(request['code'], '<string>', 'exec'), vars(main))
        status = 0
    except SystemExit as e:
        status = e.code if isinstance(e.code, int) else int(e.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            import atexit

            atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == '__main__':
    _serve()
