"""`fpnas space`: list, show and check search spaces, and make the space around a network."""
import argparse
import json
from collections.abc import Sequence
from typing import Any

from ..arch import Arch, ArchError
from ..arch.cost import cost
from ..arch.sizes import hw, shown_size
from ..errors import RunError, UsageError
from ..runs.files import write_text
from ..runs.parser import Parser, read_arch_file
from ..runs.values import FROM_0, FROM_1, Range, Value
from ..spaces import MBConvSpace, get_space, list_spaces
from ..spaces.around import FRACTIONS, largest_arch, space_around
from ..spaces.budgets import quantity
from ..spaces.samples import sample_costs
from ..zoo.names import resolve_arch
from ..zoo.strings import ARCHS
from . import exit_status

__all__ = ['space_main']

USAGE = 'fpnas space list | fpnas space show fpnas_l0 | fpnas space decode fpnas_l0 --macs 300M | ' \
        'fpnas space around efficientnet_b0 -o space.json'


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog='fpnas space', epilog=f'examples: {USAGE}',
        description='Search spaces: list, show, check, decode and sample them, and make one around a network.',
    )
    commands = parser.add_subparsers(dest='command', metavar='COMMAND', parser_class=Parser)
    commands.add_parser('list', help="the paper's spaces", description="List the paper's spaces with their sizes.")
    show = commands.add_parser('show', help='show a space and check its file', description='Show, count and check it.')
    show.add_argument('space', metavar='NAME_OR_FILE', help="a space of the paper, or a space's .json file")
    show.add_argument('--json', action='store_true', help='print the space as JSON, as --space of a search reads it')
    around = commands.add_parser(
        'around', help='the space of the sub-networks of a network',
        description='Make the space of the sub-networks of a network: smaller kernels, expansions and channels.',
    )
    around.add_argument('arch', nargs='?', metavar='NAME_OR_STRING', help="a timm model, one of ours, or a string")
    around.add_argument('--arch-file', metavar='FILE', help='file with the architecture string')
    around.add_argument('-o', '--output', metavar='FILE', help='.json file to write (default: print it)')
    around.add_argument('--fixed-kernels', action='store_true', help='keep the kernels, without k - 2')
    around.add_argument('--no-bypass', action='store_true', help='do not let groups be left out')
    around.add_argument('--expansion', type=float, nargs='+', default=list(FRACTIONS), metavar='X',
                        help='fractions of each expansion')
    around.add_argument('--channels', type=float, nargs='+', default=[0.5, 0.625, 0.75, 0.875, 1.0], metavar='X',
                        help="fractions of each group's channels")
    around.add_argument('--blocks', action='store_true', help='choices of its own for each block of a group')
    around.add_argument('--divisor', type=int, default=4, metavar='N', help='channels are multiples of this')
    around.add_argument('--img-size', type=int, metavar='N', help="height and width of the images")
    decode = commands.add_parser(
        'decode', help='the most probable network of a space within budgets',
        description='Print the most probable network within budgets, under the prior of the reconstructions.',
    )
    decode.add_argument('space', metavar='NAME_OR_FILE', help="a space of the paper, or a space's .json file")
    for what, name in (('macs', 'multiply-adds'), ('params', 'parameters')):
        decode.add_argument(f'--{what}', type=Value(parse=quantity), nargs='+', metavar='N',
                            help=f'at most so many {name}, such as 66M; with two numbers, from the first to the second')
    decode.add_argument('--num-classes', type=Value(int, FROM_1), default=1000, metavar='N', help='default 1000')
    decode.add_argument('--json', action='store_true', help='print JSON')
    sample = commands.add_parser('sample', help='random networks of a space, with their costs',
                                 description='Print random networks of a space, with their costs.')
    sample.add_argument('space', metavar='NAME_OR_FILE', help="a space of the paper, or a space's .json file")
    sample.add_argument('--count', type=Value(int, Range(1, 100_000)), default=10, metavar='N', help='default 10')
    sample.add_argument('--seed', type=Value(int, FROM_0), default=0, metavar='N', help='of the random numbers')
    sample.add_argument('--json', action='store_true', help='print JSON')
    return parser


def space_main(argv: Sequence[str] | None = None) -> int:
    """Exit status 0, or 2 if there is no such space or network."""

    def run() -> None:
        parser = _parser()
        args = parser.parse_args(argv)
        if args.command is None:
            raise UsageError(f'expected a command: {USAGE}')
        {'list': _list, 'show': _show, 'around': _around, 'decode': _decode, 'sample': _sample}[args.command](args)

    return exit_status(run)


def _list(args: argparse.Namespace) -> None:
    print(f'{"space":<14}{"input":>6}{"groups":>8}{"networks":>12}')
    for name in list_spaces():
        space = get_space(name)
        print(f'{name:<14}{shown_size(space.img_size):>6}{len(space.rows):>8}{space.num_archs:>12.2e}')


