"""`fpnas decode`: a family of networks for many budgets from one finished search."""
import argparse
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..device.latency_table import LatencyTable
from ..errors import UsageError
from ..runs.options import OptionGroup
from ..runs.parser import Parser
from ..runs.values import ABOVE_0, FROM_1, Range
from ..search.names import LATENCY_FILE
from ..spaces.budgets import milliseconds, quantity
from . import ended_by_sigterm, exit_status

__all__ = ['decode_main', 'targets_of']


def _parser() -> Parser:
    parser = Parser(
        prog='fpnas decode',
        description='Decode networks for many budgets from one finished search: for each target, the most probable '
        'networks within it are scored as finalists are, and the best one is written with its inherited weights.',
        epilog='examples: fpnas decode OUT --targets 1M,2M,4M | fpnas decode OUT --targets 2ms,4ms --latency-table '
        'laptop.json',
    )
    parser.add_argument('folder', metavar='OUT', help='output folder of a finished search')
    add = OptionGroup(parser, 'budgets')
    add('--targets', None, 'budgets of multiply-adds, such as 1M,2M,4M, or of time, such as 2ms,4ms', metavar='N,N,..')
    add('--target-params', None, 'budgets of parameters, instead', metavar='N,N,..')
    add('--latency-table', None, 'a table of fpnas latency measure, for times', metavar='FILE',
        otherwise='that of the search, if it has one')
    add('--tolerance', 0.02, 'a network costs between target * (1 - tolerance) and target',
        range=Range(0, 1, above=True, below=True))
    add = OptionGroup(parser, 'scores')
    add('--finalists', None, 'number of most probable networks that are scored for each target', type=int,
        otherwise='as in the search', range=FROM_1)
    add('--no-scores', False, 'decode the most probable networks only: needs no images and writes no weights')
    add('--data-dir', None, 'where the images are now', metavar='DIR', otherwise='where the search found them')
    add.shared('workers')
    add('--output -o', None, 'folder to write to', metavar='DIR', otherwise='OUT/family')
    return parser


def targets_of(text: str, option: str, parse: Callable[[str], float] = quantity) -> list[float]:
    """The budgets in a text such as '1M,2M,4M', each read by `parse`.

    Raises:
        UsageError: one of them is not a number above 0.

    >>> targets_of('1M,2.5M', '--targets'), targets_of('2ms,750us', '--targets', milliseconds)
    ([1000000.0, 2500000.0], [2.0, 0.75])
    """
    found = []
    for part in text.split(','):
        try:
            value = parse(part.strip())
        except ValueError as e:
            raise UsageError(f'{option} {text}: {part.strip()!r}: {e}') from None
        if value not in ABOVE_0:
            raise UsageError(f'{option} {text}: {part.strip()!r}: expected {ABOVE_0}')
        found.append(value)
    return found


def decode_main(argv: Sequence[str] | None = None) -> int:
    """Exit status 0, 1 if a file cannot be read or written, 2 for a wrong folder or target."""

    def run() -> None:
        args = _parser().parse_args(argv)
        given = {'macs': args.targets, 'params': args.target_params}
        chosen = [(cost, text) for cost, text in given.items() if text is not None]
        if len(chosen) != 1:
            expected = 'expected the budgets: --targets 1M,2M,4M or --target-params 50K,100K'
            raise UsageError(f'{expected}, not both' if chosen else expected)
        [(cost, text)] = chosen
        table = _table(args, text)
        option = '--targets' if cost == 'macs' else '--target-params'
        asked = targets_of(text, option, milliseconds if table else quantity)
        from ..search.family import run_family

        images: dict[str, Any] = {'data_dir': args.data_dir, 'workers': args.workers}
        family = run_family(
            args.folder, asked, table or cost, args.tolerance, args.finalists, args.output, not args.no_scores, images,
        )
        print(family)
        print(_next(family.folder, family.members[-1].name, family.num_classes, scored=not args.no_scores))

    return exit_status(lambda: ended_by_sigterm(run))


def _table(args: argparse.Namespace, text: str) -> LatencyTable | None:
    """The latency table, if the targets are times."""
    timed = any(part.strip().lower().endswith('s') for part in text.split(','))
    if args.latency_table is None and not timed:
        return None
    if args.target_params is not None:
        raise UsageError(f'--target-params {text}: counts parameters: give --latency-table with --targets')
    path = Path(args.latency_table or Path(args.folder) / LATENCY_FILE)
    if args.latency_table is None and not path.exists():
        raise UsageError(
            f'--targets {text}: times need --latency-table FILE, which fpnas latency measure makes: the search has none'
        )
    try:
        return LatencyTable.load(path)
    except UsageError as e:
        raise UsageError(f'--latency-table {e}') from None


def _next(folder: Path, name: str, num_classes: int, scored: bool) -> str:
    """What to do with the family: the commands for its largest member."""
    place = shlex.quote(str(folder / name / 'arch.txt'))
    train = f'fpnas train --arch-file {place} --recipe ls+aa+ema --num-classes {num_classes} --data-dir DIR'
    lines = [f'train one from scratch: {train}']
    if scored:
        model = folder / name
        lines += [
            f"with inherited weights: timm.create_model('local-dir:{model}', pretrained=True)",
            f'picture: {folder / "family.png"}; all finalists: {folder / "family.json"}',
        ]
    return '\n'.join(lines)
