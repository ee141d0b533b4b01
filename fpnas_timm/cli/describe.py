"""Commands that describe models: info, flops, draw, reconstruct.

Modules that need torch or NumPy are imported where they are used: `--help`, `draw` and `flops --no-check` need neither.
"""
import json
import logging
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from .._version import __version__
from ..arch import Arch, ArchError
from ..arch.checks import MAX_IMG_SIZE
from ..arch.cost import cost, group_costs
from ..arch.sizes import hw, shown_size
from ..draw.arch import draw_arch
from ..draw.boxes import arch_figure
from ..errors import RunError, UsageError, one_line
from ..paper import TABLE_B1
from ..runs.parser import Parser
from ..runs.values import Range, Value
from ..spaces import get_space
from ..zoo.names import NO_NAME
from ..zoo.strings import ARCHS
from . import exit_status
from .given import ARCH_HELP, given_arch

__all__ = ['draw_main', 'flops_main', 'info_main', 'reconstruct_main']


def _versions() -> dict[str, str]:
    found = {'fpnas_timm': __version__}
    for name in ('timm', 'torch', 'torchvision', 'huggingface_hub', 'safetensors'):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = 'not installed'
    return found


def _print_all(infos: list[dict[str, Any]]) -> None:
    print(' '.join(f'{name} {v}' for name, v in _versions().items()))
    print(f'\n{"model":<14}{"input":>6}{"multiply-adds":>16}{"parameters":>13}  weights')
    for i in infos:
        weights = ', '.join(i['weights']) or 'none published'
        print(f'{i["model"]:<14}{shown_size(i["img_size"]):>6}{i["macs"]:>16,}{i["params"]:>13,}  {weights}')
    print("\nThe named models are reconstructions: the paper's budgets, not its encodings.")
    print('`fpnas` builds the network of any architecture string. Details of one model: fpnas info NETWORK')


def _print_one(i: dict[str, Any]) -> None:
    if i['label'] != NO_NAME:
        print(f'model          {i["label"]}')
    print(f'architecture   {i["arch"]}')
    print(f'input          {" x ".join(map(str, hw(i["img_size"])))}')
    if (i['num_classes'], i['in_chans']) != (1000, 3):
        print(f'classes        {i["num_classes"]:,}, for images of {i["in_chans"]} channel{"s" * (i["in_chans"] > 1)}')
    print(f'multiply-adds  {i["macs"]:,}')
    print(f'parameters     {i["params"]:,}')
    print(f'blocks         {i["blocks"]}')
    print('feature maps   ' + ', '.join(f'{f["channels"]} channels at 1/{f["reduction"]}' for f in i['features']))
    if paper := i.get('paper'):
        plain, distilled = paper['top1'], paper['top1_distilled']
        top1 = ', '.join([f'{plain} %'] * bool(plain) + [f'{distilled} % distilled'] * bool(distilled))
        budgets = f'{paper["macs_millions"]} M multiply-adds, {paper["params_millions"]} M parameters'
        print(f"paper's own    {budgets}, top-1 {top1}")
    print(f'weights        {", ".join(i["weights"]) or "none published"}')


def info_main(argv: Sequence[str] | None = None) -> int:
    """Exit status 0, or 2 if the argument is neither a model nor an architecture string."""
    parser = Parser(
        prog='fpnas info',
        description='List the models and the versions, or show one model in detail.',
        epilog='examples: fpnas info | fpnas info fpnas_l0 | fpnas info i64-cn_k3_.. --json',
    )
    parser.add_argument('model', nargs='?', metavar='NETWORK', help=ARCH_HELP)
    parser.add_argument('--json', action='store_true', help='print JSON')

    def run() -> None:
        args = parser.parse_args(argv)
        from ..zoo.models import default_cfgs
        from ..zoo.report import describe

        try:
            names = [args.model] if args.model is not None else [n for n in default_cfgs if n != 'fpnas']
            infos = [describe(name) for name in names]
        except ArchError:
            given = given_arch(args.model)
            more = {'label': given.label, 'weights': [given.weights] if given.weights else []}
            infos = [{**describe(str(given.arch), **given.sizes), **more}]
        if args.json:
            everything = {'versions': _versions(), 'models': infos}
            print(json.dumps(everything if args.model is None else infos[0], indent=2))
        elif args.model is not None:
            _print_one(infos[0])
        else:
            _print_all(infos)

    return exit_status(run)


