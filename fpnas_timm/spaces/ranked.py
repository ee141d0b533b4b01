"""The most probable architectures in order: of independent choices, and the different networks within windows. Exact.

An architecture within windows is a path through the graph of `decode`. `paths` finds the most probable paths. If too
many are close to its bound, HiGHS finds the most probable one, a constraint excludes it, and it finds the next one. The
networks of a path, which all have its cost, are enumerated.
"""
import heapq
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from ..arch import Arch
from ..arch.cost import Cost
from .budgets import Budget
from .decode import InfeasibleError, Others, Problem, explain, make_problem, solve
from .mbconv import MBConvSpace
from .named import get_space
from .paths import TooManyPaths, best_paths
from .space import Choices, HasLogProbs, LogProbs

__all__ = ['Ranked', 'decode_ranked', 'ranked_products']


class Ranked(NamedTuple):
    """One of the most probable networks, with the log-probability (nats) of the most probable choices that give it."""

    arch: Arch
    choices: Choices
    log_prob: float
    cost: Cost


def decode_ranked(
        space: MBConvSpace | str,
        log_probs: 'LogProbs | HasLogProbs',
        count: int,
        macs: Budget | None = None,
        params: Budget | None = None,
        num_classes: int = 1000,
        in_chans: int = 3,
        others: Others = (),
) -> list[Ranked]:
    """The `count` most probable different networks of a space within budgets, most probable first.

    Architectures that are one network, since they differ only in variables that have no effect in a bypassed group,
    count once. The order is exact up to the solver's tolerance (1e-6 nats).

    Args:
        space, log_probs, macs, params, num_classes, in_chans, others: as for `decode`.
        count: number of networks, at least 1.

    Returns:
        The networks; fewer than `count` if the space has fewer within the budgets.

    Raises:
        InfeasibleError, ValueError, RuntimeError: as `decode`.

    The same space as in `decode`, whose best network within the budget has kernel 3 and 8 channels:

    >>> import numpy as np
    >>> from fpnas_timm.arch import Conv
    >>> from fpnas_timm.spaces import Row
    >>> rows = [Row(expansion=(2,), channels=(8, 16), repeat=1, stride=2, kernel=(0, 3, 5), act=('re',), splits=(0, 1))]
    >>> space = MBConvSpace.from_rows('tiny', Conv(3, 2, 8, 'sw'), rows, Conv(1, 1, 32, 'sw'), img_size=32)
    >>> probs = {'kernel': [.1, .3, .6], 'act': [1], 'splits': [.7, .3], 'expansion': [1], 'channels': [.4, .6]}
    >>> for found in decode_ranked(space, [{v: np.log(p) for v, p in probs.items()}], 3, macs=130_000, num_classes=10):
    ...     print(found.arch.groups[0], found.cost.macs, f'{math.exp(found.log_prob):.3f}')
    ir_r1_k3_s2_e2_c8_nre 122176 0.084
    ir_r1_k0_s2_e1_c16_nre 96576 0.042
    ir_r1_k3_s2_e2_c8_nre_sp1 122432 0.036
    """
    if count < 1:
        raise ValueError(f'count {count}: expected at least 1')
    space = get_space(space) if isinstance(space, str) else space
    problem = make_problem(space, log_probs, macs, params, num_classes, in_chans, others)
    try:
        best = _by_enumeration(problem, count)
    except TooManyPaths:
        best = _by_exclusion(problem, count)
    if not best:
        raise InfeasibleError(explain(problem))
    return [Ranked(space.to_arch(choices), choices, score, problem.counts(choices)) for score, choices in best]


def _by_enumeration(problem: Problem, count: int) -> list[tuple[float, Choices]]:
    """The `count` most probable networks; TooManyPaths if they cannot be found in this way."""
    asked = count
    while True:
        paths = [path for path, _ in best_paths(problem.layers, problem.limits(), asked)]
        good = [path for path in paths if problem.is_within(problem.choices(path))]
        if len(good) >= count or len(paths) < asked:
            return _first(itertools.chain.from_iterable(_networks(problem, path, count) for path in good), count)
        asked *= 2  # some are within the windows up to rounding only


def _by_exclusion(problem: Problem, count: int) -> list[tuple[float, Choices]]:
    """The same, by a solver."""
    excluded: list[list[int]] = []
    best: list[tuple[float, Choices]] = []
    while True:
        path, _ = solve(problem, excluded)
        if path is None:
            return best
        excluded.append(path)
        if len(best) == count and best[-1][0] >= math.fsum(layer[i].score for layer, i in zip(problem.layers, path)):
            return best  # this path and all after it have no network that is more probable
        if problem.is_within(problem.choices(path)):  # else only within the solver's tolerance
            best = _first([*best, *_networks(problem, path, count)], count)


def _networks(problem: Problem, path: Sequence[int], count: int) -> Iterator[tuple[float, Choices]]:
    """The most probable networks of a path."""
    variants = [layer[i].variants for layer, i in zip(problem.layers, path)]
    for score, at in itertools.islice(ranked_products([[s for s, _ in v] for v in variants]), count):
        yield score, tuple(v[i][1] for v, i in zip(variants, at))


def _first(networks: Iterable[tuple[float, Choices]], count: int) -> list[tuple[float, Choices]]:
    return sorted(networks, key=lambda network: -network[0])[:count]


def ranked_products(scores: Sequence[Sequence[float]]) -> Iterator[tuple[float, tuple[int, ...]]]:
    """All ways to take one entry from each list, those with the largest sum first, generated one at a time.

    Args:
        scores: non-empty lists, each in descending order.

    Returns:
        The sum of the entries, and their positions.

    >>> list(ranked_products([[0.0, -1.0], [0.0, -0.5]]))
    [(0.0, (0, 0)), (-0.5, (0, 1)), (-1.0, (1, 0)), (-1.5, (1, 1))]
    """
    queue = [(-math.fsum(row[0] for row in scores), (0,) * len(scores))]
    while queue:
        negative, at = heapq.heappop(queue)
        yield 0.0 - negative, at
        # Successors only increment positions at or after the last nonzero one, so that each is reached once.
        last = max((place for place, i in enumerate(at) if i), default=0)
        for place in range(last, len(at)):
            if at[place] + 1 < len(scores[place]):
                after = (*at[:place], at[place] + 1, *at[place + 1 :])
                heapq.heappush(queue, (-math.fsum(row[i] for row, i in zip(scores, after)), after))
