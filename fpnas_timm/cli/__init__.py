"""The console command `fpnas`: it calls a subcommand, and turns errors into a line and an exit status.

No other room imports this one.
"""
import importlib
import sys
from collections.abc import Callable, Sequence

from .._version import __version__
from ..errors import RunError, UsageError, did_you_mean

__all__ = ['COMMANDS', 'exit_status', 'main', 'plain_message']

# subcommand -> module of this room and its function of the arguments, what it does
COMMANDS = {
    'info': ('describe:info_main', 'the models, or one in full: string, budgets, feature maps, weights'),
    'search': ('runs:search_main', 'find an architecture on your own images within a budget'),
    'train': ('runs:train_main', "train a model, with the paper's recipes"),
    'validate': ('runs:validate_main', 'accuracy of a trained model'),
    'run': ('runs:script_main', "run a script of timm's with the models registered"),
    'flops': ('describe:flops_main', 'multiply-adds and parameters, and Table B.1 checked with fvcore'),
    'reconstruct': ('describe:reconstruct_main', "find a named model's string again"),
    'draw': ('describe:draw_main', 'a picture of an architecture'),
    'hub': ('hub:main', 'push, pull, verify and list weights'),
    'demo': ('demo:main', 'from a budget to a trained model on handwritten digits, in minutes'),
}

EXAMPLES = """examples:
  fpnas info                                     the models and their budgets
  fpnas demo                                     the whole way, on digits, in minutes
  fpnas flops fpnas_l0                           what each group costs
  fpnas draw fpnas_l2 -o l2.png                  a picture of it
  fpnas search --help                            find an architecture of your own
  fpnas train --help                             train it
  fpnas hub push RUN ORG/NAME --dry-run          see what would be published
"""


def usage() -> str:
    """What `fpnas --help` prints."""
    lines = [f'  {name:<12} {what}' for name, (_, what) in COMMANDS.items()]
    return '\n'.join([
        'usage: fpnas COMMAND [ARGUMENTS]', '', 'FP-NAS for timm: search, train, count, draw and share networks.', '',
        'commands:', *lines, '', '  fpnas COMMAND --help says more; fpnas --version prints the version.', '', EXAMPLES,
    ])


def main(argv: Sequence[str] | None = None) -> int:
    """Call the subcommand with the rest of the command line. Exit status: its own; 2 if there is no such command."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if not argv or argv[0] in ('-h', '--help', 'help'):
        print(usage(), end='')
        return 0 if argv else 2
    if argv[0] in ('-V', '--version'):
        print(f'fpnas_timm {__version__}')
        return 0
    if argv[0] not in COMMANDS:
        expected = f'expected one of {", ".join(COMMANDS)}{did_you_mean(argv[0], COMMANDS)}'
        print(f'error: unknown command {argv[0]!r}: {expected}', file=sys.stderr)
        return 2
    module, _, function = COMMANDS[argv[0]][0].partition(':')
    return getattr(importlib.import_module(f'.{module}', __name__), function)(argv[1:]) or 0


# How gloo and torch's store say, to the processes that are left, that another one is gone.
LOST_PROCESS = ('Connection closed by peer', 'Connection reset by peer', 'Broken pipe')


def exit_status(run: Callable[[], int | None]) -> int:
    """Call `run`; its errors for users become a line on stderr and the exit status 2 (usage), 1 (run) or 130 (Ctrl-C).

    Other exceptions are bugs and keep their traceback.
    """
    try:
        return run() or 0
    except UsageError as e:
        print(f'error: {plain_message(e)}', file=sys.stderr)
        return 2
    except RunError as e:
        print(f'error: {plain_message(e)}', file=sys.stderr)
        return 1
    except OSError as e:  # a full disk, a file without permission
        print(f'error: {e}', file=sys.stderr)
        return 1
    except RuntimeError as e:
        if not any(sign in str(e) for sign in LOST_PROCESS):
            raise
        print(
            'error: another process of this run ended first: see its message (one killed for lack of memory leaves '
            'none), fix the cause, then resume',
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        return 130


def plain_message(e: BaseException) -> str:
    """The sentence of an error, without the traceback that a loader's worker puts around it."""
    text = str(e)
    if text.startswith('Caught '):
        text = text.strip().rpartition(f'{type(e).__name__}: ')[2]
    return text