def draw_main(argv: Sequence[str] | None = None) -> int:
    """Exit status 0, 1 if the picture cannot be written, 2 for a wrong argument."""
    parser = Parser(
        prog='fpnas draw',
        epilog='examples: fpnas draw fpnas_l2 | fpnas draw fpnas_l2 -o l2.svg | fpnas draw i64-cn_k3_.. -o net.png',
        description='Draw an architecture: one box per block, as in Figure B.1 of the supplement.',
    )
    parser.add_argument('arch', metavar='NETWORK', help=ARCH_HELP)
    parser.add_argument('-o', '--output', metavar='FILE', help='.png or .svg (default: NAME.png, or arch.png)')
    parser.add_argument('--json', action='store_true', help='print what would be drawn as JSON, and draw nothing')

    def run() -> None:
        args = parser.parse_args(argv)
        if args.json and args.output:
            raise UsageError('--json prints the picture as data: it takes no --output')
        output = args.output or (f'{args.arch}.png' if re.fullmatch(r'\w+', args.arch) else 'arch.png')
        if '\0' in output:
            raise UsageError('--output: a file name has no NUL character')
        try:
            given = given_arch(args.arch)
            arch, label = given.arch, given.label
            if args.json:
                print(json.dumps(asdict(arch_figure(arch, label)), indent=2))
                return
            draw_arch(arch, output, title=label)
        except ImportError as e:
            raise RunError(one_line(e)) from None
        except ValueError as e:
            raise UsageError(str(e)) from None
        print(output)

    return exit_status(run)


def _unchecked(label: str, arch: Arch, sizes: Mapping[str, Any]) -> dict[str, Any]:
    """A row of `fpnas flops` without fvcore and torch: the counts by fvcore and of the built model are None."""
    size = sizes.get('img_size', arch.img_size)
    row = TABLE_B1.get(label)
    if row is not None and row.img_size != size:
        row = None
    macs, params = cost(arch, **sizes)
    return {
        'model': label, 'img_size': size, 'printed_macs': row.macs if row else None, 'fvcore_macs': None,
        'cost_macs': macs, 'others': {}, 'printed_params': row.params if row else None, 'params': None,
        'cost_params': params, 'agrees': None,
    }


