"""The console command `fpnas`: calls a subcommand and turns errors into one-line messages and exit statuses.

No other part of the package imports this one.

* `describe`: info, flops, draw, reconstruct
* `given`: the architecture that they are given: a name, a string, a file or a folder
* `runs`: search, train, validate, run
* `transfer`: a network with the weights of another
* `space`: search spaces: list, show, around a network
* `latency`: latency tables: measure, predict, check
* `hub`: push, pull, verify, list
* `decode`: networks for many budgets from one search
* `export`: a network as a file for another runtime, and the classes of images with it
* `report`: the web page about a search or several
* `app`: the explorer
* `demo`: search and training on handwritten digits
"""
import importlib
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

from .._version import __version__
from ..errors import RunError, TooOldError, UsageError, did_you_mean, one_line, plain_message

__all__ = ['COMMANDS', 'ended_by_sigterm', 'exit_status', 'main']

T = TypeVar('T')

# subcommand -> module in this package and its function, description
COMMANDS = {
    'info': ('describe:info_main', 'list the models, or show one in detail: string, budgets, feature maps, weights'),
    'search': ('runs:search_main', 'find an architecture on your own images within a budget'),
    'train': ('runs:train_main', "train a model, with the paper's recipes"),
    'validate': ('runs:validate_main', 'measure the loss and accuracy of a trained model'),
    'run': ('runs:script_main', "run one of timm's scripts with the models registered"),
    'flops': ('describe:flops_main', 'count multiply-adds and parameters, checked with fvcore'),
    'reconstruct': ('describe:reconstruct_main', "derive a named model's string from Table B.1 again"),
    'draw': ('describe:draw_main', 'draw an architecture'),
    'decode': ('decode:decode_main', 'networks for many budgets from one search'),
    'report': ('report:report_main', 'the web page about a search, or about several side by side'),
    'app': ('app:app_main', 'look at networks, spaces and searches in the browser'),
    'transfer': ('transfer:transfer_main', 'start a network from pretrained weights of another'),
    'space': ('space:space_main', 'search spaces: list, show, sample, make one around a network'),
    'latency': ('latency:latency_main', 'how long networks take on this machine: measure, predict, check'),
    'export': ('export:export_main', 'a network as a file for another runtime: ONNX, OpenVINO, ..'),
    'predict': ('export:predict_main', 'the most probable classes of images'),
    'hub': ('hub:main', 'upload, download, verify and list weights'),
    'demo': ('demo:main', 'search and train on handwritten digits, in minutes'),
}

EXAMPLES = """examples:
  fpnas info                                     the models and their budgets
  fpnas demo                                     search and train on digits, in minutes
  fpnas flops fpnas_l0                           the cost of each group
  fpnas draw fpnas_l2 -o l2.png                  draw an architecture
  fpnas search --help                            options of the search
  fpnas train --help                             options of the training
  fpnas hub push RUN ORG/NAME --dry-run          prepare an upload without sending it
"""


def usage() -> str:
    """The text of `fpnas --help`."""
    lines = [f'  {name:<12} {what}' for name, (_, what) in COMMANDS.items()]
    return '\n'.join([
        'usage: fpnas COMMAND [ARGUMENTS]', '', 'FP-NAS for timm: search, train, count, draw and share networks.', '',
        'commands:', *lines, '', '  fpnas COMMAND --help shows the options of a command; fpnas --version.', '',
        EXAMPLES,
    ])


def main(argv: Sequence[str] | None = None) -> int:
    """Call the subcommand with the remaining arguments; return its exit status, or 2 for an unknown command."""
    argv = list(sys.argv[1:] if argv is None else argv)

    def run() -> int:
        if not argv or argv[0] in ('-h', '--help', 'help'):
            print(usage(), end='')
            return 0 if argv else 2
        if argv[0] in ('-V', '--version'):
            print(f'fpnas_timm {__version__}')
            return 0
        if argv[0] not in COMMANDS:
            expected = f'expected one of {", ".join(COMMANDS)}{did_you_mean(argv[0], COMMANDS)}'
            raise UsageError(f'unknown command {argv[0]!r}: {expected}')
        module, _, function = COMMANDS[argv[0]][0].partition(':')
        return getattr(importlib.import_module(f'.{module}', __name__), function)(argv[1:]) or 0

    return exit_status(run)


# Messages of gloo and torch's store in the remaining processes when another process is gone.
LOST_PROCESS = ('Connection closed by peer', 'Connection reset by peer', 'Broken pipe')


def exit_status(run: Callable[[], int | None]) -> int:
    """Call `run`; errors that a user can cause become a line on stderr and an exit status.

    The status is 2 for wrong usage, 1 for a run that failed, 130 for Ctrl-C, and 141 (nothing is printed) if the reader
    of the output has gone, as in `fpnas info | head -1`. All other exceptions are bugs and keep their traceback.
    """
    try:
        status = run() or 0
        sys.stdout.flush()
        return status
    except (UsageError, TooOldError) as e:
        return _failed(plain_message(e), 2)
    except RunError as e:
        return _failed(plain_message(e), 1)
    except OSError as e:  # a full disk, a file without permission
        if isinstance(e, BrokenPipeError) and _reader_has_gone():
            return 128 + 13  # SIGPIPE
        reason = plain_message(e) or one_line(e)  # without the traceback of a DataLoader worker
        return _failed(f'{e.filename}: {e.strerror}' if e.filename and e.strerror else reason, 1)
    except (MemoryError, RuntimeError) as e:
        if any(sign in str(e) for sign in LOST_PROCESS):
            return _failed(
                'another process of this run ended first: see its message (a process killed for lack of memory '
                'leaves none), fix the cause, then resume', 1,
            )
        if isinstance(e, MemoryError) or type(e).__name__ == 'OutOfMemoryError':  # torch's, without importing it
            return _failed(f'out of memory: use a smaller --batch-size, smaller images or --amp ({one_line(e)})', 1)
        raise
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        return 130


def ended_by_sigterm(run: Callable[[], T]) -> T:
    """Call `run`; SIGTERM ends it as Ctrl-C does, with a line and exit status 143, so that temporary files are removed.

    What `run` calls may handle the signal in another way for a while, as a search does. Does nothing in one of several
    processes: a process that waits for the others in C code would not see the signal.
    """
    def stop(*_: object) -> None:
        print('stopped by SIGTERM', file=sys.stderr)
        raise SystemExit(128 + signal.SIGTERM)

    several = os.environ.get('WORLD_SIZE', os.environ.get('SLURM_NTASKS', '1')) not in ('', '1')
    if several or threading.current_thread() is not threading.main_thread():
        return run()
    before = signal.signal(signal.SIGTERM, stop)
    try:
        return run()
    finally:
        signal.signal(signal.SIGTERM, before)


def _failed(message: str, status: int) -> int:
    print(f'error: {" ".join(message.split())}', file=sys.stderr)
    return status


def _reader_has_gone() -> bool:
    """Whether stdout is a closed pipe; if so, what is still to be written goes nowhere, without a further error."""
    try:
        descriptor = sys.stdout.fileno()
        poll = select.poll()
        poll.register(descriptor, select.POLLOUT)
        gone = any(events & select.POLLERR for _, events in poll.poll(0))
    except (AttributeError, OSError, ValueError):  # no poll on Windows; a stdout that is no file
        return False
    if gone:
        os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
    return gone
