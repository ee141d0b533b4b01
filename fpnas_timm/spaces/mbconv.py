"""Spaces of MBConv networks: rows as in the supplement's Tables D.4 to D.6.

Each row gives one choice of kernel, non-linearity, splits, expansion and channels for all of its repeated blocks.
"""
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from ..arch import Arch, ArchError, Conv, Group
from ..arch.checks import named_entries, relabel_errors
from .space import Choices, Generator, SearchSpace

__all__ = ['MBConvSpace', 'Row', 'steps']


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
            with relabel_errors('img_size', 'stem', *(f'rows[{i}]' for i in range(len(rows))), 'head'):
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

    def describe(self, choices: Choices) -> str:
        """The architecture string of these choices; `ValueError` if they are not of this space."""
        return str(self.to_arch(choices))

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


def steps(low: float, high: float, step: float) -> tuple[Any, ...]:
    """The choices that the tables print as (min, max, step): min, min + step, .. up to max."""
    if not (step > 0 and low <= high):
        raise ValueError(f'({low}, {high}, {step}): expected (min, max, step) with min <= max and a step above 0')
    count = int((high - low) / step + 1e-9) + 1
    return tuple(round(low + i * step, 4) for i in range(count))  # 0.1 + 2 * 0.1 is 0.3
