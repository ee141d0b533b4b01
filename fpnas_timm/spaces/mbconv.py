"""Spaces of MBConv networks, defined by rows as in the supplement's Tables D.4 to D.6.

All repeated blocks of a row have the same kernel, non-linearity, splits, expansion and channels.
"""
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

from ..arch import Arch, ArchError, Conv, Group
from ..arch.checks import named_entries, relabel_errors
from ..arch.sizes import ImgSize, simplest_size
from .space import Choices, Generator, SearchSpace

__all__ = ['VARIABLES', 'MBConvSpace', 'Row', 'Variable', 'irrelevant', 'steps']


class Variable(NamedTuple):
    """A search variable, which is chosen for each group.

    Attributes:
        name: the field of `Row` with its choices, and the field of `Group` with the chosen value.
        in_bypass: whether a bypassed group depends on it.
        in_identity: whether a group that is an identity (bypassed, stride 1, equal channels) depends on it.
        has_cost: whether multiply-adds or parameters depend on it.
    """

    name: str
    in_bypass: bool = True
    in_identity: bool = True
    has_cost: bool = True


# The order is that of a group's indices and of the axes of a joint distribution.
VARIABLES = (
    Variable('kernel'),
    Variable('act', in_identity=False, has_cost=False),
    Variable('splits', in_bypass=False, in_identity=False),
    Variable('expansion', in_bypass=False, in_identity=False),
    Variable('channels'),
)


def irrelevant(kernel: int, is_identity: bool) -> frozenset[str]:
    """The variables that have no effect on a group with this kernel.

    >>> sorted(irrelevant(0, is_identity=False)), sorted(irrelevant(0, is_identity=True)), sorted(irrelevant(3, False))
    (['expansion', 'splits'], ['act', 'expansion', 'splits'], [])
    """
    if kernel:
        return frozenset()
    return frozenset(v.name for v in VARIABLES if not (v.in_identity if is_identity else v.in_bypass))


@dataclass(frozen=True)
class Row:
    """One row of a macro table: the choices of an MBConv group."""

    expansion: tuple[float, ...]
    channels: tuple[int, ...]
    repeat: int
    stride: int
    kernel: tuple[int, ...]
    act: tuple[str, ...]
    splits: tuple[int, ...]

    @property
    def variables(self) -> dict[str, tuple[Any, ...]]:
        """Variable -> its choices, in the order of `VARIABLES`."""
        return {v.name: tuple(getattr(self, v.name)) for v in VARIABLES}

    def group(self, chosen: Mapping[str, Any]) -> Group:
        """The group with these choices: variable -> value."""
        return Group(repeats=self.repeat, stride=self.stride, **chosen)


