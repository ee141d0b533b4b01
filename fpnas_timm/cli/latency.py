"""`fpnas latency`: measure how long the networks of a space take on this machine, and predict it for others."""
import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..arch import Arch
from ..arch.checks import MAX_IMG_SIZE
from ..arch.sizes import shown_size
from ..device.latency_table import LatencyTable
from ..errors import UsageError
from ..runs.parser import Parser
from ..runs.values import Range, Value
from ..spaces import MBConvSpace, get_space
from ..spaces.budgets import shown_ms
from . import ended_by_sigterm, exit_status
from .given import given_arch

__all__ = ['latency_main']

USAGE = (
    'fpnas latency measure --space fpnas_l0 -o laptop.json | fpnas latency predict fpnas_l0 --table laptop.json | '
    'fpnas latency check --table laptop.json'
)
RUNTIMES = ('torch', 'compile', 'onnxruntime', 'openvino')


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog='fpnas latency', description='Latency tables: how long the networks of a space take on a '
                    'machine.', epilog=f'examples: {USAGE}')
    commands = parser.add_subparsers(dest='command', metavar='COMMAND', parser_class=Parser)
    one = Value(int, Range(1), optional=False)
    measure = commands.add_parser(
        'measure', help='measure a table on this machine', description='Measure networks of a space on this machine, '
        'and write a table that predicts the time of all others. Ctrl-C keeps what was measured: the same command goes '
        'on.',
    )
    measure.add_argument('--space', required=True, metavar='NAME|FILE', help="a space of the paper, or a .json file")
    measure.add_argument('-o', '--output', required=True, metavar='FILE', help='.json file to write')
    measure.add_argument('--runtime', type=Value(str, names=RUNTIMES), default='onnxruntime',
                         metavar='|'.join(RUNTIMES), help='what the networks will run in')
    measure.add_argument('--device', default='cpu', metavar='cpu|cuda', help='where they will run')
    measure.add_argument('--threads', type=one, default=1, metavar='N', help='threads of the runtime')
    measure.add_argument('--batch-size', type=one, default=1, metavar='N', help='images per call')
    measure.add_argument('--img-size', type=Value(int, Range(1, MAX_IMG_SIZE)), metavar='N',
                         help="height and width of the images (default: the space's)")
    measure.add_argument('--num-classes', type=one, default=1000, metavar='N', help='classifier outputs')
    measure.add_argument('--in-chans', type=one, default=3, metavar='N', help='image channels')
    measure.add_argument('--minutes', type=Value(float, Range(0, above=True), optional=False), default=10.0,
                         metavar='X', help='measure no further networks after this time')
    measure.add_argument('--networks', type=one, default=400, metavar='N', help='measure at most so many networks')
    measure.add_argument('--seed', type=Value(int, Range(0), optional=False), default=0, metavar='N',
                         help='seed of the networks')
    predict = commands.add_parser(
        'predict', help='the time of a network', description='The time of a network of the space, by a table.',
    )
    predict.add_argument('model', metavar='MODEL', help='one of our models, a string, or the folder of a search or '
                         'of a trained model')
    check = commands.add_parser(
        'check', help='compare a table with networks that are measured now', description='Measure networks that the '
        'table was not made from, on the machine that it was measured on.',
    )
    check.add_argument('--networks', type=Value(int, Range(2), optional=False), default=24, metavar='N',
                       help='number of networks')
    check.add_argument('--seed', type=Value(int, Range(0), optional=False), default=1, metavar='N',
                       help='seed of the networks; measure has 0')
    for command in (predict, check):
        command.add_argument('--table', required=True, metavar='FILE', help='file of fpnas latency measure')
    for command in (measure, predict, check):
        command.add_argument('--json', action='store_true', help='print JSON')
    return parser


def latency_main(argv: Sequence[str] | None = None) -> int:
    """Exit status 0; 2 for wrong usage, 1 for a machine that is too noisy or a table that is worth too little."""

    def run() -> None:
        args = _parser().parse_args(argv)
        if args.command is None:
            raise UsageError(f'expected a command: {USAGE}')
        {'measure': _measure, 'predict': _predict, 'check': _check}[args.command](args)

    return exit_status(lambda: ended_by_sigterm(run))


