"""The decode as a mixed-integer linear program for SciPy's HiGHS, and what is said if nothing is within the windows."""
import itertools
import math
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ..arch.sizes import shown_size
from .budgets import Window
from .costs import AdditiveCost
from .mbconv import MBConvSpace
from .paths import near_path

if TYPE_CHECKING:
    from .decode import _Edge

__all__ = ['UNIT', 'explain', 'solve']

UNIT = 1e6  # the solver gets windows in millions, so that its tolerance of 1e-6 is one multiply-add or parameter
SMALL = 4000  # edges, up to which the nearest architecture is always proved


class Problem(Protocol):
    """What `decode.make_problem` returns."""

    @property
    def space(self) -> MBConvSpace: ...
    @property
    def layers(self) -> 'list[list[_Edge]]': ...
    @property
    def costs(self) -> list[AdditiveCost]: ...
    @property
    def windows(self) -> dict[int, Window]: ...
    def unit(self, at: int) -> float: ...


def solve(problem: Problem, excluded: list[list[int]], nearest: bool = False) -> tuple[list[int] | None, float]:
    """The best path that is not excluded, as one edge index per layer, and the proven bound of its objective.

    With `nearest`, paths outside of the windows are allowed, and the objective is the relative distance to the windows.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import coo_array

    layers, windows = problem.layers, problem.windows
    start = np.cumsum([0] + [len(layer) for layer in layers])
    edges = [e for layer in layers for e in layer]
    size = len(edges) + 2 * len(windows)  # two slack variables per window
    rows: list[int] = []
    columns: list[int] = []
    values: list[float] = []
    lower: list[float] = []
    upper: list[float] = []

    def constrain(entries: list[tuple[int, float]], low: float, high: float) -> None:
        rows.extend([len(lower)] * len(entries))
        columns.extend(i for i, _ in entries)
        values.extend(v for _, v in entries)
        lower.append(low)
        upper.append(high)

    constrain([(i, 1.0) for i in range(len(layers[0]))], 1, 1)
    for at, (before, after) in enumerate(itertools.pairwise(layers)):
        for channels in sorted({e.out_chs for e in before} | {e.in_chs for e in after}):
            entering = [(start[at] + i, 1.0) for i, e in enumerate(before) if e.out_chs == channels]
            leaving = [(start[at + 1] + i, -1.0) for i, e in enumerate(after) if e.in_chs == channels]
            constrain(entering + leaving, 0, 0)
    objective = np.array([-e.score for e in edges] + [0.0] * (size - len(edges)))
    if nearest:
        objective[: len(edges)] = 0
    for w, (at, (low, high)) in enumerate(windows.items()):
        fixed, unit = problem.costs[at].constant, problem.unit(at)
        slack = len(edges) + 2 * w
        spent = [(i, e.spent[at] / unit) for i, e in enumerate(edges) if e.spent[at]]
        constrain([*spent, (slack, 1.0), (slack + 1, -1.0)], (low - fixed) / unit, (high - fixed) / unit)
        objective[slack : slack + 2] = unit * _weight(problem, at)
    for path in excluded:
        constrain([(start[at] + i, 1.0) for at, i in enumerate(path)], 0, len(path) - 1)

    limits = np.ones(size)
    limits[len(edges) :] = np.inf if nearest else 0
    integer = np.ones(size, dtype=np.int8)
    integer[len(edges) :] = 0
    result = milp(
        objective,
        integrality=integer,
        bounds=Bounds(0, limits),
        constraints=LinearConstraint(coo_array((values, (rows, columns)), (len(lower), size)).tocsr(), lower, upper),
        options={'mip_rel_gap': 0.0},
    )
    if result.status == 2:
        return None, -math.inf
    if result.x is None or result.status != 0:
        raise RuntimeError(f'the solver failed: {result.message}')
    path = [int(np.argmax(result.x[start[at] : start[at + 1]])) for at in range(len(layers))]
    return path, -float(result.mip_dual_bound)


def explain(problem: Problem) -> str:
    """The message of `InfeasibleError`: why no architecture is within the windows, and the nearest possible values."""

    def total(at: int, value: float) -> str:
        return f'{f"{value:,}" if value == int(value) else f"{value:,.6g}"} {problem.costs[at].unit}'

    def between(at: int, low: float, high: float) -> str:
        ends = (f'{end:,.15g}' if float(end).is_integer() else f'{end:,.6g}' for end in (low, high))
        return f'{" to ".join(ends)} {problem.costs[at].unit}'

    asked = ' and '.join(between(at, *window) for at, window in problem.windows.items())
    reachable = ' and '.join(between(at, *problem.costs[at].range()) for at in problem.windows)
    if sum(map(len, problem.layers)) <= SMALL:
        path, proved = solve(problem, [], nearest=True)[0], True
    else:
        path, proved = near_path(problem.layers, [
            (at, low - problem.costs[at].constant, high - problem.costs[at].constant, _weight(problem, at))
            for at, (low, high) in problem.windows.items()
        ])
    if path is None:
        return f'space {problem.space.name!r} has no architecture: the log-probabilities exclude them all'
    choices = tuple(layer[i].choice for layer, i in zip(problem.layers, path))
    nearest = ' and '.join(total(at, problem.costs[at](choices)) for at in problem.windows)
    return (
        f'no architecture of space {problem.space.name!r} at {shown_size(problem.space.img_size)} pixels has {asked}: '
        f'{"the nearest" if proved else "one of the nearest"} has {nearest} (the space reaches {reachable}, not '
        'necessarily at once)'
    )


def _weight(problem: Problem, at: int) -> float:
    """What a unit outside of a window counts: distances are relative to the window's lower end, or to its upper one."""
    low, high = problem.windows[at]
    unit = problem.unit(at)
    return 1 / max(low if low > 0 else high, 1 if unit == UNIT else unit)
