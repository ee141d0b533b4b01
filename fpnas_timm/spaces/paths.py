"""The best paths through the graph of a decode within windows of its costs: exact, by bounds and enumeration.

A price per unit of each cost turns the windows into a plain best path, whose value bounds all paths within the windows
(Lagrangian relaxation). The prices with the lowest bound are found by cutting planes. The best path within the windows
is a little below the bound, and paths that are not further below it are few: they are enumerated layer by layer, and a
part of a path is dropped as soon as no completion can reach the windows, or come that close to the bound.
"""
import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np

__all__ = ['TooManyPaths', 'best_path', 'best_paths', 'near_path']

MAX_PARTS = 4_000_000  # of paths, in all layers; about 60 bytes each
ROUNDS = 100  # of the cutting planes
PRICES = 12  # bounds that a part of a path must reach
FIRST_GAP = 0.003  # nats
TOLERANCE = 1e-9  # nats; of sums of log-probabilities in different orders


class Edge(Protocol):
    """A choice of a group: the channels before and after it, its score (nats) and what it spends of each cost."""

    @property
    def in_chs(self) -> int: ...
    @property
    def out_chs(self) -> int: ...
    @property
    def score(self) -> float: ...
    @property
    def spent(self) -> Sequence[float]: ...


class TooManyPaths(Exception):
    """More paths are close to the bound than can be enumerated."""


class _Layer(NamedTuple):
    """The edges of a group that can be used, ordered by the state (number of channels) that they start from."""

    place: np.ndarray  # of each edge in the list that was given
    source: np.ndarray
    target: np.ndarray
    score: np.ndarray
    spent: np.ndarray  # edges x costs
    states: int

    def starting(self, state: int) -> slice:
        """The edges that start from a state."""
        first, end = np.searchsorted(self.source, [state, state + 1])
        return slice(int(first), int(end))


class _Bound(NamedTuple):
    """`value` is above the score of every path within the windows; `after[l][s]` the best completion of state s."""

    value: float
    prices: np.ndarray  # of each cost
    allowance: float  # what the windows are worth at these prices
    after: list[np.ndarray]


def best_path(
        layers: Sequence[Sequence[Edge]], windows: Sequence[tuple[int, float, float]]
) -> tuple[list[int], float] | None:
    """The path with the largest sum of scores whose sums of costs are within the windows.

    Args:
        layers: the edges of each group; an edge follows those whose `out_chs` is its `in_chs`.
        windows: for each limited cost, its place in `Edge.spent`, and the smallest and largest sum.

    Returns:
        The place of its edge in each layer, and its score; None if there is no such path.

    Raises:
        TooManyPaths: it cannot be found in this way.
    """
    return next(iter(best_paths(layers, windows, 1)), None)


def best_paths(
        layers: Sequence[Sequence[Edge]], windows: Sequence[tuple[int, float, float]], count: int
) -> list[tuple[list[int], float]]:
    """The `count` paths with the largest sums, best first, as `best_path` returns one; fewer if there are.

    Raises:
        TooManyPaths: as `best_path`.
    """
    graph = _graph(layers, [at for at, *_ in windows])
    if graph is None:
        return []
    costs = range(len(windows))
    least = [_after(graph, lambda layer, r=r: -layer.spent[:, r]) for r in costs]  # type: ignore[misc]
    most = [_after(graph, lambda layer, r=r: layer.spent[:, r]) for r in costs]  # type: ignore[misc]
    low = np.array([max(low, -least[r][0][0]) for r, (_, low, _) in enumerate(windows)])
    high = np.array([min(high, most[r][0][0]) for r, (*_, high) in enumerate(windows)])
    if (low > high).any() or not math.isfinite(most[0][0][0] if windows else 0.0):
        return []
    limit = 1000 * max(1.0, *(float(np.ptp(layer.score)) for layer in graph)) / _units(low, high)
    bounds = sorted((bound for bound, _ in _bounds(graph, low, high, limit)), key=lambda bound: bound.value)[:PRICES]
    best = bounds[0]
    low_score = -float(_after(graph, lambda layer: -layer.score)[0][0])  # of all paths
    worst = -float(_after(graph, lambda layer: -(layer.score - layer.spent @ best.prices))[0][0]) + best.allowance
    worst = min(worst, low_score)  # then no bound leaves out a path
    if best.value < low_score - 1:
        return []  # the bound is below the score of every path
    gap = FIRST_GAP
    while True:
        level = best.value - gap - TOLERANCE
        found = _enumerate(graph, bounds, level, low, high, least, most, count)
        if (len(found) == count and found[-1][1] >= level) or level < worst - TOLERANCE:
            return [([int(layer.place[i]) for layer, i in zip(graph, path)], score) for path, score in found]
        gap = best.value - found[-1][1] + TOLERANCE if len(found) == count else 2 * gap