def _show(args: argparse.Namespace) -> None:
    space = _space(args.space)
    print(json.dumps(space.to_dict(), indent=2) if args.json else describe_space(space))


def _space(name: str) -> MBConvSpace:
    try:
        return get_space(name)
    except (OSError, ValueError) as e:
        raise UsageError(f'{name}: {e.strerror}' if isinstance(e, OSError) else str(e)) from None


def _decode(args: argparse.Namespace) -> None:
    from ..spaces.decode import InfeasibleError, decode
    from ..zoo.reconstruct import section_b_prior

    space, windows = _space(args.space), dict[str, tuple[float, float] | None]()
    for what in ('macs', 'params'):
        given = getattr(args, what)
        if given and len(given) > 2:
            raise UsageError(f'--{what}: expected one number, or two for a window, got {len(given)}')
        windows[what] = None if not given else (0.0, given[0]) if len(given) == 1 else (given[0], given[1])
    try:
        found = decode(space, section_b_prior(space), windows['macs'], windows['params'], args.num_classes)
    except InfeasibleError as e:
        raise RunError(str(e)) from None
    except ValueError as e:
        raise UsageError(str(e)) from None
    if args.json:
        print(json.dumps({'space': space.name, 'arch': str(found.arch), 'log_prob': found.log_prob,
                          'bound': found.bound, 'macs': found.cost.macs, 'params': found.cost.params}, indent=2))
    else:
        print(found.arch)


def _sample(args: argparse.Namespace) -> None:
    found = sample_costs(_space(args.space), args.count, args.seed)
    if args.json:
        print(json.dumps([{'arch': str(arch), **spent._asdict()} for arch, spent in found], indent=2))
        return
    print(f'{"multiply-adds":>15}{"parameters":>13}  architecture')
    for arch, spent in found:
        print(f'{spent.macs:>15,}{spent.params:>13,}  {arch}')


def describe_space(space: MBConvSpace) -> str:
    """A table of the rows, the number of architectures, and the costs of the smallest and the largest."""
    size = ' x '.join(map(str, hw(space.img_size)))
    lines = [f'{space.name}: {space.num_archs:,} networks ({space.num_archs:.1e}), {size}']
    lines.append(f'stem {space.stem}, head {space.head}')
    lines.append(f'{"group":>5}{"stride":>7}{"repeat":>7}  kernel; non-linearity; splits; expansion; channels')
    for i, row in enumerate(space.rows, 1):
        choices = '; '.join(' '.join(f'{c:g}' if isinstance(c, float) else str(c) for c in values)
                            for values in row.variables.values())
        lines.append(f'{i:>5}{row.stride:>7}{row.repeat:>7}  {choices}')
    largest = cost(largest_arch(space))
    smallest = cost(_smallest_arch(space))
    lines.append(f'largest: {largest.macs:,} multiply-adds, {largest.params:,} parameters')
    lines.append(f'smallest choice of each: {smallest.macs:,} multiply-adds, {smallest.params:,} parameters')
    return '\n'.join(lines)


def _smallest_arch(space: MBConvSpace) -> Arch:
    return space.to_arch(tuple(tuple(c.index(min(c)) for c in group.values()) for group in space.groups))


def _around(args: argparse.Namespace) -> None:
    if bool(args.arch) == bool(args.arch_file):
        raise UsageError('expected one network: its name or string, or --arch-file FILE')
    arch = Arch.parse(read_arch_file(args.arch_file)) if args.arch_file else _arch_of(args.arch)
    try:
        if args.img_size is not None:
            arch = arch.with_img_size(args.img_size)
        space = space_around(
            arch, kernels=not args.fixed_kernels, bypass=not args.no_bypass, expansion=args.expansion,
            channels=args.channels, divisor=args.divisor, blocks=args.blocks,
            name=_name(args.arch or args.arch_file),
        )
    except ValueError as e:
        raise UsageError(str(e)) from None
    text = json.dumps(space.to_dict(), indent=2)
    if not args.output:
        print(text)
        return
    if not str(args.output).endswith('.json'):
        raise UsageError(f'--output {args.output}: expected a .json file')
    write_text(args.output, text + '\n')
    print(describe_space(space))
    whole = all(len(row.channels) == 1 and row.repeat == 1 for row in space.rows)
    way = '' if whole else ' --supernet trained'  # choices that cannot be fitted to the source
    print(f'written to {args.output}: fpnas search --space {args.output} --init-from SOURCE{way}')


def _name(given: str) -> str:
    return f'around {given if len(given) <= 40 else "a network"}'


def _arch_of(name: str) -> Arch:
    """The architecture of one of our models, a string, or a timm network."""
    if name in ARCHS or '-cn_' in name or '-ir_' in name:
        try:
            return resolve_arch(name)[0]
        except ArchError as e:
            raise UsageError(str(e)) from None
    from ..transfer import as_arch

    found: Any = as_arch(name)
    return found.arch
