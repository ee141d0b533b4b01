"""Refuses costs and budgets with which a search could only fail, before it starts."""
import itertools
import random
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ..errors import UsageError
from ..spaces import Choices, SearchSpace
from ..spaces.budgets import Window
from ..spaces.costs import AdditiveCost
from .mode import ModeWithin

__all__ = ['check_costs', 'check_windows', 'is_impossible']

COMPARED, CLOSE = 8, 1e-5  # architectures on which tables and evaluator are compared; relative difference allowed
SECONDS = 30.0  # after which a proof that nothing is within the windows is given up


def check_costs(space: SearchSpace, cost: Callable[[Choices], float], costs: Sequence[AdditiveCost]) -> None:
    """Check that all costs are of the space and named differently, and that the first one is the evaluator's.

    Args:
        space: the space of the search.
        cost: the evaluator's cost.
        costs: the additive costs of the search.

    Raises:
        UsageError: they are not.
    """
    names = [c.name for c in costs]
    if len(set(names)) < len(names):
        raise UsageError(f'costs: expected costs of different names, got {", ".join(names)}')
    for c in costs:
        if [[*group.items()] for group in c.space.groups] != [[*group.items()] for group in space.groups]:
            raise UsageError(
                f'costs: the tables of cost {c.name!r} are of space {c.space.name!r}, which has other groups or '
                f'choices than space {space.name!r} of the search: make them of that one'
            )
    rng = random.Random(0)
    for arch in (space.sample(rng) for _ in range(COMPARED if costs else 0)):
        own, true = costs[0](arch), float(cost(arch))
        if not abs(own - true) <= CLOSE * max(abs(own), abs(true)):
            raise UsageError(
                f'costs: by the tables of {names[0]!r}, {space.describe(arch)} costs {own:,.10g}, by the evaluator '
                f"{true:,.10g}: expected the evaluator's cost first, in the same unit"
            )


def check_windows(budgets: Mapping[str, tuple[AdditiveCost, Window]]) -> None:
    """Check that an architecture is within each budget and within all at once.

    Args:
        budgets: the setting in words, such as 'target 500' -> the cost and its smallest and largest value; the costs
            are of one space.

    Raises:
        UsageError: none is; the message has what the space reaches. Where that could not be proven, there is no error.
    """
    for names in [[name] for name in budgets] + ([[*budgets]] if len(budgets) > 1 else []):
        asked = [budgets[name] for name in names]
        costs, windows = [cost for cost, _ in asked], [window for _, window in asked]
        if len({cost.link for cost in costs if cost.link}) > 1 or not is_impossible(costs, windows):
            continue
        reached = ' and '.join(_between(cost, cost.range()) for cost in costs)
        raise UsageError(
            f'{" and ".join(names)}{" exclude each other" if len(names) > 1 else ""}: no architecture of space '
            f'{costs[0].space.name!r} has {" and ".join(itertools.starmap(_between, asked))} (the space reaches '
            f'{reached}{", not necessarily at once" if len(names) > 1 else ""}): change a target or the tolerance'
        )


def is_impossible(costs: Sequence[AdditiveCost], windows: Sequence[Window]) -> bool:
    """Whether it is certain that no architecture is within all windows.

    Args:
        costs: costs of one space, linked by the same variable or none.
        windows: smallest and largest value of each.
    """
    for cost, (low, high) in zip(costs, windows):
        least, most = cost.range()
        slack = 1e-9 * max(abs(least), abs(most))
        if high + slack < least or low - slack > most:
            return True
    return not ModeWithin(costs, windows).finds_any() and _is_infeasible(costs, windows)


def _between(cost: AdditiveCost, window: Window) -> str:
    return f'{window[0]:,.10g} to {window[1]:,.10g} {cost.unit} ({cost.name})'


def _edges(costs: Sequence[AdditiveCost]) -> list[list[tuple[int, int, tuple[float, ...]]]]:
    """Of each group: row of its tables, row of the next group's, and what is spent of each cost; all that differ."""
    linked = next((cost for cost in costs if cost.link), costs[0])
    groups = linked.space.groups
    layers = []
    for i, group in enumerate(groups):
        edges = set()
        for column, chosen in enumerate(itertools.product(*(range(len(c)) for c in group.values()))):
            after = linked.state(i, chosen)
            for before in range(len(linked.tables[i])):
                spent = []
                for cost in costs:
                    table = cost.tables[i]
                    value = table[before if len(table) > 1 else 0][column]
                    if i == len(groups) - 1:
                        value += cost.tail[after if len(cost.tail) > 1 else 0]
                    spent.append(float(value))
                edges.add((before, after, tuple(spent)))
        layers.append(sorted(edges))
    return layers


def _is_infeasible(costs: Sequence[AdditiveCost], windows: Sequence[Window]) -> bool:
    """Whether a solver proves that no path through the layers (as in `spaces.decode`) is within the windows."""
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csr_array

    layers = _edges(costs)
    flat = [(i, *edge) for i, edges in enumerate(layers) for edge in edges]
    nodes: dict[tuple[int, int], int] = {}  # one row each: as many edges end in it as begin there
    entries = []
    for at, (i, before, after, _) in enumerate(flat):
        for sign, node in ((-1, (i, before)), (1, (i + 1, after if i + 1 < len(layers) else 0))):
            entries.append((sign, nodes.setdefault(node, len(nodes)), at))
    signs, rows, columns = zip(*entries)
    flow = csr_array((signs, (rows, columns)), shape=(len(nodes), len(flat)))
    balance = np.zeros(len(nodes))
    balance[nodes[0, 0]], balance[nodes[len(layers), 0]] = -1, 1
    spent = np.array([edge[-1] for edge in flat]).T
    ends = np.array(windows, dtype=float) - np.array([[float(cost.constant)] for cost in costs])
    scale = np.maximum(np.abs(ends).max(1, keepdims=True), np.abs(spent).max(1, keepdims=True)) / 100
    scale[scale == 0] = 1
    low, high = (ends / scale).T
    slack = 1e-6  # the solver's tolerance
    result = milp(
        np.zeros(len(flat)), integrality=np.ones(len(flat), dtype=np.int8), bounds=Bounds(0, 1),
        constraints=[
            LinearConstraint(flow, balance, balance), LinearConstraint(spent / scale, low - slack, high + slack)
        ],
        options={'time_limit': SECONDS},
    )
    return bool(result.status == 2)