def _space_of(args: argparse.Namespace) -> MBConvSpace:
    try:
        space = get_space(args.space)
        if args.img_size is not None:
            space = space.with_img_size(args.img_size)
            space.to_arch(tuple((0,) * len(group) for group in space.groups))
    except (OSError, ValueError) as e:
        reason = e.strerror if isinstance(e, OSError) and e.strerror else str(e)
        raise UsageError(f'--space {args.space}: {reason}') from None
    return space


def _measure(args: argparse.Namespace) -> None:
    output = Path(args.output)
    if output.suffix != '.json':
        raise UsageError(f'--output {output}: expected a .json file')
    if output.exists():
        raise UsageError(f'--output {output}: is there already: delete it, or give another name')
    if not output.absolute().parent.is_dir():
        raise UsageError(f'--output {output}: there is no folder {output.absolute().parent}')
    space = _space_of(args)
    from ..device.latency_measure import measure_latency, partial_file

    try:
        table = measure_latency(
            space, args.runtime, args.device, args.threads, args.batch_size, args.num_classes, args.in_chans, output,
            args.minutes, args.networks, args.seed, say=lambda text: print(text, file=sys.stderr),
        )
    except KeyboardInterrupt:
        if (kept := partial_file(output)) is not None and kept.exists():
            print(f'what was measured is in {kept}: the same command goes on from there', file=sys.stderr)
        raise
    worth = dict(table.worth or {})
    if args.json:
        print(json.dumps({'table': str(output), 'setting': str(table.setting), **worth}, indent=2))
        return
    low, high = table.cost().range()
    print(f'{space.name} at {shown_size(space.img_size)} pixels, {table.setting}')
    print(f'fitted to {worth["fitted"]:.0f} networks; on {_worth(worth)}')
    print(f'the same network differed by {100 * worth["spread"]:.1f} % between halves of its runs, the speed of the '
          f'machine by {100 * worth["drift"]:.1f} % (medians)')
    print(f'fastest network {shown_ms(low)}, slowest {shown_ms(high)}')
    print(f'written to {output}: fpnas search --latency-table {output} --target-latency {_example(low, high)}')


def _example(low: float, high: float) -> str:
    return shown_ms(float(f'{(low * high) ** 0.5:.2g}')).replace(' ', '')


def _worth(worth: dict[str, Any]) -> str:
    from ..device.latency_fit import Worth

    return str(Worth(**{**{k: worth[k] for k in Worth._fields}, 'networks': int(worth['networks'])}))


def _predict(args: argparse.Namespace) -> None:
    table = LatencyTable.load(args.table)
    arch = _arch_of(args.model)
    if arch.img_size != table.space.img_size:
        how = 'of a space of that size' if isinstance(arch.img_size, tuple) else f'with --img-size {arch.img_size}'
        raise UsageError(
            f'{args.table}: is of images of {shown_size(table.space.img_size)} pixels, {args.model[:80]} has '
            f'{shown_size(arch.img_size)}: measure a table {how}'
        )
    found = table.predict(arch)
    if args.json:
        print(json.dumps({'arch': str(arch), 'milliseconds': found, 'setting': str(table.setting)}, indent=2))
        return
    error = (table.worth or {}).get('mean_error')
    print(f'{shown_ms(found)}' + (f' (mean error of the table {100 * error:.1f} %)' if error is not None else ''))
    print(f'{table.setting}; with {table.setting.num_classes} classes')


def _arch_of(model: str) -> Arch:
    """The architecture of a network as `given_arch` takes it.

    It may be trained at another size than that of its string: that of its folder is the one that counts.
    """
    given = given_arch(model)
    stride = given.sizes.get('output_stride', 32)
    if stride < given.arch.total_stride:
        raise UsageError(
            f'{model[:80]}: has output_stride {stride}, and latency tables are of networks without: expected one that '
            'keeps its strides'
        )
    return given.arch.with_img_size(given.sizes.get('img_size', given.arch.img_size))


def _check(args: argparse.Namespace) -> None:
    table = LatencyTable.load(args.table)
    from ..device.latency_measure import check_table

    try:
        found = check_table(table, args.networks, args.seed)
    except UsageError as e:
        raise UsageError(f'{args.table}: {e}') from None
    if args.json:
        figures = {**found.worth._asdict(), 'slower': found.slower, 'spread': found.spread}
        print(json.dumps(figures, indent=2))
        return
    print(table.setting)
    print(found.worth)
    print(f'this machine takes {found.slower:.2f} times as long as when the table was measured; the same network '
          f'differed by {100 * found.spread:.1f} % between halves of its runs')