def near_path(
        layers: Sequence[Sequence[Edge]], windows: Sequence[tuple[int, float, float, float]]
) -> tuple[list[int] | None, bool]:
    """A path close to the windows, whatever its score, and whether it is proved that none is closer.

    Args:
        layers: as in `best_path`.
        windows: as in `best_path`, each with the weight of a unit outside of it in the distance.

    Returns:
        The place of its edge in each layer, None if there is no path.
    """
    graph = _graph(layers, [at for at, *_ in windows])
    if graph is None:
        return None, True
    graph = [layer._replace(score=np.zeros_like(layer.score)) for layer in graph]
    low, high, weight = (np.array([window[i] for window in windows]) for i in (1, 2, 3))
    if not math.isfinite(_after(graph, lambda layer: layer.score)[0][0]):
        return None, True
    for r in range(len(windows)):  # an open end is no limit
        if high[r] == np.inf:
            high[r] = _after(graph, lambda layer: layer.spent[:, r])[0][0]  # noqa: B023
        if low[r] == -np.inf:
            low[r] = -_after(graph, lambda layer: -layer.spent[:, r])[0][0]  # noqa: B023
    found = []
    for bound, path in _bounds(graph, low, high, weight):
        spent = _sums(graph, path)[1]
        found.append((float(weight @ (np.maximum(low - spent, 0) + np.maximum(spent - high, 0))), -bound.value, path))
    distance, _, path = min(found)
    proved = distance <= max(least for _, least, _ in found) + TOLERANCE
    return [int(layer.place[i]) for layer, i in zip(graph, path)], proved


def _graph(layers: Sequence[Sequence[Edge]], limited: Sequence[int]) -> list[_Layer] | None:
    """The layers as arrays; None if no edge of a layer can be used."""
    graph = []
    for at, layer in enumerate(layers):
        after = layers[at + 1] if at + 1 < len(layers) else layer
        into = {e.in_chs for e in after} if after is not layer else {e.out_chs for e in layer}
        source = {channels: i for i, channels in enumerate(sorted({e.in_chs for e in layer}))}
        target = {channels: i for i, channels in enumerate(sorted(into))}
        used = [(source[e.in_chs], target[e.out_chs], i, e) for i, e in enumerate(layer)
                if e.score > -math.inf and e.out_chs in target]
        used.sort(key=lambda edge: edge[0])
        if not used:
            return None
        spent = np.array([[e.spent[at] for at in limited] for *_, e in used], dtype=float)
        starts, ends, places, edges = zip(*used)
        graph.append(_Layer(np.array(places), np.array(starts), np.array(ends), np.array([e.score for e in edges]),
                            spent.reshape(len(used), len(limited)), len(source)))
    return graph


def _after(graph: Sequence[_Layer], value: Callable[[_Layer], np.ndarray]) -> list[np.ndarray]:
    """For each layer and state, the largest sum of values of the edges from there to the end; -inf without a path."""
    best = np.zeros(int(graph[-1].target.max()) + 1)
    found = [best]
    for layer in reversed(graph):
        total = value(layer) + best[layer.target]
        best = np.full(layer.states, -np.inf)
        first = np.flatnonzero(np.diff(layer.source, prepend=-1))
        best[layer.source[first]] = np.maximum.reduceat(total, first)
        found.append(best)
    return found[::-1]


