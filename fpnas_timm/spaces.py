"""Search spaces: the paper's macro and micro tables as data, and what follows from them.

A `SearchSpace` is an ordered list of groups, a group an ordered dict of variable -> choices; the search knows no more.
An `MBConvSpace` is one whose choices are architectures: rows as in the supplement's Tables D.4 to D.6, each giving one
choice of kernel, non-linearity, splits, expansion and channels for all of the row's repeated blocks.
"""
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

from .arch import Arch, ArchError, Conv, Group, load_json, named_entries, renamed

if TYPE_CHECKING:
    import torch

__all__ = ['Choices', 'MBConvSpace', 'Row', 'SearchSpace', 'get_space', 'list_spaces', 'steps']

Choices = tuple[tuple[int, ...], ...]  # per group, per variable: the index of the choice
Generator = Union[random.Random, 'torch.Generator']


@dataclass(frozen=True)
class SearchSpace:
    """An ordered list of groups, each an ordered dict of variable -> choices.

    An architecture of the space is a `Choices`: per group, per variable, an index.

    Raises:
        ValueError: no group, a group without a variable, a variable without a choice or with one twice.
    """

    name: str
    groups: tuple[Mapping[str, tuple[Any, ...]], ...]

    def __post_init__(self) -> None:
        if not self.groups:
            raise ValueError(f'space {self.name!r}: expected at least one group')
        for i, group in enumerate(self.groups):
            if not group:
                raise ValueError(f'space {self.name!r}, group {i}: expected at least one variable')
            for variable, choices in group.items():
                if not choices:
                    raise ValueError(f'space {self.name!r}, group {i}: variable {variable!r} has no choice')
                if len(set(choices)) < len(choices):
                    raise ValueError(f'space {self.name!r}, group {i}: variable {variable!r} has a choice twice')
        object.__setattr__(self, 'groups', tuple({v: tuple(c) for v, c in g.items()} for g in self.groups))

    @property
    def num_archs(self) -> int:
        """How many architectures (combinations of choices) the space holds, exactly."""
        return math.prod(len(choices) for group in self.groups for choices in group.values())

    def sample(self, generator: Generator) -> Choices:
        """One architecture, uniformly, from a `random.Random` or a `torch.Generator`."""
        draw = generator.randrange if isinstance(generator, random.Random) else _torch_randrange(generator)
        return tuple(tuple(draw(len(choices)) for choices in group.values()) for group in self.groups)

    def values(self, choices: Choices) -> list[dict[str, Any]]:
        """Per group the chosen value of each variable.

        Raises:
            ValueError: `choices` is not of this space.
        """
        if len(choices) != len(self.groups):
            raise ValueError(f'space {self.name!r} has {len(self.groups)} groups, got choices for {len(choices)}')
        out = []
        for i, (group, chosen) in enumerate(zip(self.groups, choices)):
            if len(chosen) != len(group) or any(not 0 <= k < len(c) for k, c in zip(chosen, group.values())):
                raise ValueError(f'space {self.name!r}, group {i}: {tuple(chosen)} does not index {dict(group)}')
            out.append({variable: c[k] for k, (variable, c) in zip(chosen, group.items())})
        return out


@dataclass(frozen=True)
class Row:
    """A row of a macro table with the choices of its MBConv group."""

    expansion: tuple[float, ...]
    channels: tuple[int, ...]
    repeat: int
    stride: int
    kernel: tuple[int, ...]
    act: tuple[str, ...]
    splits: tuple[int, ...]

    @property
    def variables(self) -> dict[str, tuple[Any, ...]]:
        names = ('kernel', 'act', 'splits', 'expansion', 'channels')
        return {name: tuple(getattr(self, name)) for name in names}


