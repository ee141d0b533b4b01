"""The most probable architecture within windows of additive costs, fast: for every step of a search. Not in the paper.

The exact `spaces.decode` proves its optimum, which takes up to a minute in a large space. Here the groups are decided
one after another, for the most promising beginnings at the same time (a beam search): from each beginning, the costs
that the rest can have must reach the windows, and of those with the same state and about the same costs only the most
probable one goes on. What is found bounds by how much each choice may be less probable than its group's best, so a
second pass with only these choices is usually complete, and then its result is the optimum.
"""
import math
from collections.abc import Sequence

import numpy as np
import torch

from ..spaces import Choices
from ..spaces.costs import AdditiveCost
from .distribution import Distribution

__all__ = ['ModeWithin', 'make_mode']

WIDTHS = (256, 4096)  # beginnings that go on: of the first try, and of the next ones
BINS = 8  # parts of a window that are told apart in the first pass


class _Layer:
    """A group: its combinations, of which those with equal costs and state are one column.

    Attributes:
        column: of each combination, its column.
        state: of each column, the row of the next group's tables.
        spent: cost of each column, (costs, rows of the tables, columns).
        least, most: smallest and largest cost of this group and all after it, (costs, rows of the tables).
    """

    def __init__(self, group: int, costs: Sequence[AdditiveCost]) -> None:
        tables = [np.asarray(cost.tables[group], dtype=float) for cost in costs]
        rows = max(len(table) for table in tables)
        combinations = np.indices([len(c) for c in costs[0].space.groups[group].values()])
        combinations = combinations.reshape(len(combinations), -1).T
        linked = next((cost for cost in costs if cost.states(group) > 1), costs[0])
        state = np.array([linked.state(group, chosen) for chosen in combinations.tolist()])
        spent = np.stack([np.broadcast_to(table, (rows, table.shape[1])) for table in tables])
        if group == len(costs[0].space.groups) - 1:
            tails = [np.asarray(cost.tail, dtype=float) for cost in costs]
            spent = spent + np.stack([tail[state] if len(tail) > 1 else tail[np.zeros_like(state)] for tail in tails]
                                     )[:, None]
        keys = np.concatenate([state[None], spent.reshape(-1, spent.shape[-1])])
        _, first, self.column = np.unique(keys, axis=1, return_index=True, return_inverse=True)
        self.column = self.column.reshape(-1)
        self.state, self.spent = state[first], spent[:, :, first]
        self.least = self.most = np.zeros((len(costs), rows))


