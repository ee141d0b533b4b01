"""Finds the most probable architecture of a distribution within windows of additive costs. Exact.

The cost of a group depends on its own choices and on the channels of the previous group (`costs`), so an architecture
is a path through a layered graph whose nodes are channels and whose edges are choices. `paths` finds the most probable
path within the windows. If too many paths are close to its bound, the problem is a mixed-integer linear program with
one 0/1 variable per edge, which SciPy's HiGHS solves. Both prove optimality.
"""
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..arch import Arch
from ..arch.cost import Cost
from .budgets import Budget, Window, windows
from .costs import AdditiveCost, network_costs
from .log_probs import joint_log_probs
from .mbconv import VARIABLES, MBConvSpace, Row, irrelevant
from .milp import UNIT, explain, solve
from .named import get_space
from .paths import TooManyPaths, best_path
from .space import Choices, HasLogProbs, LogProbs

__all__ = [
    'Budget', 'Decoded', 'InfeasibleError', 'Others', 'Window', 'decode', 'decoded', 'explain', 'joint_log_probs',
    'make_problem', 'runner_up_gap', 'solve',
]

Others = Sequence[tuple[AdditiveCost, Budget]]


class InfeasibleError(ValueError):
    """No architecture of the space is within the windows; the message has the nearest possible values."""


@dataclass(frozen=True)
class Decoded:
    """The optimum: no architecture within the windows has a log-probability above `bound` (nats)."""

    arch: Arch
    choices: Choices
    log_prob: float
    bound: float
    cost: Cost


class _Edge(NamedTuple):
    in_chs: int
    out_chs: int
    spent: tuple[float, ...]  # of each cost of the problem
    variants: tuple[tuple[float, tuple[int, ...]], ...]  # log-probability (nats) and choice of each network, best first

    @property
    def score(self) -> float:
        """Log-probability of the best choice with this cost, nats."""
        return self.variants[0][0]

    @property
    def choice(self) -> tuple[int, ...]:
        return self.variants[0][1]


class Problem(NamedTuple):
    space: MBConvSpace
    layers: list[list[_Edge]]
    costs: list[AdditiveCost]
    windows: dict[int, Window]  # by the place of the cost in `costs`

    def unit(self, at: int) -> float:
        """What the solver gets a cost in: millions; if it is no count, a hundredth of what the window allows."""
        return UNIT if at < len(Cost._fields) else max(filter(math.isfinite, self.windows[at]), default=0) / 100 or 1

    def within(self, budgets: Mapping[str, Budget | None]) -> 'Problem':
        """The same problem with other budgets: name of the cost -> budget, None for no limit."""
        limits = windows(budgets)
        return self._replace(windows={i: limits[c.name] for i, c in enumerate(self.costs) if c.name in limits})

    def limits(self) -> list[tuple[int, float, float]]:
        """The windows as `paths` takes them: what the choices may spend, without what is fixed."""
        return [
            (at, low - self.costs[at].constant, high - self.costs[at].constant)
            for at, (low, high) in self.windows.items()
        ]

    def choices(self, path: Sequence[int]) -> Choices:
        """The most probable architecture of a path."""
        return tuple(layer[i].choice for layer, i in zip(self.layers, path))

    def is_within(self, choices: Choices) -> bool:
        """Whether an architecture is within the windows, not only within the solver's tolerance."""
        return all(low <= self.costs[at](choices) <= high for at, (low, high) in self.windows.items())

    def counts(self, choices: Choices) -> Cost:
        """Multiply-adds and parameters of an architecture."""
        return Cost(*(int(cost(choices)) for cost in self.costs[: len(Cost._fields)]))


