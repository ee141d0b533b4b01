"""A process of its own for what takes long or needs torch, so that the page answers meanwhile and cannot die of it.

It reads a line of JSON, calls a function, and answers with a line of JSON. It ends when its input does, so that it
never outlives the server.
"""
import asyncio
import contextlib
import importlib
import itertools
import json
import os
import signal
import sys
import traceback
from typing import Any

from ..errors import RunError, UsageError, one_line, plain_message

__all__ = ['Worker', 'main']

# what may be called: name -> module and function, which takes and returns JSON objects
CALLS = {
    'decode': ('find', 'decode_answer'), 'prepare': ('find', 'prepare_answer'),
    'classify': ('classify', 'classify_answer'),
}
WAITING = 8  # calls in the queue of a worker, at most
MAX_ANSWER = 1 << 24  # bytes
START = 'import json, sys; sys.path[:] = json.loads(sys.argv[1]); from fpnas_timm.app.worker import main; main()'


class Worker:
    """A process that starts at the first call, and again after it has been lost.

    Args:
        seconds: the longest that a call may take; the process is then ended.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._process: asyncio.subprocess.Process | None = None
        self._lock = asyncio.Lock()
        self._numbers = itertools.count()
        self._waiting = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, name: str, given: dict[str, Any]) -> None:
        """Call a function whose answer nobody waits for, unless others do; its errors come again with later calls."""
        async def call() -> None:
            with contextlib.suppress(UsageError, RuntimeError):
                await self.call(name, given)

        if not self._waiting:
            task = asyncio.get_running_loop().create_task(call())
            self._tasks.add(task)  # the loop alone would not keep it
            task.add_done_callback(self._tasks.discard)

    async def call(self, name: str, given: dict[str, Any]) -> dict[str, Any]:
        """The answer of a function in `CALLS`.

        Raises:
            UsageError: the function raised one, the call takes too long, or too many are waiting.
        """
        if self._waiting >= WAITING:
            raise UsageError('too many are waiting for an answer: try again in a minute')
        self._waiting += 1
        try:
            async with self._lock:
                return await asyncio.wait_for(self._ask(name, given), self.seconds)
        except asyncio.TimeoutError:
            await self.stop()
            raise UsageError(f'no answer within {self.seconds:.0f} seconds: try wider budgets, or a smaller space or '
                             'model') from None
        except (ConnectionError, asyncio.IncompleteReadError):
            await self.stop()
            raise UsageError('the process that computes this has ended (out of memory?): try again') from None
        finally:
            self._waiting -= 1

    async def _ask(self, name: str, given: dict[str, Any]) -> dict[str, Any]:
        process = self._process
        if process is None or process.returncode is not None:
            process = self._process = await asyncio.create_subprocess_exec(
                sys.executable, '-I', '-c', START, json.dumps(sys.path), stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE, limit=MAX_ANSWER,
            )
        assert process.stdin is not None and process.stdout is not None
        number = next(self._numbers)
        process.stdin.write(json.dumps({'number': number, 'call': name, 'given': given}).encode() + b'\n')
        await process.stdin.drain()
        while True:
            answer = json.loads(await process.stdout.readuntil(b'\n'))
            if answer['number'] == number:  # else that of a call which was given up
                break
        if 'error' in answer:
            raise UsageError(answer['error'])
        if 'bug' in answer:
            raise RuntimeError(answer['bug'])
        return answer['found']

    async def stop(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def main() -> None:
    """Answer until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the server, which then ends this
    answers = os.fdopen(os.dup(1), 'w', encoding='utf-8')
    os.dup2(2, 1)  # whatever is printed goes to the terminal
    for line in sys.stdin:
        asked = json.loads(line)
        answers.write(json.dumps({'number': asked['number'], **_answer(asked)}) + '\n')
        answers.flush()


def _answer(asked: dict[str, Any]) -> dict[str, Any]:
    module, function = CALLS[asked['call']]
    try:
        return {'found': getattr(importlib.import_module(f'..{module}', __name__), function)(asked['given'])}
    except (UsageError, RunError) as e:
        return {'error': plain_message(e)}
    except OSError as e:
        return {'error': f'{e.filename}: {e.strerror}' if e.filename and e.strerror else one_line(e)}
    except Exception as e:
        traceback.print_exc()
        return {'bug': f'{type(e).__name__}: {one_line(e)}'}
