"""`fpnas app` from start to end, and what is said when it cannot start; the process beside it."""
import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from fpnas_timm.app import worker
from fpnas_timm.app.launch import serve
from fpnas_timm.cli import main
from fpnas_timm.errors import UsageError

ROOT = Path(__file__).parents[2]


def test_from_start_to_end() -> None:
    command = [sys.executable, '-m', 'fpnas_timm', 'app', 'fpnas_s1pp', '--port', '0']
    windows = ('DISPLAY', 'WAYLAND_DISPLAY', 'BROWSER')
    env = {k: v for k, v in os.environ.items() if k not in windows} | {'PYTHONPATH': str(ROOT)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)
    try:
        assert process.stdout is not None
        url = re.search(r'http://127\.0\.0\.1:\d+/\S+', process.stdout.readline())[0]
        assert url.endswith('&arch=fpnas_s1pp')
        with urllib.request.urlopen(f'{url.partition("?")[0]}api/start', timeout=30) as answer:
            assert json.load(answer)['folders'] is True
    finally:
        process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 0 and 'Traceback' not in said
    assert 'no browser could be opened here: open that address yourself' in said


def test_a_port_in_use(capsys: pytest.CaptureFixture) -> None:
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(['app', '--port', str(port)]) == 2
    assert f'--port {port} is in use by another program' in capsys.readouterr().err


def test_a_missing_extra(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    for name in [n for n in sys.modules if n.partition('.')[0] == 'uvicorn']:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, 'uvicorn', None)
    assert main(['app']) == 1
    assert capsys.readouterr().err == "error: fpnas app needs uvicorn: pip install 'fpnas-timm[app]'\n"


def test_wrong_arguments(capsys: pytest.CaptureFixture) -> None:
    wrong = ((['fpnas_l9'], 'did you mean'), (['--port', '70000'], '--port 70000'), (['--prt', '1'], 'did you mean'))
    for argv, said in wrong:
        assert main(['app', *argv]) == 2
        assert said in capsys.readouterr().err


def test_a_process_that_is_slow_or_ends_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        decoder = worker.Worker(60)
        space = {'space': 'fpnas_l9'}
        with pytest.raises(UsageError, match='unknown search space'):
            await decoder.call('decode', space)
        process = decoder._process
        assert process is not None
        process.kill()
        await process.wait()
        with pytest.raises(UsageError, match='unknown search space'):  # a new one
            await decoder.call('decode', space)
        with pytest.raises(RuntimeError, match='KeyError'):  # a bug in it is one here
            await decoder.call('decode', {})
        decoder.seconds = 0.001
        with pytest.raises(UsageError, match='no answer within 0 seconds'):
            await decoder.call('decode', {'space': 'fpnas_l2', 'macs': 1e9})
        assert decoder._process is None
        decoder._waiting = worker.WAITING
        with pytest.raises(UsageError, match='too many are waiting'):
            await decoder.call('decode', space)

    asyncio.run(run())


def test_the_port_is_closed_again(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    import uvicorn

    monkeypatch.setattr(uvicorn.Server, 'run', lambda self, sockets: (_ for _ in ()).throw(KeyboardInterrupt))
    serve(0, browser=False)
    port = int(re.search(r':(\d+)/', capsys.readouterr().out)[1])
    with socket.socket() as free:
        free.bind(('127.0.0.1', port))