def _units(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """The size of each window's ends: prices are handled per unit, so that all are of one size."""
    finite = np.where(np.isfinite([low, high]), np.abs([low, high]), 0)
    return np.where(finite.max(0) > 0, finite.max(0), 1.0)


def _bounds(
        graph: Sequence[_Layer], low: np.ndarray, high: np.ndarray, limit: np.ndarray
) -> Iterator[tuple[_Bound, list[int]]]:
    """Bounds at prices that come closer and closer to those of the lowest bound (Kelley's cutting planes).

    Args:
        graph: the layers.
        low, high: the ends of the windows.
        limit: the largest price of each cost.

    Returns:
        Bounds, each with the best path at its prices.
    """
    from scipy.optimize import linprog

    n, unit, prices, cuts, lowest = len(low), _units(low, high), np.zeros(len(low)), [], math.inf
    ends = [(end[r], r) for r in range(n) for end in (low, high)]
    for _ in range(ROUNDS):
        after = _after(graph, lambda layer: layer.score - layer.spent @ prices)  # noqa: B023
        allowance = float(sum(p * (high[r] if p > 0 else low[r]) for r, p in enumerate(prices) if p))
        bound = _Bound(float(after[0][0]) + allowance, prices, allowance, after)
        path = _follow(graph, bound)
        yield bound, path
        if not n:
            return
        lowest = min(lowest, bound.value)
        score, spent = _sums(graph, path)
        cuts.append(([-1.0, *(-spent / unit), *[0.0] * n], -score))
        # variables: the best path's value, a price for each cost, what each window is worth
        eye = np.eye(n)
        rows = [*cuts, *(([0.0, *(end / unit[r] * eye[r]), *-eye[r]], 0.0) for end, r in ends)]
        result = linprog(
            [1.0, *[0.0] * n, *[1.0] * n], A_ub=[row for row, _ in rows], b_ub=[most for _, most in rows],
            bounds=[(None, None), *((-most, most) for most in limit * unit), *[(None, None)] * n],
        )
        if result.x is None or result.fun is None or lowest - result.fun < 1e-6:
            return
        prices = result.x[1 : 1 + n] / unit


def _follow(graph: Sequence[_Layer], bound: _Bound) -> list[int]:
    """The best path at the prices of a bound."""
    state, path = 0, []
    for layer, after in zip(graph, bound.after[1:]):
        edges = layer.starting(state)
        value = layer.score[edges] - layer.spent[edges] @ bound.prices + after[layer.target[edges]]
        path.append(edges.start + int(np.argmax(value)))
        state = int(layer.target[path[-1]])
    return path


def _sums(graph: Sequence[_Layer], path: Sequence[int]) -> tuple[float, np.ndarray]:
    """Score and costs of a path."""
    return float(sum(layer.score[i] for layer, i in zip(graph, path))), \
        np.sum([layer.spent[i] for layer, i in zip(graph, path)], axis=0)


def _enumerate(
        graph: Sequence[_Layer], bounds: Sequence[_Bound], least_value: float, low: np.ndarray, high: np.ndarray,
        least: Sequence[list[np.ndarray]], most: Sequence[list[np.ndarray]], count: int,
) -> list[tuple[list[int], float]]:
    """The best paths within the windows among all whose value at every bound's prices is at least `least_value`."""
    state, score, spent = np.zeros(1, dtype=int), np.zeros(1), np.zeros((1, len(low)))
    steps: list[tuple[np.ndarray, np.ndarray]] = []
    parts = 0
    for at, layer in enumerate(graph, 1):
        before, edge = _close(layer, bounds[0], at, state, score, spent, least_value, MAX_PARTS - parts)
        parts += len(before)
        after = layer.target[edge]
        score, spent = score[before] + layer.score[edge], spent[before] + layer.spent[edge]
        keep = np.ones(len(edge), dtype=bool)
        for bound in bounds[1:]:
            keep &= score - spent @ bound.prices + bound.after[at][after] + bound.allowance >= least_value
        for r in range(len(low)):
            keep &= (spent[:, r] - least[r][at][after] <= high[r]) & (spent[:, r] + most[r][at][after] >= low[r])
        steps.append((before[keep], edge[keep]))
        state, score, spent = after[keep], score[keep], spent[keep]
        if not len(state):
            return []
    found = []
    for at_end in np.argsort(-score, kind='stable')[:count]:
        last, path = int(at_end), []
        for before, edge in reversed(steps):
            path.append(int(edge[last]))
            last = int(before[last])
        found.append((path[::-1], float(score[at_end])))
    return found


def _close(
        layer: _Layer, bound: _Bound, at: int, state: np.ndarray, score: np.ndarray, spent: np.ndarray,
        least_value: float, room: int,
) -> tuple[np.ndarray, np.ndarray]:
    """The parts and edges whose value, with the best completion, is at least `least_value`; a pair of equal length."""
    value = layer.score - layer.spent @ bound.prices + bound.after[at][layer.target]
    parts, edges = [np.zeros(0, dtype=int)], [np.zeros(0, dtype=int)]
    for s in np.unique(state):
        here = layer.starting(int(s))
        order = here.start + np.argsort(-value[here], kind='stable')
        mine = np.flatnonzero(state == s)
        so_far = score[mine] - spent[mine] @ bound.prices + bound.allowance
        count = np.searchsorted(-value[order], so_far - least_value, side='right')
        total = int(count.sum())
        room -= total
        if room < 0:
            raise TooManyPaths
        parts.append(np.repeat(mine, count))
        edges.append(order[np.arange(total) - np.repeat(np.cumsum(count) - count, count)])
    return np.concatenate(parts), np.concatenate(edges)
