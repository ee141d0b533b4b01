"""A latency table: how long the networks of a space take on one machine, in one runtime. A small, readable file.

It has a rate (milliseconds per amount of work) for each group and kind of operation (`work`), and a constant. So a time
is an additive cost, as multiply-adds are, and whatever takes those takes it too: the decode, the expected cost of a
distribution, the budgets of a search. Does not import torch.
"""
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from ..arch import Arch
from ..arch.checks import load_json
from ..arch.sizes import out_size, shown_size
from ..errors import UsageError, one_line
from ..runs.files import write_text
from ..spaces import MBConvSpace
from ..spaces.costs import AdditiveCost
from .work import Work, conv_work, group_work

__all__ = ['COST', 'LatencyTable', 'Setting', 'network_work']

COST, UNIT = 'latency', 'ms'  # of the additive cost
FORMAT = 1
Rates = Mapping[str, float]  # kind of work -> milliseconds per amount


@dataclass(frozen=True)
class Setting:
    """What times depend on beside the network.

    Attributes:
        machine: processor or GPU.
        runtime: 'torch', 'compile', 'onnxruntime' or 'openvino'.
        device: 'cpu' or 'cuda'.
        threads: threads of the runtime; of no importance on a GPU.
        batch_size: images per call.
        num_classes: number of outputs of the classifier.
        in_chans: number of image channels.
        versions: of the runtime, torch and this package.
    """

    machine: str
    runtime: str
    device: str = 'cpu'
    threads: int = 1
    batch_size: int = 1
    num_classes: int = 1000
    in_chans: int = 3
    versions: Mapping[str, str] | None = None

    def __str__(self) -> str:
        """In words.

        >>> str(Setting('AMD EPYC, 2 cores', 'onnxruntime'))
        'onnxruntime, batch 1, 1 thread, AMD EPYC, 2 cores'
        """
        threads = f', {self.threads} thread{"s" * (self.threads > 1)}' if self.device == 'cpu' else ''
        return f'{self.runtime}, batch {self.batch_size}{threads}, {self.machine}'


