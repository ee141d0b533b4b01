"""Commands that run something long: search, train, validate, and any of timm's scripts."""
import json
import logging
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

from timm import utils
from timm.utils import setup_default_logging
from timm.utils.distributed import is_distributed_env

from ..errors import UsageError
from ..recipes import recipe_table
from ..runs.files import write_text
from ..runs.options import refuse_unknown
from ..runs.processes import stop_on_signal
from ..search.options import parse_search_args
from ..search.run import run_search
from ..train.options import parse_train_args
from ..train.run import run_training
from ..train.validate import build_validate_parser, validate
from . import exit_status

__all__ = ['print_recipes', 'script_main', 'search_main', 'train_main', 'validate_main']

SCRIPT_USAGE = "usage: fpnas run SCRIPT args..  (SCRIPT: a file of timm's repository, such as validate.py)"


def script_main(argv: Sequence[str] | None = None) -> int:
    """Run the script that is named first, with the rest as its arguments; its own exit status is passed on."""
    argv = list(sys.argv[1:] if argv is None else argv)

    def run() -> int:
        if argv and argv[0] in ('-h', '--help'):
            print(SCRIPT_USAGE)
            return 0
        if not argv:
            raise UsageError(SCRIPT_USAGE)
        script = Path(argv[0])
        if not script.is_file():
            raise UsageError(f"{script}: no such script (timm's are in its repository, not in its wheel)")
        sys.argv = [str(script), *argv[1:]]
        sys.path.insert(0, str(script.resolve().parent))
        runpy.run_path(str(script), run_name='__main__')
        return 0

    return exit_status(run)


def search_main(argv: Sequence[str] | None = None) -> int:
    """Exit status 0, 1 if the run failed, 2 for a wrong option, 128 + n if signal n stopped it."""
    return exit_status(lambda: run_search(parse_search_args(argv)))


def train_main(argv: Sequence[str] | None = None) -> int:
    """The command line: exit status 0, 1 if the run failed, 2 if it could not start, 130 if it was interrupted."""

    def run() -> int:
        args = parse_train_args(argv)
        if args.list_recipes:
            print_recipes()
            return 0
        if not logging.root.handlers:
            utils.setup_default_logging()
        for chatty in ('timm.utils.checkpoint_saver', 'matplotlib'):
            logging.getLogger(chatty).setLevel(logging.WARNING)
        if is_distributed_env():  # one process that stops would leave the others waiting: they end at once, together
            run_training(args)
            return 0
        with stop_on_signal() as stop:
            run_training(args, stop)
            return 130 if stop else 0

    return exit_status(run)


def print_recipes() -> None:
    """Print `--list-recipes`."""
    print(recipe_table())


def validate_main(argv: Sequence[str] | None = None) -> int:
    """The command line: prints the result as JSON after a line `--result`, as timm's script does."""

    def run() -> int:
        parser = build_validate_parser()
        args, rest = parser.parse_known_args(argv)
        refuse_unknown(parser, rest)
        if not logging.root.handlers:
            setup_default_logging()
        result = validate(args)
        if args.rank == 0:
            text = json.dumps(result, indent=4)
            print(f'--result\n{text}')
            if args.results_file:
                write_text(args.results_file, text + '\n')
        return 0

    return exit_status(run)
