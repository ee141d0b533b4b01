"""`fpnas app`: the explorer in the browser. Does not import torch."""
from collections.abc import Sequence

from ..errors import UsageError
from ..runs.parser import Parser
from ..runs.values import Range, Value
from ..zoo.names import resolve_arch
from . import exit_status

__all__ = ['app_main']


def app_main(argv: Sequence[str] | None = None) -> int:
    """Exit status 0 after Ctrl-C, 1 if packages are missing, 2 for a wrong option or a port that is in use."""
    parser = Parser(
        prog='fpnas app',
        description='Open the explorer in the browser: networks, spaces, budgets, searches, trained models. It is '
        'served to this machine only.',
        epilog='examples: fpnas app | fpnas app fpnas_s1pp | fpnas app --port 0 --no-browser',
    )
    parser.add_argument('arch', nargs='?', default='', metavar='NAME_OR_STRING', help='what is shown first')
    parser.add_argument('--port', type=Value(int, Range(0, 65535)), default=7860, metavar='N',
                        help='port on 127.0.0.1; 0 for any that is free')
    parser.add_argument('--no-browser', action='store_true', help='only print the address')

    def run() -> None:
        args = parser.parse_args(argv)
        if args.arch:
            try:
                resolve_arch(args.arch)
            except ValueError as e:
                raise UsageError(str(e)) from None
        from ..app.launch import serve

        serve(args.port, args.arch, not args.no_browser)

    return exit_status(run)