@dataclass(frozen=True, eq=False)
class LatencyTable:
    """How long the networks of a space take.

    Attributes:
        space: the search space, with the input size.
        setting: machine, runtime, and how they were used.
        groups: the rates of each group.
        head: the rates of the head convolution.
        constant: milliseconds of what no choice changes.
        reference: a network of the space, and the milliseconds that it took; times measured later are compared with
            its time then, since a machine is not always equally fast.
        worth: how good the table is on networks that it was not fitted to (`latency_fit.Worth`).
        date: when it was measured, as YYYY-MM-DD.

    >>> from fpnas_timm.arch import Conv
    >>> from fpnas_timm.spaces import Row
    >>> row = Row(expansion=(2,), channels=(8, 16), repeat=1, stride=2, kernel=(3, 5), act=('re',), splits=(0,))
    >>> space = MBConvSpace.from_rows('tiny', Conv(3, 2, 8, 'sw'), [row], Conv(1, 1, 32, 'sw'), img_size=32)
    >>> table = LatencyTable(space, Setting('mine', 'torch'), [{'pointwise': 2.0}], {'pointwise': 1.0}, 0.25)
    >>> found = table.predict(space.to_arch(((1, 0, 0, 0, 1),)))  # 8 * 16 * 256 and 16 * 16 * 64; head 16 * 32 * 64
    >>> round(found, 6), round(table.cost().range()[1], 6)
    (0.381072, 0.381072)
    """

    space: MBConvSpace
    setting: Setting
    groups: Sequence[Rates]
    head: Rates
    constant: float
    reference: tuple[str, float] = ('', 1.0)
    worth: Mapping[str, float] | None = None
    date: str = ''

    def __post_init__(self) -> None:
        if len(self.groups) != len(self.space.rows):
            groups = len(self.space.rows)
            raise ValueError(f'space {self.space.name!r} has {groups} groups, the table {len(self.groups)}')

    def cost(self) -> AdditiveCost:
        """The time of a call in milliseconds, as tables: for `decode(.., others=[(cost, window)])` and the search."""
        known = self.__dict__.get('_cost')
        if known is None:
            object.__setattr__(self, '_cost', known := self._tables())
        return known

    def _tables(self) -> AdditiveCost:
        space = self.space
        size = out_size(space.img_size, space.stem.stride)
        in_channels: tuple[int, ...] = (space.stem.channels,)
        tables = []
        for row, rates in zip(space.rows, self.groups):
            table = []
            for in_chs in in_channels:
                known: dict[tuple[Any, ...], tuple[float, float]] = {}  # without activations, and their amount
                times = []
                for chosen in itertools.product(*row.variables.values()):
                    given = dict(zip(row.variables, chosen))
                    act, kernel, channels = given['act'], given['kernel'], given['channels']
                    key = (kernel, channels) if not kernel else (*(v for k, v in given.items() if k != 'act'),)
                    if key not in known:
                        work = dict(group_work(row.group(given), in_chs, size))
                        amount = work.pop(f'activation {act}', 0.0)
                        known[key] = _time(rates, work), amount
                    rest, amount = known[key]
                    times.append(rest + rates.get(f'activation {act}', 0.0) * amount)
                table.append(times)
            tables.append(table)
            in_channels, size = row.channels, out_size(size, row.stride)
        tail = [_time(self.head, conv_work(space.head, channels, size)) for channels in in_channels]
        return AdditiveCost(COST, UNIT, space, tables, tail, self.constant, 'channels')

    def predict(self, arch: Arch) -> float:
        """Milliseconds of a call of a network of the space.

        Raises:
            UsageError: it is not in the space; the message says where it differs.
        """
        try:
            self.space.from_arch(arch)
        except ValueError as e:
            raise UsageError(f'the latency table is of other networks: {e}') from None
        return self.time_of(network_work(arch))

    def time_of(self, works: Sequence[Work]) -> float:
        """Milliseconds of a call of a network with this work (`network_work`), of whatever space it is."""
        return math.fsum([self.constant, *map(_time, (*self.groups, self.head), works)])

    def with_worth(self, worth: Mapping[str, float]) -> 'LatencyTable':
        """The same table with what it is worth."""
        return replace(self, worth=worth)

    def to_text(self) -> str:
        """The content of the file."""
        data = {
            'latency table': FORMAT, 'date': self.date,
            **{f.name: getattr(self.setting, f.name) for f in fields(Setting)},
            'worth': self.worth, 'space': self.space.to_dict(),
            'reference': {'arch': self.reference[0], 'milliseconds': self.reference[1]},
            'constant': _short(self.constant), 'head': _rounded(self.head), 'groups': [*map(_rounded, self.groups)],
        }
        return _readable(data) + '\n'

    def save(self, path: str | Path) -> None:
        """Write the file."""
        write_text(path, self.to_text())

    @classmethod
    def load(cls, path: str | Path) -> 'LatencyTable':
        """Read a file.

        Raises:
            UsageError: there is none, or it is not a latency table.
        """
        try:
            text = Path(path).read_text(encoding='utf-8')
        except (OSError, UnicodeDecodeError) as e:
            raise UsageError(f'{path}: cannot be read ({getattr(e, "strerror", None) or "not text"})') from None
        return cls.parse(text, str(path))

    @classmethod
    def parse(cls, text: str, where: str) -> 'LatencyTable':
        """Read the content of a file; errors as in `load`, which begin with `where`."""
        try:
            data = load_json(text)
            if not isinstance(data, dict) or 'latency table' not in data:
                raise ValueError('is not a latency table: expected a file of fpnas latency measure')
            if data['latency table'] != FORMAT:
                raise ValueError(f'is of format {data["latency table"]}, not {FORMAT}: measure it again')
            reference = str(data['reference']['arch']), float(data['reference']['milliseconds'])
            return cls(
                MBConvSpace.from_dict(data['space']), _setting(data), [_numbers(rates) for rates in data['groups']],
                _numbers(data['head']), float(data['constant']), reference, _numbers(data['worth'] or {}),
                str(data['date']),
            )
        except (ValueError, LookupError, TypeError, AttributeError) as e:
            what = f'has no {e}' if isinstance(e, LookupError) else one_line(e)
            raise UsageError(f'{where}: {what}') from None

    def check_space(self, space: MBConvSpace, num_classes: int, in_chans: int = 3, path: str = 'the table') -> None:
        """Raise UsageError unless the table is of this space at this size, with these classes and channels."""
        ours, theirs = ({k: v for k, v in s.to_dict().items() if k not in ('name', 'img_size')}
                        for s in (self.space, space))
        again = 'measure one with fpnas latency measure'
        if ours != theirs:
            raise UsageError(
                f'{path}: is of space {self.space.name!r}, which has other groups or choices than space '
                f'{space.name!r}: {again} --space FILE'
            )
        if self.space.img_size != space.img_size:
            raise UsageError(
                f'{path}: is of images of {shown_size(self.space.img_size)} pixels, not '
                f'{shown_size(space.img_size)}: {again} --img-size N'
            )
        if self.setting.num_classes != num_classes:
            raise UsageError(
                f'{path}: is of networks with {self.setting.num_classes} classes, not {num_classes}: {again} '
                f'--num-classes {num_classes}, or give --target-num-classes {self.setting.num_classes}'
            )
        if self.setting.in_chans != in_chans:
            raise UsageError(
                f'{path}: is of images with {self.setting.in_chans} channels, not {in_chans}: {again} --in-chans '
                f'{in_chans}'
            )