def decode(
        space: MBConvSpace | str,
        log_probs: 'LogProbs | HasLogProbs',
        macs: Budget | None = None,
        params: Budget | None = None,
        num_classes: int = 1000,
        in_chans: int = 3,
        others: Others = (),
) -> Decoded:
    """The most probable architecture of a space within budgets.

    For choices that do not affect the cost (the non-linearity) or the network (in a bypassed group), the most probable
    one is used; if several are equally probable, the first one.

    Args:
        space: the search space, with the input size at which multiply-adds are counted; or its name or file.
        log_probs: log-probabilities in nats; for each group, a dict of variable -> 1-D array (factorised), or one array
            with one axis per variable (joint). Choices of probability 0 (-inf) are never used. Or a distribution.
        macs: minimum and maximum multiply-adds per image; N or '3M' means (0, N), None means no limit.
        params: minimum and maximum number of learnable parameters, in the same form.
        num_classes: number of outputs of the classifier, which counts towards both budgets.
        in_chans: number of image channels.
        others: budgets of other additive costs of the space, in the same form.

    Returns:
        The architecture with its log-probability and the solver's proven upper bound.

    Raises:
        InfeasibleError: no architecture of the space is within the windows.
        ValueError: `log_probs` does not match the space, or a window is empty.
        RuntimeError: the solver failed.

    Kernel 5 and 16 channels are the most probable choices, and each is too much for the budget:

    >>> from fpnas_timm.arch import Conv
    >>> rows = [Row(expansion=(2,), channels=(8, 16), repeat=1, stride=2, kernel=(0, 3, 5), act=('re',), splits=(0, 1))]
    >>> space = MBConvSpace.from_rows('tiny', Conv(3, 2, 8, 'sw'), rows, Conv(1, 1, 32, 'sw'), img_size=32)
    >>> probs = {'kernel': [.1, .3, .6], 'act': [1], 'splits': [.7, .3], 'expansion': [1], 'channels': [.4, .6]}
    >>> log_probs = [{variable: np.log(p) for variable, p in probs.items()}]
    >>> decode(space, log_probs, num_classes=10).cost
    Cost(macs=163136, params=2018)
    >>> found = decode(space, log_probs, macs=130_000, num_classes=10)
    >>> print(found.arch)
    i32-cn_r1_k3_s2_c8_nsw-ir_r1_k3_s2_e2_c8_nre-cn_r1_k1_s1_c32_nsw
    >>> found.cost
    Cost(macs=122176, params=1362)
    >>> round(float(np.exp(found.log_prob)), 3)  # 0.3 (kernel) x 0.7 (splits) x 0.4 (channels)
    0.084
    """
    space = get_space(space) if isinstance(space, str) else space
    return decoded(make_problem(space, log_probs, macs, params, num_classes, in_chans, others))


def decoded(problem: Problem) -> Decoded:
    """The most probable architecture of a problem; errors as in `decode`."""
    try:
        path, objective = best_path(problem.layers, problem.limits()) or (None, -math.inf)
    except TooManyPaths:
        path, objective = solve(problem, [])
    excluded: list[list[int]] = []
    while True:
        if path is None:
            raise InfeasibleError(explain(problem))
        choices = problem.choices(path)
        if problem.is_within(choices):
            break
        excluded.append(path)  # within the solver's tolerance, but not within the window
        path, objective = solve(problem, excluded)
    log_prob = math.fsum(layer[i].score for layer, i in zip(problem.layers, path))
    return Decoded(problem.space.to_arch(choices), choices, log_prob, max(objective, log_prob), problem.counts(choices))


def runner_up_gap(
        decoded: Decoded,
        space: MBConvSpace | str,
        log_probs: 'LogProbs | HasLogProbs',
        macs: Budget | None = None,
        params: Budget | None = None,
        num_classes: int = 1000,
        in_chans: int = 3,
        others: Others = (),
) -> float:
    """The difference (nats) in log-probability between the best and the second best architecture within the windows.

    `inf` if there is no second one. If the gap is above the solver's tolerance (1e-6), the optimum is unique and every
    exact solver finds it. Arguments as in `decode`; `decoded` is its result.
    """
    space = get_space(space) if isinstance(space, str) else space
    problem = make_problem(space, log_probs, macs, params, num_classes, in_chans, others)
    path = []
    in_chs = space.stem.channels
    for layer, choice in zip(problem.layers, decoded.choices):
        index = next(i for i, e in enumerate(layer) if e.in_chs == in_chs and e.choice == choice)
        in_chs = layer[index].out_chs
        path.append(index)
    chosen = [layer[i].variants for layer, i in zip(problem.layers, path)]
    gap = min((v[0][0] - v[1][0] for v in chosen if len(v) > 1), default=math.inf)
    other, objective = solve(problem, [path])
    return gap if other is None else min(gap, decoded.log_prob - objective)


