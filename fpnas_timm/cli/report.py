"""`fpnas report`: the page about a search, or about several side by side. Does not import torch."""
from collections.abc import Sequence
from pathlib import Path

from ..errors import UsageError
from ..runs.parser import Parser
from . import exit_status

__all__ = ['report_main']

COMPARISON = 'comparison.html'


def _parser() -> Parser:
    parser = Parser(
        prog='fpnas report',
        description='Write the report of a search, finished or running, as one HTML file; with several folders, a page '
        'that compares these searches.',
        epilog='examples: fpnas report OUT | fpnas report OUT1 OUT2 OUT3 -o comparison.html',
    )
    parser.add_argument('folders', nargs='+', metavar='OUT', help='output folder of a search')
    parser.add_argument('-o', '--output', metavar='FILE',
                        help=f'.html file to write (default: report.html in OUT, or {COMPARISON} for several)')
    return parser


def report_main(argv: Sequence[str] | None = None) -> int:
    """Exit status 0, 1 if the file cannot be written, 2 for a folder without a search or with damaged files."""

    def run() -> None:
        args = _parser().parse_args(argv)
        if args.output is not None and not args.output.endswith('.html'):
            raise UsageError(f'--output {args.output}: expected a .html file')
        if any('\0' in name for name in (*args.folders, args.output or '')):
            raise UsageError('a file name has no NUL character')
        from ..search.page import write_comparison, write_report

        folders = [Path(folder) for folder in args.folders]
        output = None if args.output is None else Path(args.output)
        if len(folders) == 1:
            print(write_report(folders[0], output))
        else:
            print(write_comparison(folders, output or Path(COMPARISON)))

    return exit_status(run)
