"""Additive costs: what a group costs depends on its own choices and on one choice of the group before it.

Multiply-adds and parameters are such costs: a group's depend on its choices and on its input channels. So is any other
that is given as tables, such as measured milliseconds. The decode, the expected cost of a distribution and the budgets
of a search work on all of them in the same way.
"""
import itertools
import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ..arch.cost import Cost, conv_cost, group_cost, group_costs
from ..arch.sizes import out_size
from .mbconv import VARIABLES, MBConvSpace
from .space import Choices, SearchSpace

__all__ = ['AdditiveCost', 'network_costs', 'tabulated']

Tables = Sequence[Sequence[Sequence[float]]]


@dataclass(frozen=True, eq=False)
class AdditiveCost:
    """cost(A) = constant + sum over groups l of tables[l][s][c] + tail[s'].

    c is the combination of choices of group l, counted in the order of its variables with the last one fastest; s is
    the choice of the variable `link` in the group before (0 for the first group, or if that group has no such
    variable); s' is that of the last group.

    Attributes:
        name: a word, such as 'macs'.
        unit: what it counts, for messages, such as 'multiply-adds'.
        space: the space of the architectures.
        tables: for each group, for each choice s of the group before, the cost of each combination c.
        tail: cost of what comes after the last group, for each choice s' of it.
        constant: cost of what no choice changes.
        link: the variable of a group that the cost of the next group depends on; None: there is none.

    Raises:
        ValueError: tables or tail do not fit the space, no group has the variable `link`, or a cost is not a finite
            number.

    >>> space = SearchSpace('cells', ({'op': ('conv', 'pool'), 'width': (8, 16)}, {'op': ('conv', 'pool')}))
    >>> ms = AdditiveCost('ms', 'milliseconds', space, [[[2, 4, 1, 2]], [[3, 1], [5, 1]]], constant=10, link='width')
    >>> ms(((0, 1), (0,)))  # 10, a conv of width 16, and a conv after width 16
    19
    >>> ms.range()
    (12, 19)
    """

    name: str
    unit: str
    space: SearchSpace
    tables: Tables
    tail: Sequence[float] = (0,)
    constant: float = 0
    link: str | None = None

    def __post_init__(self) -> None:
        groups = self.space.groups
        _check_link(self.space, self.name, self.link)
        if len(self.tables) != len(groups):
            raise ValueError(f'cost {self.name!r}: space {self.space.name!r} has {len(groups)} groups, not '
                             f'{len(self.tables)}')
        before = 1
        for i, (group, table) in enumerate(zip(groups, self.tables)):
            size = math.prod(map(len, group.values()))
            if len(table) != before or any(len(row) != size for row in table):
                raise ValueError(f'cost {self.name!r}, group {i}: expected {before} rows of {size} costs, got rows of '
                                 f'{[len(row) for row in table]}')
            before = self.states(i)
        if len(self.tail) not in (1, before):
            raise ValueError(f'cost {self.name!r}: expected a tail of {before} costs, got {len(self.tail)}')
        for value in itertools.chain([self.constant], self.tail, *(row for table in self.tables for row in table)):
            if not math.isfinite(value):
                raise ValueError(f'cost {self.name!r}: {value} is not a finite number')

    def states(self, group: int) -> int:
        """The number of choices of a group that the cost of the next one tells apart."""
        return len(self.space.groups[group].get(self.link or '', (0,)))

    def state(self, group: int, chosen: Sequence[int]) -> int:
        """The row of the next group's table after these choices of a group."""
        return next((k for k, variable in zip(chosen, self.space.groups[group]) if variable == self.link), 0)

    def combination(self, group: int, chosen: Sequence[int]) -> int:
        """The column of a group's table for its choices."""
        at = 0
        for k, choices in zip(chosen, self.space.groups[group].values()):
            at = at * len(choices) + k
        return at

    def __call__(self, choices: Choices) -> float:
        """The cost of an architecture; exact if all costs are whole numbers."""
        total, state = self.constant, 0
        for i, chosen in enumerate(choices):
            total += self.tables[i][state][self.combination(i, chosen)]
            state = self.state(i, chosen)
        return total + self.tail[state if len(self.tail) > 1 else 0]

    def range(self) -> tuple[float, float]:
        """The smallest and the largest cost of an architecture of the space."""
        totals: list[tuple[float, float]] = [(0, 0)]
        for i, table in enumerate(self.tables):
            after: list[tuple[float, float]] = [(math.inf, -math.inf)] * self.states(i)
            combinations = itertools.product(*(range(len(c)) for c in self.space.groups[i].values()))
            for c, chosen in enumerate(combinations):
                state = self.state(i, chosen)
                low, high = after[state]
                for (least, most), row in zip(totals, table):
                    low, high = min(low, least + row[c]), max(high, most + row[c])
                after[state] = low, high
            totals = after
        tail = self.tail if len(self.tail) > 1 else [self.tail[0]] * len(totals)
        ends = [(low + t, high + t) for (low, high), t in zip(totals, tail)]
        return min(low for low, _ in ends) + self.constant, max(high for _, high in ends) + self.constant