def make_problem(
        space: MBConvSpace,
        log_probs: 'LogProbs | HasLogProbs',
        macs: Budget | None,
        params: Budget | None,
        num_classes: int,
        in_chans: int,
        others: Others = (),
) -> Problem:
    """What the solver gets; arguments as in `decode`."""
    given = log_probs.log_probs() if hasattr(log_probs, 'log_probs') else log_probs
    if not isinstance(given, Sequence):
        expected = 'one entry per group, or a distribution such as the `distribution` of a search result'
        raise ValueError(f'log_probs: expected {expected}; got {type(given).__name__}')
    for other, _ in others:
        if other.space.groups != space.groups or other.link not in (None, 'channels'):
            raise ValueError(f'cost {other.name!r}: expected one of space {space.name!r}, linked by channels')
    costs = [*network_costs(space, num_classes, in_chans), *(other for other, _ in others)]
    asked: dict[str, Budget | None] = {'macs': macs, 'params': params, **{c.name: budget for c, budget in others}}
    if len(asked) < len(costs):
        raise ValueError(f'expected costs of different names, got {", ".join(c.name for c in costs)}')
    in_channels: tuple[int, ...] = (space.stem.channels,)
    layers = []
    for i, (row, joint) in enumerate(zip(space.rows, joint_log_probs(space, given))):
        layers.append(_edges(row, joint, in_channels, [c.tables[i] for c in costs]))
        in_channels = row.channels
    tails = [c.tail if len(c.tail) > 1 else [c.tail[0]] * len(in_channels) for c in costs]
    for i, e in enumerate(layers[-1]):
        after = in_channels.index(e.out_chs)
        layers[-1][i] = e._replace(spent=tuple(x + tail[after] for x, tail in zip(e.spent, tails)))
    return Problem(space, layers, costs, {}).within(asked)


def _edges(
        row: Row, joint: np.ndarray, in_channels: tuple[int, ...], tables: Sequence[Sequence[Sequence[float]]]
) -> list[_Edge]:
    """The edges of a group: one for all choices with equal channels and costs; their networks are its variants.

    Args:
        row: the choices of the group.
        joint: log-probability (nats) of every combination, one axis per variable.
        in_channels: possible numbers of input channels.
        tables: for each cost, that of every combination after each number of input channels (`AdditiveCost.tables`).
    """
    found: dict[tuple[int, int, tuple[float, ...]], dict[tuple[int, ...], tuple[float, tuple[int, ...]]]] = {}
    options = list(row.variables.values())
    costly = [axis for axis, v in enumerate(VARIABLES) if v.has_cost]
    free = [axis for axis, v in enumerate(VARIABLES) if not v.has_cost]
    order = np.argsort(costly + free)
    at = np.arange(joint.size).reshape(joint.shape)
    for before, in_chs in enumerate(in_channels):
        columns = [table[before if len(table) > 1 else 0] for table in tables]
        for priced in itertools.product(*(range(len(options[axis])) for axis in costly)):
            indices = (*priced, *(0 for _ in free))
            first = [indices[i] for i in order]
            group = row.group({v.name: choices[i] for v, choices, i in zip(VARIABLES, options, first)})
            # choices that differ only in irrelevant variables are one network, of which the most probable one counts
            unused = irrelevant(group.kernel, group.stride == 1 and in_chs == group.channels)
            relevant = [axis for axis, v in enumerate(VARIABLES) if v.name not in unused]
            for unpriced in itertools.product(*(range(len(options[axis])) for axis in free)):
                indices = (*priced, *unpriced)
                choice = tuple(indices[i] for i in order)
                spent = tuple(column[at[choice]] for column in columns)
                networks = found.setdefault((in_chs, group.channels, spent), {})
                score, network = float(joint[choice]), tuple(choice[axis] for axis in relevant)
                if score > networks.get(network, (-math.inf,))[0]:
                    networks.pop(network, None)  # of equally probable ones, the first that is so probable comes first
                    networks[network] = score, choice
    return [
        _Edge(*key, tuple(sorted(networks.values(), key=lambda variant: -variant[0])))
        for key, networks in found.items() if networks
    ]
