"""fvcore's count of a model beside `cost.py`'s, and Table B.1 checked digit by digit.

The paper's FLOPS are multiply-adds of convolutions and linear layers, which is what fvcore counts as `conv` and
`linear`. Its total adds batch norm and pooling; those are reported apart.
"""
import argparse
import json
import logging
import sys
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from torch import nn

from .arch import Arch, ArchError
from .cost import cost, group_costs
from .model import FPNAS
from .zoo import ARCHS, TABLE_B1, resolve_arch

__all__ = ['Counts', 'count', 'main', 'table_b1']


@dataclass(frozen=True)
class Counts:
    """Multiply-adds by fvcore, of one image: convolutions and linear layers, and what it adds for the rest."""

    macs: int
    others: dict[str, int]


def count(model: nn.Module, img_size: int, in_chans: int = 3) -> Counts:
    """fvcore's count of any model at a square input size in pixels, batch 1. Leaves the model's mode as it was."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', FutureWarning)  # fvcore scripts a loss of its own when it is imported
        from fvcore.nn import FlopCountAnalysis

    training = model.training
    try:
        with torch.no_grad():
            analysis = FlopCountAnalysis(model.eval(), torch.zeros(1, in_chans, img_size, img_size))
            analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
            by_operator = analysis.by_operator()
    finally:
        model.train(training)
    macs = by_operator.pop('conv', 0) + by_operator.pop('linear', 0)
    return Counts(int(macs), {name: int(n) for name, n in by_operator.items()})


@dataclass(frozen=True)
class Report:
    """What was printed (None outside Table B.1) and what was counted of one model."""

    model: str
    img_size: int
    printed_macs: int | None  # millions
    fvcore_macs: int
    cost_macs: int
    others: dict[str, int]
    printed_params: float | None  # millions
    params: int
    cost_params: int

    @property
    def agrees(self) -> bool:
        """The two counts are equal, and round to every digit printed."""
        if (self.fvcore_macs, self.params) != (self.cost_macs, self.cost_params):
            return False
        if self.printed_macs is None or self.printed_params is None:
            return True
        return round(self.fvcore_macs / 1e6) == self.printed_macs and round(self.params / 1e6, 1) == self.printed_params


def report(label: str, arch: Arch, img_size: int | None = None) -> Report:
    """Both counts of an architecture at `img_size` pixels (its own if None), beside Table B.1's where it has a row."""
    size = arch.img_size if img_size is None else img_size
    expected = cost(arch, size)
    model = FPNAS(str(arch))
    counts = count(model, size)
    row = TABLE_B1.get(label)
    if row is not None and row.img_size != size:
        row = None
    return Report(
        model=label,
        img_size=size,
        printed_macs=row.macs if row else None,
        fvcore_macs=counts.macs,
        cost_macs=expected.macs,
        others=counts.others,
        printed_params=row.params if row else None,
        params=sum(p.numel() for p in model.parameters()),
        cost_params=expected.params,
    )


def table_b1() -> list[Report]:
    """A report of every model of Table B.1."""
    return [report(name, Arch.parse(string)) for name, string in ARCHS.items()]


def _print_table(reports: list[Report]) -> None:
    print('Table B.1 and its reconstructions. Millions; multiply-adds of convolutions and linear layers, batch 1.')
    print(
        f'{"model":<12}{"input":>6}{"printed":>9}{"fvcore":>10}{"cost.py":>10}{"fvcore: BN, pool":>18}'
        f'{"printed":>9}{"params":>9}  verdict'
    )
    for r in reports:
        batch_norm, pool = r.others.get('batch_norm', 0), r.others.get('adaptive_avg_pool2d', 0)
        print(
            f'{r.model:<12}{r.img_size:>6}{_or_dash(r.printed_macs):>9}{r.fvcore_macs / 1e6:>10.3f}'
            f'{r.cost_macs / 1e6:>10.3f}{batch_norm / 1e6:>12.2f}{pool / 1e6:>6.2f}'
            f'{_or_dash(r.printed_params):>9}{r.params / 1e6:>9.3f}  {"agrees" if r.agrees else "DIFFERS"}'
        )


def _or_dash(value: float | None) -> str:
    return '-' if value is None else str(value)


def _print_groups(arch: Arch, img_size: int) -> None:
    print(f'\n{"part":<12}{"multiply-adds":>15}{"parameters":>13}  token')
    tokens = [str(arch.stem), *map(str, arch.groups), str(arch.head), '']
    for (part, spent), token in zip(group_costs(arch, img_size).items(), tokens):
        print(f'{part:<12}{spent.macs:>15,}{spent.params:>13,}  {token}')


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status 0 if every count agrees, 1 if one differs, 2 for a wrong argument."""
    parser = argparse.ArgumentParser(
        prog='fpnas flops',
        description='Check Table B.1 with fvcore, or count one model per group.',
        epilog='examples: fpnas flops | fpnas flops fpnas_l2 --img-size 224 | fpnas flops i64-cn_k3_.. --json',
    )
    parser.add_argument('model', nargs='?', help="a model's name or an architecture string; Table B.1 if left out")
    parser.add_argument('--img-size', type=int, help="input height and width in pixels; the model's own if left out")
    parser.add_argument('--json', action='store_true', help='print data instead of a table')
    args = parser.parse_args(argv)
    logging.getLogger('fvcore').setLevel(logging.ERROR)
    try:
        if args.model is None:
            if args.img_size is not None:
                parser.error('--img-size goes with a model')
            arch, reports = None, table_b1()
        else:
            arch, label = resolve_arch(args.model)
            reports = [report(args.model if args.model in ARCHS else label, arch, args.img_size)]
    except (ArchError, ValueError) as e:
        print(f'error: {e}', file=sys.stderr)
        return 2
    if args.json:
        print(json.dumps([{**asdict(r), 'agrees': r.agrees} for r in reports], indent=2))
    else:
        _print_table(reports)
        if arch is not None:
            _print_groups(arch, reports[0].img_size)
    return 0 if all(r.agrees for r in reports) else 1


if __name__ == '__main__':
    sys.exit(main())