def network_costs(space: MBConvSpace, num_classes: int = 1000, in_chans: int = 3) -> tuple[AdditiveCost, AdditiveCost]:
    """The multiply-adds ('macs') and the parameters ('params') of the networks of a space: `arch.cost` as tables.

    Args:
        space: the search space, with the input size at which multiply-adds are counted.
        num_classes: number of outputs of the classifier.
        in_chans: number of image channels.

    >>> from fpnas_timm.spaces import get_space
    >>> macs, params = network_costs(get_space('fpnas_l0'))
    >>> macs.range(), params.range()
    ((26883840, 1513808768), (2355224, 28441016))
    """
    size = out_size(space.img_size, space.stem.stride)
    in_channels: tuple[int, ...] = (space.stem.channels,)
    tables: list[list[list[Cost]]] = []
    for row in space.rows:
        options = list(row.variables.values())
        priced = [len(choices) if v.has_cost else 1 for v, choices in zip(VARIABLES, options)]
        table = []
        for in_chs in in_channels:
            known = {
                chosen: group_cost(
                    row.group({v.name: choices[k] for v, choices, k in zip(VARIABLES, options, chosen)}), in_chs, size
                )
                for chosen in itertools.product(*map(range, priced))
            }
            table.append([
                known[tuple(k if v.has_cost else 0 for v, k in zip(VARIABLES, chosen))]
                for chosen in itertools.product(*(range(len(choices)) for choices in options))
            ])
        tables.append(table)
        in_channels, size = row.channels, out_size(size, row.stride)
    parts = group_costs(space.to_arch(tuple((0,) * len(g) for g in space.groups)), None, num_classes, in_chans)
    heads = [conv_cost(space.head, channels, size) for channels in in_channels]
    rest = parts['stem'] + parts['classifier']

    def one(index: int, unit: str) -> AdditiveCost:
        return AdditiveCost(
            Cost._fields[index], unit, space, [[[c[index] for c in costs] for costs in table] for table in tables],
            [head[index] for head in heads], rest[index], 'channels',
        )

    return one(0, 'multiply-adds'), one(1, 'parameters')


def tabulated(
        space: SearchSpace,
        cost: Callable[[Choices], float],
        name: str = 'cost',
        unit: str = 'units',
        link: str | None = None,
        checked: int = 200,
) -> AdditiveCost:
    """The tables of a cost that is known as a function, if it is additive.

    Args:
        space: the search space.
        cost: the cost of an architecture; called once per entry of the tables, and for the check.
        name: as in `AdditiveCost`.
        unit: as in `AdditiveCost`.
        link: as in `AdditiveCost`.
        checked: number of random architectures on which the tables are compared with `cost`.

    Raises:
        ValueError: the cost of one of these architectures is not the sum of the tables, to one part in a billion; or
            no group has the variable `link`.

    >>> space = SearchSpace('cells', tuple({'width': (1, 2, 3)} for _ in range(4)))
    >>> tabulated(space, lambda arch: sum(k for group in arch for k in group)).range()
    (0, 8)
    """
    _check_link(space, name, link)
    base = [(0,) * len(group) for group in space.groups]
    variables = [list(group) for group in space.groups]
    constant, tables = cost(tuple(base)), []

    def after(i: int) -> Iterable[tuple[int, ...]]:
        """The choices of group i, one for each row of the next group's table."""
        at = variables[i].index(link) if link in variables[i] else None
        for s in range(len(space.groups[i][str(link)])) if at is not None else (0,):
            yield tuple(s if v == at else 0 for v in range(len(variables[i])))

    for i, group in enumerate(space.groups):
        table = []
        for previous in after(i - 1) if i else (None,):
            given = list(base)
            if previous is not None:
                given[i - 1] = previous
            without = cost(tuple(given))
            table.append([
                cost((*given[:i], chosen, *given[i + 1 :])) - without
                for chosen in itertools.product(*(range(len(c)) for c in group.values()))
            ])
        tables.append(table)
    found = AdditiveCost(name, unit, space, tables, constant=constant, link=link)
    rng = random.Random(0)
    for arch in (space.sample(rng) for _ in range(checked)):
        own, true = found(arch), cost(arch)
        if abs(own - true) > 1e-9 * max(abs(true), abs(own)):
            raise ValueError(
                f'cost {name!r} is not additive: {space.describe(arch)} costs {true:,.10g}, the sum of its groups is '
                f'{own:,.10g}'
            )
    return found


def _check_link(space: SearchSpace, name: str, link: str | None) -> None:
    """Raise ValueError if no group has the variable."""
    known = {variable: None for group in space.groups for variable in group}
    if link is not None and link not in known:
        raise ValueError(
            f'cost {name!r}: no group of space {space.name!r} has the link {link!r}: expected one of '
            f'{", ".join(known)}, or None'
        )
