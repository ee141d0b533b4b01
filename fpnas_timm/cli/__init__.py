"""The console command `fpnas`: calls a subcommand and turns errors into one-line messages and exit statuses.

No other part of the package imports this one.

* `describe`: info, flops, draw, reconstruct
* `runs`: search, train, validate, run
* `hub`: push, pull, verify, list
* `demo`: search and training on handwritten digits
"""
import importlib
import sys
from collections.abc import Callable, Sequence

from .._version import __version__
from ..errors import RunError, UsageError, did_you_mean, plain_message

__all__ = ['COMMANDS', 'exit_status', 'main']

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


# Messages of gloo and torch's store in the remaining processes when another process is gone.
LOST_PROCESS = ('Connection closed by peer', 'Connection reset by peer', 'Broken pipe')


def exit_status(run: Callable[[], int | None]) -> int:
    """Call `run`; user errors become a line on stderr and exit status 2 (usage), 1 (run) or 130 (Ctrl-C).

    All other exceptions are bugs and keep their traceback.
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
            'error: another process of this run ended first: see its message (a process killed for lack of memory '
            'leaves none), fix the cause, then resume',
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        return 130