@dataclass(frozen=True)
class MBConvSpace(SearchSpace):
    """A space of MBConv networks: `MBConvSpace.from_rows`, or a JSON file and `get_space(path)`."""

    stem: Conv
    head: Conv
    rows: tuple[Row, ...]
    img_size: int = 224

    @classmethod
    def from_rows(cls, name: str, stem: Conv, rows: Sequence[Row], head: Conv, img_size: int = 224) -> 'MBConvSpace':
        """A space of one's own.

        Args:
            name: what messages and files call it.
            stem: the stem convolution.
            rows: one per group.
            head: the 1x1 head convolution.
            img_size: input height and width, pixels.

        Raises:
            ValueError: an empty choice, or (as `ArchError`) choices that no architecture can have.
        """
        space = cls(name, tuple(row.variables for row in rows), stem, head, tuple(rows), img_size)
        first = [[0] * len(group) for group in space.groups]
        tries = (  # every choice beside the other groups' first ones; then the largest together, hence all
            [*first[:i], [*first[i][:v], k, *first[i][v + 1 :]], *first[i + 1 :]]
            for i, group in enumerate(space.groups)
            for v, choices in enumerate(group.values())
            for k in range(len(choices))
        )
        try:
            with renamed('img_size', 'stem', *(f'rows[{i}]' for i in range(len(rows))), 'head'):
                for choices in tries:
                    space.to_arch(choices)
                space.to_arch([[c.index(max(c)) for c in group.values()] for group in space.groups])
        except ArchError as e:
            raise ArchError(f'space {name!r}: {e}') from None
        return space

    def to_arch(self, choices: Choices) -> Arch:
        """The architecture of these choices; `ValueError` if they are not of this space."""
        groups = tuple(
            Group(repeats=row.repeat, stride=row.stride, **chosen)
            for row, chosen in zip(self.rows, self.values(choices))
        )
        return Arch(self.stem, groups, self.head, self.img_size)

    def from_arch(self, arch: Arch) -> Choices:
        """The choices that give `arch`; where a bypass makes some of them irrelevant, the first ones.

        Raises:
            ValueError: `arch` is not in the space; says where it differs.
        """
        for what in ('img_size', 'stem', 'head'):
            if getattr(arch, what) != getattr(self, what):
                raise ValueError(
                    f'not in space {self.name!r}: its {what} is {getattr(self, what)}, not {getattr(arch, what)}'
                )
        if len(arch.groups) != len(self.rows):
            raise ValueError(f'not in space {self.name!r}: it has {len(self.rows)} groups, not {len(arch.groups)}')
        in_chs, out = self.stem.channels, []
        for i, (group, row) in enumerate(zip(arch.groups, self.rows)):
            irrelevant: tuple[str, ...] = ()
            if group.kernel == 0:
                identity = group.stride == 1 and in_chs == group.channels
                irrelevant = ('expansion', 'splits', 'act') if identity else ('expansion', 'splits')
            if group.stride != row.stride or (group.repeats != row.repeat and group.kernel):
                raise ValueError(
                    f'not in space {self.name!r}: group {i} has repeat {row.repeat} and stride {row.stride}, '
                    f'not {group.repeats} and {group.stride}'
                )
            chosen = []
            for variable, choices in row.variables.items():
                value = getattr(group, variable)
                if variable not in irrelevant and value not in choices:
                    raise ValueError(f'not in space {self.name!r}: group {i} has {variable} {choices}, not {value}')
                chosen.append(0 if variable in irrelevant else choices.index(value))
            in_chs = group.channels
            out.append(tuple(chosen))
        return tuple(out)

    def __contains__(self, arch: object) -> bool:
        try:
            self.from_arch(arch)  # type: ignore[arg-type]
        except (ValueError, AttributeError):
            return False
        return True

    def sample_arch(self, generator: Generator) -> Arch:
        """One architecture, uniformly over the choices."""
        return self.to_arch(self.sample(generator))

    def with_img_size(self, img_size: int, name: str | None = None) -> 'MBConvSpace':
        """The same rows at another input size in pixels."""
        return replace(self, img_size=img_size, name=name or self.name)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON, which `get_space` reads back from a file."""
        rows = [{**row.variables, 'repeat': row.repeat, 'stride': row.stride} for row in self.rows]
        return {
            'name': self.name,
            'img_size': self.img_size,
            'stem': dict(vars(self.stem)),
            'rows': rows,
            'head': dict(vars(self.head)),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> 'MBConvSpace':
        """The space of `to_dict`'s data; `ValueError` names an entry that is missing, unknown or wrong."""
        data = named_entries(data, 'search space', ('name', 'stem', 'rows', 'head'), {'img_size': 224})
        if not isinstance(data['name'], str) or not isinstance(data['rows'], (list, tuple)):
            raise ValueError('search space: expected a name (text) and rows (a list)')
        stem, head = (
            Conv(**named_entries(data[which], which, tuple(f.name for f in fields(Conv)))) for which in ('stem', 'head')
        )
        rows = []
        for i, given in enumerate(data['rows']):
            entries = named_entries(given, f'rows[{i}]', tuple(f.name for f in fields(Row)))
            row = Row(**{k: tuple(v) if isinstance(v, list) else v for k, v in entries.items()})
            for variable in ('kernel', 'act', 'splits', 'expansion', 'channels'):
                choices = getattr(row, variable)
                if not isinstance(choices, tuple) or not all(isinstance(c, (int, float, str)) for c in choices):
                    raise ValueError(f'rows[{i}]: {variable}: expected a list of choices')
            rows.append(row)
        return cls.from_rows(data['name'], stem, rows, head, data['img_size'])