def _checked(label: str, arch: Arch | None, sizes: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of `fpnas flops` with fvcore's counts; those of Table B.1 if `arch` is None."""
    from ..zoo.report import report, table_b1

    logging.getLogger('fvcore').setLevel(logging.ERROR)
    reports = table_b1() if arch is None else [report(label, arch, **sizes)]
    return [{**asdict(r), 'agrees': r.agrees} for r in reports]


def _print_table(rows: list[dict[str, Any]]) -> None:
    print('Table B.1 and its reconstructions. Millions; multiply-adds of convolutions and linear layers, batch 1.')
    print(
        f'{"model":<12}{"input":>6}{"printed":>9}{"fvcore":>10}{"cost.py":>10}{"fvcore: BN, pool":>18}'
        f'{"printed":>9}{"params":>9}  verdict'
    )
    verdicts = {True: 'agrees', False: 'DIFFERS', None: 'not checked'}
    for r in rows:
        if r['fvcore_macs'] is None:
            counted, batch_norm, pool = '-', '-', '-'
        else:
            counted = f'{r["fvcore_macs"] / 1e6:.3f}'
            batch_norm, pool = (f'{r["others"].get(k, 0) / 1e6:.2f}' for k in ('batch_norm', 'adaptive_avg_pool2d'))
        params = r['cost_params'] if r['params'] is None else r['params']
        print(
            f'{r["model"]:<12}{shown_size(r["img_size"]):>6}{_or_dash(r["printed_macs"]):>9}{counted:>10}'
            f'{r["cost_macs"] / 1e6:>10.3f}{batch_norm:>12}{pool:>6}'
            f'{_or_dash(r["printed_params"]):>9}{params / 1e6:>9.3f}  {verdicts[r["agrees"]]}'
        )


def _or_dash(value: float | None) -> str:
    return '-' if value is None else str(value)


def _print_groups(arch: Arch, sizes: Mapping[str, Any]) -> None:
    print(f'\n{"part":<12}{"multiply-adds":>15}{"parameters":>13}  token')
    for row in _parts(arch, sizes):
        print(f'{row["part"]:<12}{row["macs"]:>15,}{row["params"]:>13,}  {row["token"]}')


def _parts(arch: Arch, sizes: Mapping[str, Any]) -> list[dict[str, Any]]:
    tokens = [str(arch.stem), *map(str, arch.groups), str(arch.head), '']
    return [{'part': part, **spent._asdict(), 'token': token}
            for (part, spent), token in zip(group_costs(arch, **sizes).items(), tokens)]


def flops_main(argv: Sequence[str] | None = None) -> int:
    """Exit status 0 if every count agrees or none is checked, 1 if one differs, 2 for a wrong argument."""
    parser = Parser(
        prog='fpnas flops',
        description='Check Table B.1 with fvcore, or count one model per group.',
        epilog='examples: fpnas flops | fpnas flops fpnas_l2 --img-size 224 | fpnas flops i64-cn_k3_.. --json',
    )
    parser.add_argument('model', nargs='?', metavar='NETWORK', help=f'{ARCH_HELP} (default: all of Table B.1)')
    size = Value(int, Range(1, MAX_IMG_SIZE))
    parser.add_argument('--img-size', type=size, metavar='N', help="height and width in pixels (default: the model's)")
    parser.add_argument(
        '--no-check', action='store_true',
        help='only count with the formulas of this package: fast, without torch, without the check by fvcore',
    )
    parser.add_argument('--json', action='store_true', help='print JSON instead of a table')

    def run() -> int:
        args = parser.parse_args(argv)
        if args.model is None and args.img_size is not None:
            raise UsageError('--img-size needs a model')
        try:
            given = None if args.model is None else given_arch(args.model)
            arch, label = (given.arch, given.label) if given else (None, '')
            label = args.model if args.model in ARCHS else label
            sizes = {**(given.sizes if given else {}), **({'img_size': args.img_size} if args.img_size else {})}
            if not args.no_check:
                rows = _checked(label, arch, sizes)
            elif arch is None:
                rows = [_unchecked(name, Arch.parse(string), {}) for name, string in ARCHS.items()]
            else:
                rows = [_unchecked(label, arch, sizes)]
        except ValueError as e:
            raise UsageError(str(e)) from None
        if args.json:
            if arch is not None:
                rows[0]['parts'] = _parts(arch, sizes)
            print(json.dumps(rows, indent=2))
        else:
            _print_table(rows)
            if arch is not None:
                _print_groups(arch, sizes)
            if {'num_classes', 'in_chans'} & set(sizes):
                channels = sizes.get('in_chans', 3)
                print(f'\ncounted as in the folder: {sizes.get("num_classes", 1000):,} classes, images of {channels} '
                      f'channel{"s" * (channels > 1)}')
        return 1 if any(r['agrees'] is False for r in rows) else 0

    return exit_status(run)


def reconstruct_main(argv: Sequence[str] | None = None) -> int:
    """Exit status 0, 1 if no architecture is within the budgets, 2 for a wrong argument."""
    parser = Parser(
        prog='fpnas reconstruct',
        epilog='examples: fpnas reconstruct fpnas_l2 | fpnas reconstruct fpnas_l0 --gap --json',
        description="Derive a model's architecture string from Table B.1's budgets and section B's text, and print it.",
    )
    names = tuple(TABLE_B1)
    parser.add_argument('model', type=Value(names=names), metavar='NAME', help=f'one of {", ".join(names)}')
    parser.add_argument('--gap', action='store_true', help='also prove that the optimum is unique (solves once more)')
    parser.add_argument('--json', action='store_true', help='print JSON')

    def run() -> None:
        args = parser.parse_args(argv)
        from ..spaces.decode import InfeasibleError, runner_up_gap
        from ..zoo.reconstruct import budget_windows, reconstruct, section_b_prior

        try:
            found = reconstruct(args.model)
        except InfeasibleError as e:
            raise RunError(str(e)) from None
        if args.json:
            print(json.dumps({'model': args.model, 'arch': str(found.arch), 'log_prob': found.log_prob,
                              'macs': found.cost.macs, 'params': found.cost.params}, indent=2))
        else:
            print(found.arch)
        if args.gap:
            space = get_space(args.model)
            gap = runner_up_gap(found, space, section_b_prior(space), *budget_windows(args.model))
            print(
                f'log-probability {found.log_prob:.6f} nats (proven bound {found.bound:.6f}); the next best '
                f'architecture within the budgets is less probable by {gap:.6f} nats',
                file=sys.stderr,
            )

    return exit_status(run)
