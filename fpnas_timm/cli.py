"""The console command `fpnas`: one name for the package's command lines, which stay modules of their own."""
import importlib
import importlib.util
import sys
from collections.abc import Sequence

from ._version import __version__

__all__ = ['COMMANDS', 'main']

# subcommand -> module with `main(argv)`, what it does
COMMANDS = {
    'info': ('fpnas_timm.info', 'the models, or one in full: string, budgets, feature maps, weights'),
    'search': ('fpnas_timm.search.run', 'find an architecture on your own images within a budget'),
    'train': ('fpnas_timm.train', "train a model, with the paper's recipes"),
    'validate': ('fpnas_timm.validate', 'accuracy of a trained model'),
    'run': ('fpnas_timm.run', "run a script of timm's with the models registered"),
    'flops': ('fpnas_timm.flops', "multiply-adds and parameters, and Table B.1 checked with fvcore"),
    'reconstruct': ('fpnas_timm.reconstruct', "find a named model's string again"),
    'draw': ('fpnas_timm.draw', 'a picture of an architecture'),
    'hub': ('fpnas_timm.hub', 'push, pull, verify and list weights'),
    'demo': ('fpnas_timm.demo', 'from a budget to a trained model on handwritten digits, in minutes'),
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
    lines = [f'  {name:<12} {what}' for name, (module, what) in COMMANDS.items() if _exists(module)]
    return '\n'.join([
        'usage: fpnas COMMAND [ARGUMENTS]', '', 'FP-NAS for timm: search, train, count, draw and share networks.', '',
        'commands:', *lines, '', '  fpnas COMMAND --help says more; fpnas --version prints the version.', '', EXAMPLES,
    ])


def _exists(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def main(argv: Sequence[str] | None = None) -> int:
    """Hand the rest of the command line to the subcommand's module. Exit status: its own; 2 for no such command."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if not argv or argv[0] in ('-h', '--help', 'help'):
        print(usage(), end='')
        return 0 if argv else 2
    if argv[0] in ('-V', '--version'):
        print(f'fpnas_timm {__version__}')
        return 0
    if argv[0] not in COMMANDS or not _exists(COMMANDS[argv[0]][0]):
        names = ', '.join(name for name, (module, _) in COMMANDS.items() if _exists(module))
        print(f'error: unknown command {argv[0]!r}: expected one of {names}', file=sys.stderr)
        return 2
    return importlib.import_module(COMMANDS[argv[0]][0]).main(argv[1:]) or 0


if __name__ == '__main__':
    sys.exit(main())