class ModeWithin:
    """Finds the most probable architecture whose costs are within windows."""

    def __init__(self, costs: Sequence[AdditiveCost], windows: Sequence[tuple[float, float]]) -> None:
        """
        Args:
            costs: the costs, of one space and with the same `link`, or none.
            windows: smallest and largest value allowed of each.
        """
        self.layers = [_Layer(i, costs) for i in range(len(costs[0].space.groups))]
        constants = np.array([cost.constant for cost in costs], dtype=float)
        self.low, self.high = (np.array(ends, dtype=float) - constants for ends in zip(*windows))
        # sums in another order may differ in the last bit
        slack = 1e-9 * np.maximum(np.abs(self.low), np.abs(self.high))
        self.low, self.high = self.low - slack, self.high + slack
        after = np.zeros((2, len(costs), 1))
        for layer in reversed(self.layers):
            ahead = after[:, :, layer.state if after.shape[2] > 1 else np.zeros_like(layer.state)][:, :, None]
            layer.least, layer.most = (layer.spent + ahead[0]).min(2), (layer.spent + ahead[1]).max(2)
            after = np.stack([layer.least, layer.most])

    def __call__(self, distribution: Distribution) -> Choices | None:
        """The most probable architecture within the windows; None if none was found."""
        with torch.no_grad():
            probs = distribution.combinations().log().numpy()
        scores, chosen = [], []
        for layer, row in zip(self.layers, probs):
            row = row[: len(layer.column)]
            order = np.lexsort((np.arange(len(row)), -row, layer.column))  # by column, the most probable first
            first = order[np.r_[True, np.diff(layer.column[order]) > 0]]
            chosen.append(first)
            scores.append(row[first] - row.max())
        path = None
        for width in WIDTHS:
            path = self._search(scores, -math.inf, width, BINS)
            if path is not None:
                break
        if path is None:
            return None
        found = math.fsum(score[c] for score, c in zip(scores, path))
        path = self._search(scores, found, WIDTHS[-1], None) or path
        groups = distribution.space.groups
        return tuple(
            tuple(int(k) for k in np.unravel_index(first[c], [len(v) for v in group.values()]))
            for first, c, group in zip(chosen, path, groups)
        )

    def finds_any(self) -> bool:
        """Whether an architecture within the windows is found, whatever its probability."""
        scores = [np.zeros(len(layer.state)) for layer in self.layers]
        return any(self._search(scores, -math.inf, width, BINS) is not None for width in WIDTHS)

    def _search(self, scores: list[np.ndarray], bound: float, width: int, bins: int | None) -> list[int] | None:
        """The best path that was found, as one column per group; only those with a score of at least `bound`.

        Args:
            scores: of each group and column, the log-probability of its best combination, less that of the group's.
            bound: smallest score of a path.
            width: number of beginnings that go on.
            bins: of those with equal state and the same part of a window, only the best goes on; None: all.
        """
        score, state = np.zeros(1), np.zeros(1, dtype=int)
        spent = np.zeros((len(self.low), 1))
        history: list[tuple[np.ndarray, np.ndarray]] = []
        size = (self.high - self.low) / (bins or 1)
        for at, (layer, own) in enumerate(zip(self.layers, scores)):
            columns = np.flatnonzero(own >= bound)
            row = state if layer.spent.shape[1] > 1 else np.zeros_like(state)
            total = (score[:, None] + own[columns]).ravel()
            sums = (spent[:, :, None] + layer.spent[:, row][:, :, columns]).reshape(len(spent), -1)
            ends = np.broadcast_to(layer.state[columns], (len(score), len(columns))).ravel()
            least, most = np.zeros((2, len(self.low), 1))
            if at + 1 < len(self.layers):
                least, most = self.layers[at + 1].least, self.layers[at + 1].most
            rest = ends if least.shape[1] > 1 else np.zeros_like(ends)
            good = (total >= bound) & np.all(
                (sums + least[:, rest] <= self.high[:, None]) & (sums + most[:, rest] >= self.low[:, None]), axis=0
            )
            kept = np.flatnonzero(good)
            kept = kept[np.argsort(-total[kept], kind='stable')]
            if bins is not None and len(kept):
                place = ends[kept].astype(np.int64)
                for part in np.floor(sums[:, kept] / np.where(size > 0, size, 1)[:, None]).astype(np.int64):
                    place = place * (part.max() - part.min() + 1) + part - part.min()
                _, first = np.unique(place, return_index=True)
                kept = kept[np.sort(first)]
            kept = kept[:width]
            if not len(kept):
                return None
            history.append((kept // len(columns), columns[kept % len(columns)]))
            score, state, spent = total[kept], ends[kept], sums[:, kept]
        path, label = [], 0  # the first is the best
        for before, column in reversed(history):
            path.append(int(column[label]))
            label = int(before[label])
        return path[::-1]


def make_mode(distribution: Distribution, arch: Choices, margin: float = 1e-3) -> None:
    """Change alpha as little as possible (Euclidean) so that `arch` is the most probable architecture.

    Args:
        distribution: changed in place.
        arch: the architecture.
        margin: by how much (nats) each of its choices leads then.
    """
    with torch.no_grad():
        for logits, chosen in distribution.categoricals(arch):
            others = torch.cat([logits[:chosen], logits[chosen + 1 :]]).sort(descending=True).values
            level, count = logits[chosen].clone(), 1
            for other in others.tolist():
                if other + margin <= level:
                    break
                level, count = (level * count + other) / (count + 1), count + 1
            if count > 1:
                logits.clamp_(max=float(level) - margin / 2)
                logits[chosen] = float(level) + margin / 2
