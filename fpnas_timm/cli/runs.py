"""Long-running commands: search, train, validate, and any of timm's scripts.

torch is only imported after the command line has been parsed, so that `--help` and errors in options are fast.
"""
import json
import logging
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

from ..arch import Arch, ArchError
from ..errors import UsageError
from ..recipes import recipe_table
from ..runs.files import write_text
from ..runs.image_options import check_image_options
from ..search.options import parse_search_args
from ..train.options import parse_train_args
from ..train.validate_options import build_validate_parser
from . import ended_by_sigterm, exit_status

__all__ = ['print_recipes', 'script_main', 'search_main', 'train_main', 'validate_main']

# Loggers whose lines about every file or object say nothing to the user of a command.
CHATTY = ('matplotlib', 'timm.models._helpers', 'timm.task', 'timm.utils.checkpoint_saver')

SCRIPT_USAGE = """usage: fpnas run [--arch NAME=STRING ..] SCRIPT args..
  SCRIPT: a file from timm's repository, such as validate.py
  --arch NAME=STRING: an architecture string as a model of this name, for scripts that have no --model-kwargs"""


def script_main(argv: Sequence[str] | None = None) -> int:
    """Run a script with its arguments; its exit status is passed on. Before it, `--arch NAME=STRING`, any number."""
    argv = list(sys.argv[1:] if argv is None else argv)

    def run() -> int:
        if argv and argv[0] in ('-h', '--help'):
            print(SCRIPT_USAGE)
            return 0
        named = _take_named_strings(argv)
        if not argv:
            raise UsageError(SCRIPT_USAGE)
        script = Path(argv[0])
        if not script.is_file():
            raise UsageError(f"{script}: no such script (timm's are in its repository, not in its wheel)")
        if named:
            from ..zoo.models import register_arch

            for name, string in named.items():
                register_arch(name, string)
        sys.argv = [str(script), *argv[1:]]
        sys.path.insert(0, str(script.resolve().parent))
        runpy.run_path(str(script), run_name='__main__')
        return 0

    return exit_status(run)


def _take_named_strings(argv: list[str]) -> dict[str, str]:
    """Remove the leading `--arch NAME=STRING` from `argv`, and return them as name -> string."""
    named = {}
    while argv and argv[0].partition('=')[0] == '--arch':
        _, has_value, value = argv.pop(0).partition('=')
        if not has_value and argv:
            value = argv.pop(0)
        name, _, string = value.partition('=')
        if not name or not string:
            raise UsageError(f'--arch {value}: expected --arch NAME=STRING, a name and an architecture string')
        try:
            named[name] = str(Arch.parse(string))
        except ArchError as e:
            raise UsageError(f'--arch {name}: {e}') from None
    return named


def search_main(argv: Sequence[str] | None = None, prog: str = 'fpnas search') -> int:
    """Exit status 0, 1 if the run failed, 2 for a wrong option, 128 + n if signal n stopped it.

    Args:
        argv: command-line arguments; those of the process if None.
        prog: the command name shown in the usage.
    """

    def run() -> int:
        args = parse_search_args(argv, prog)
        from ..search.run import run_search

        _set_up_logging()
        return run_search(args)

    return exit_status(lambda: ended_by_sigterm(run))


def train_main(argv: Sequence[str] | None = None, prog: str = 'fpnas train') -> int:
    """Exit status 0, 1 if the run failed, 2 if it could not start, 128 + n if signal n stopped it.

    Args:
        argv: command-line arguments; those of the process if None.
        prog: the command name shown in the usage.
    """

    def run() -> int:
        args = parse_train_args(argv, prog)
        if args.list_recipes:
            print_recipes()
            return 0
        from timm.utils.distributed import is_distributed_env

        from ..runs.processes import stop_on_signal
        from ..train.run import run_training

        _set_up_logging()
        if is_distributed_env():  # no handler: if one process stopped on its own, the others would hang
            return 0 if run_training(args).finished else 1
        with stop_on_signal() as stop:
            result = run_training(args, stop)
            return 0 if result.finished or stop.signal is None else 128 + stop.signal

    return exit_status(lambda: ended_by_sigterm(run))


def print_recipes() -> None:
    """Print the table of `--list-recipes`."""
    print(recipe_table())


def validate_main(argv: Sequence[str] | None = None) -> int:
    """Print the result as JSON after a line `--result`, like timm's script. Exit status 0, 1 or 2."""

    def run() -> int:
        parser = build_validate_parser()
        args = parser.parse_args(argv)
        check_image_options(args)
        from ..train.validate import validate

        _set_up_logging()
        result = validate(args)
        if args.rank == 0:
            text = json.dumps(result, indent=4)
            print(f'--result\n{text}')
            if args.results_file:
                write_text(args.results_file, text + '\n')
        return 0

    return exit_status(run)


def _set_up_logging() -> None:
    """Set up timm's log format, unless the caller has configured logging."""
    from timm.utils import setup_default_logging

    if not logging.root.handlers:
        setup_default_logging()
        for chatty in CHATTY:
            logging.getLogger(chatty).setLevel(logging.WARNING)
