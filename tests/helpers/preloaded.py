"""Python processes that have torch imported already: forked from one that waits, since importing it takes seconds.

timm, huggingface_hub and this package are not among what is preloaded: they read the environment when imported.
"""
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

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
    status, out, err = _ask({'code': code, 'env': dict(env), 'cwd': str(cwd), 'timeout': timeout})
    return subprocess.CompletedProcess(['-c', code], status, out, err)


class StartedScript:
    """A Python script in a fork of the process that has torch imported; what the tests need of `subprocess.Popen`.

    Attributes:
        pid: process id.
        stderr: what it writes there, as it is written; its standard output is thrown away.
        returncode: once `communicate` has returned: the exit status, or the negative number of a signal.
    """

    returncode: int | None = None

    def __init__(self, argv: list[str], cwd: Path, start_new_session: bool = False) -> None:
        session = 'os.setsid()' if start_new_session else ''
        run = f'sys.argv = {argv!r}\nrunpy.run_path({argv[0]!r}, run_name="__main__")'
        code = f'import os, runpy, sys; {session}\n{run}'
        self._folder = tempfile.TemporaryDirectory()
        pipe = f'{self._folder.name}/stderr'
        os.mkfifo(pipe)
        env = {**os.environ, 'PYTHONPATH': str(cwd)}
        self.pid = _ask({'code': code, 'env': env, 'cwd': str(cwd), 'timeout': 300, 'stderr': pipe})
        self.stderr = open(pipe)

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def communicate(self, timeout: float = 100) -> tuple[None, str]:
        """What is left to read of stderr, once the process has ended; after `timeout` seconds it is killed."""
        timer = threading.Timer(timeout, self.kill)
        timer.start()
        with self._folder, self.stderr:
            said = self.stderr.read()
        timer.cancel()
        self.returncode = _ask({'wait': self.pid})
        return None, said


def _ask(request: dict) -> Any:
    """The answer of the process that has torch imported; it is started for the first request."""
    global _server
    if _server is None or _server.poll() is not None:
        _server = subprocess.Popen(
            [sys.executable, '-W', 'ignore', '-m', 'tests.helpers.preloaded'], cwd=ROOT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, 'OMP_NUM_THREADS': '1'},
        )
    assert _server.stdin is not None and _server.stdout is not None
    _server.stdin.write(json.dumps(request) + '\n')
    _server.stdin.flush()
    return json.loads(_server.stdout.readline())


def _serve() -> None:
    import torch  # noqa: F401
    import torchvision  # noqa: F401

    for line in sys.stdin:
        request = json.loads(line)
        if 'wait' in request:
            print(os.waitstatus_to_exitcode(os.waitpid(request['wait'], 0)[1]), flush=True)
            continue
        if 'stderr' in request:
            child = os.fork()
            if child == 0:
                _run(request, os.open(os.devnull, os.O_WRONLY), os.open(request['stderr'], os.O_WRONLY))
            print(child, flush=True)
            continue
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