def network_work(arch: Arch) -> list[Work]:
    """The work of each group of a network for one image, and of its head convolution."""
    in_chs, size = arch.stem.channels, out_size(arch.img_size, arch.stem.stride)
    out: list[Work] = []
    for group in arch.groups:
        out.append(group_work(group, in_chs, size))
        in_chs, size = group.channels, out_size(size, group.stride)
    return [*out, conv_work(arch.head, in_chs, size)]


def _time(rates: Rates, work: Work) -> float:
    return math.fsum(rates.get(kind, 0.0) * amount for kind, amount in work.items())


def _setting(data: Mapping[str, Any]) -> Setting:
    given = {f.name: data[f.name] for f in fields(Setting)}
    for f in fields(Setting):
        expected = {'versions': Mapping, 'machine': str, 'runtime': str, 'device': str}.get(f.name, int)
        if not isinstance(given[f.name], expected):
            raise ValueError(f'{f.name}: {given[f.name]!r} is not what a latency table has there')
    return Setting(**given)


def _numbers(data: Any) -> dict[str, float]:
    if not isinstance(data, Mapping) or not all(type(v) in (int, float) and math.isfinite(v) for v in data.values()):
        raise ValueError(f'expected names with finite numbers, got {str(data)[:60]}')
    return {str(k): float(v) for k, v in data.items()}


def _short(value: float) -> float:
    return float(f'{value:.6g}')


def _rounded(rates: Rates) -> dict[str, float]:
    return {kind: _short(rate) for kind, rate in rates.items() if rate}


def _readable(data: Mapping[str, Any]) -> str:
    """JSON with a line per entry, and per item of a list of objects."""

    def shown(value: Any, indent: str) -> str:
        if isinstance(value, Mapping) and any(isinstance(v, (list, Mapping)) for v in value.values()):
            inner = ',\n'.join(f'{indent} {json.dumps(k)}: {shown(v, indent + " ")}' for k, v in value.items())
            return f'{{\n{inner}\n{indent}}}'
        if isinstance(value, list) and any(isinstance(v, Mapping) for v in value):
            return '[\n' + ',\n'.join(f'{indent} {json.dumps(v)}' for v in value) + f'\n{indent}]'
        return json.dumps(value)

    return shown(data, '')