def _torch_randrange(generator: 'torch.Generator') -> Any:
    import torch

    if not isinstance(generator, torch.Generator):
        raise TypeError(f'expected a random.Random or a torch.Generator, got {type(generator).__name__}')
    return lambda n: int(torch.randint(n, (), generator=generator))


def steps(low: float, high: float, step: float) -> tuple[Any, ...]:
    """The choices that the tables print as (min, max, step): min, min + step, .. up to max."""
    if not (step > 0 and low <= high):
        raise ValueError(f'({low}, {high}, {step}): expected (min, max, step) with min <= max and a step above 0')
    count = int((high - low) / step + 1e-9) + 1
    return tuple(round(low + i * step, 4) for i in range(count))  # 0.1 + 2 * 0.1 is 0.3


# ---------------------------------------------------------------- the paper's tables

_FBNETV2 = {'kernel': (0, 3, 5), 'act': ('re', 'sw'), 'splits': (0, 1)}  # main Table 2
_FPNAS = {'kernel': (0, 3, 5), 'act': ('re', 'sw'), 'splits': (0, 1, 2, 4)}
_HEAD = Conv(kernel=1, stride=1, channels=1984, act='sw')

# (expansion, channels, repeat, stride); expansion and channels as (min, max, step)
_FBNETV2_F = [  # main Table 1
    ((1, 1, 1), (12, 16, 4), 1, 1),
    ((0.75, 4.5, 0.75), (16, 24, 4), 1, 2),
    ((0.75, 4.5, 0.75), (16, 24, 4), 2, 1),
    ((0.75, 4.5, 0.75), (16, 40, 8), 1, 2),
    ((0.75, 4.5, 0.75), (16, 40, 8), 2, 1),
    ((0.75, 4.5, 0.75), (48, 80, 8), 1, 2),
    ((0.75, 4.5, 0.75), (48, 80, 8), 2, 1),
    ((0.75, 4.5, 0.75), (72, 112, 8), 3, 1),
    ((0.75, 4.5, 0.75), (112, 184, 8), 1, 2),
    ((0.75, 4.5, 0.75), (112, 184, 8), 3, 1),
]
_L0 = [  # Table D.4
    ((1.5, 6.0, 0.75), (8, 32, 8), 1, 1),
    ((1.5, 6.0, 0.75), (16, 32, 8), 2, 2),
    ((1.5, 6.0, 0.75), (16, 32, 8), 2, 1),
    ((1.5, 6.0, 0.75), (16, 56, 8), 2, 2),
    ((1.5, 6.0, 0.75), (16, 56, 8), 2, 1),
    ((1.5, 6.0, 0.75), (48, 96, 16), 4, 2),
    ((1.5, 6.0, 0.75), (48, 96, 16), 3, 1),
    ((1.5, 6.0, 0.75), (72, 136, 16), 3, 1),
    ((1.5, 6.0, 0.75), (112, 224, 16), 2, 2),
    ((1.5, 6.0, 0.75), (112, 224, 16), 2, 1),
    ((1.5, 6.0, 0.75), (168, 280, 16), 2, 1),
]
_L1_L2 = [  # Tables D.5 and D.6 differ in input size only
    ((1.5, 6.0, 0.75), (16, 40, 8), 1, 1),
    ((1.5, 6.0, 0.75), (24, 40, 8), 2, 2),
    ((1.5, 6.0, 0.75), (24, 40, 8), 2, 1),
    ((1.5, 6.0, 0.75), (24, 72, 8), 3, 2),
    ((1.5, 6.0, 0.75), (24, 72, 8), 2, 1),
    ((1.5, 6.0, 0.75), (64, 120, 16), 3, 2),
    ((1.5, 6.0, 0.75), (64, 120, 16), 3, 1),
    ((1.5, 6.0, 0.75), (88, 168, 16), 3, 1),
    ((1.5, 6.0, 0.75), (88, 168, 16), 3, 1),
    ((1.5, 6.0, 0.75), (136, 272, 16), 2, 2),
    ((1.5, 6.0, 0.75), (136, 272, 16), 2, 1),
    ((1.5, 6.0, 0.75), (208, 336, 16), 2, 1),
    ((1.5, 6.0, 0.75), (208, 336, 16), 2, 1),
]
# name: macro table, micro table, stem channels, input size
_SPACES: dict[str, tuple[list, dict[str, tuple], int, int]] = {
    'fbnetv2_f': (_FBNETV2_F, _FBNETV2, 16, 224),
    'fbnetv2_f++': (_FBNETV2_F, _FPNAS, 16, 224),
    'fpnas_s1pp': (_FBNETV2_F, _FPNAS, 16, 128),
    'fpnas_s2pp': (_FBNETV2_F, _FPNAS, 16, 160),
    'fpnas_s3pp': (_FBNETV2_F, _FPNAS, 16, 192),
    'fpnas_s4pp': (_FBNETV2_F, _FPNAS, 16, 224),
    'fpnas_l0': (_L0, _FPNAS, 16, 224),
    'fpnas_l1': (_L1_L2, _FPNAS, 24, 240),
    'fpnas_l2': (_L1_L2, _FPNAS, 24, 256),
}


def list_spaces() -> list[str]:
    """The names `get_space` knows."""
    return list(_SPACES)


def get_space(name: str) -> MBConvSpace:
    """A space of the paper by name, or a user's own by the path of its JSON file.

    Raises:
        ValueError: unknown name (with the known ones), or a file that does not hold a space.
        FileNotFoundError: there is no such file.
    """
    if str(name).endswith('.json'):
        path = Path(name)
        try:
            return MBConvSpace.from_dict(load_json(path.read_text(encoding='utf-8')))
        except ValueError as e:
            raise ValueError(f'{path}: {e}') from None
    if name not in _SPACES:
        raise ValueError(f'unknown search space {name!r}: expected one of {", ".join(_SPACES)}, or a .json file')
    macro, micro, stem, img_size = _SPACES[name]
    rows = tuple(Row(steps(*e), steps(*c), repeat, stride, **micro) for e, c, repeat, stride in macro)
    stem_conv = Conv(kernel=3, stride=2, channels=stem, act='sw')
    return MBConvSpace(name, tuple(row.variables for row in rows), stem_conv, _HEAD, rows, img_size)