@dataclass(frozen=True)
class MBConvSpace(SearchSpace):
    """A space of MBConv networks, created by `MBConvSpace.from_rows`, or from a JSON file by `get_space(path)`."""

    stem: Conv
    head: Conv
    rows: tuple[Row, ...]
    img_size: ImgSize = 224  # pixels: of a square, or height and width

    @classmethod
    def from_rows(
            cls, name: str, stem: Conv, rows: Sequence[Row], head: Conv, img_size: ImgSize = 224
    ) -> 'MBConvSpace':
        """Create a space from its rows.

        Args:
            name: name of the space, for messages and files.
            stem: the stem convolution.
            rows: one row per group.
            head: the 1x1 head convolution.
            img_size: input size in pixels: one number for a square, or (height, width).

        Raises:
            ValueError: a variable without choices, or (`ArchError`) choices that no architecture can have.
        """
        variables = tuple(row.variables for row in rows)
        space = cls(name, variables, stem, head, tuple(rows), simplest_size(img_size))
        first = tuple((0,) * len(group) for group in space.groups)
        tries = (  # every choice beside the other groups' first ones; then the largest together, hence all
            (*first[:i], (*first[i][:v], k, *first[i][v + 1 :]), *first[i + 1 :])
            for i, group in enumerate(space.groups)
            for v, choices in enumerate(group.values())
            for k in range(len(choices))
        )
        try:
            with relabel_errors('img_size', 'stem', *(f'rows[{i}]' for i in range(len(rows))), 'head'):
                for choices in tries:
                    space.to_arch(choices)
                space.to_arch(tuple(tuple(c.index(max(c)) for c in group.values()) for group in space.groups))
        except ArchError as e:
            raise ArchError(f'space {name!r}: {e}') from None
        return space

    def to_arch(self, choices: Choices) -> Arch:
        """The architecture of these choices; `ValueError` if they are not in this space."""
        groups = tuple(row.group(chosen) for row, chosen in zip(self.rows, self.values(choices)))
        return Arch(self.stem, groups, self.head, self.img_size)

    def describe(self, choices: Choices) -> str:
        """The architecture string of these choices; `ValueError` if they are not in this space."""
        return str(self.to_arch(choices))

    def from_arch(self, arch: Arch) -> Choices:
        """The choices of `arch`; for variables that have no effect in a bypassed group, the first choice.

        Raises:
            ValueError: `arch` is not in the space; the message says where it differs.
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
            unused = irrelevant(group.kernel, group.stride == 1 and in_chs == group.channels)
            if group.stride != row.stride or (group.repeats != row.repeat and group.kernel):
                raise ValueError(
                    f'not in space {self.name!r}: group {i} has repeat {row.repeat} and stride {row.stride}, '
                    f'not {group.repeats} and {group.stride}'
                )
            chosen = []
            for variable, choices in row.variables.items():
                value = getattr(group, variable)
                if variable not in unused and value not in choices:
                    raise ValueError(f'not in space {self.name!r}: group {i} has {variable} {choices}, not {value}')
                chosen.append(0 if variable in unused else choices.index(value))
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
        """Sample an architecture uniformly over the choices."""
        return self.to_arch(self.sample(generator))

    def with_img_size(self, img_size: ImgSize, name: str | None = None) -> 'MBConvSpace':
        """The same space with a different input size in pixels: one number, or (height, width)."""
        return replace(self, img_size=simplest_size(img_size), name=name or self.name)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for a JSON file that `get_space` can read."""
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
        """The inverse of `to_dict`; `ValueError` names an entry that is missing, unknown or invalid."""
        data = named_entries(data, 'search space', ('name', 'stem', 'rows', 'head'), {'img_size': 224})
        if not isinstance(data['name'], str) or not isinstance(data['rows'], (list, tuple)):
            raise ValueError('search space: expected a name (text) and rows (a list)')
        stem, head = (
            Conv(**named_entries(data[which], which, tuple(f.name for f in fields(Conv)))) for which in ('stem', 'head')
        )
        rows = []
        for i, given in enumerate(data['rows']):
            entries = named_entries(given, f'rows[{i}]', tuple(f.name for f in fields(Row)))
            entries = {key: tuple(v) if isinstance(v, list) else v for key, v in entries.items()}
            row = Row(**entries)
            for variable in VARIABLES:
                choices = getattr(row, variable.name)
                if not isinstance(choices, tuple) or not all(isinstance(c, (int, float, str)) for c in choices):
                    raise ValueError(f'rows[{i}]: {variable.name}: expected a list of choices')
            rows.append(row)
        return cls.from_rows(data['name'], stem, rows, head, data['img_size'])


def steps(low: float, high: float, step: float) -> tuple[Any, ...]:
    """The choices that the paper's tables give as (min, max, step): min, min + step, .. up to max.

    >>> steps(64, 120, 16)
    (64, 80, 96, 112)
    """
    if not (step > 0 and low <= high):
        raise ValueError(f'({low}, {high}, {step}): expected (min, max, step) with min <= max and a step above 0')
    count = int((high - low) / step + 1e-9) + 1
    return tuple(round(low + i * step, 4) for i in range(count))  # 0.1 + 2 * 0.1 is 0.3
