"""Which block of the source each block of the target takes its weights from: an alignment within each resolution."""
import math
from collections.abc import Sequence

from ..arch.sizes import expanded_channels
from ..errors import UsageError
from .layers import Unit

__all__ = ['match_blocks']

# Costs of the alignment. A block with a residual sum can be left out (its input goes on) or added (with a zero output);
# one that changes the channels or the resolution cannot.
LEAVE_OUT, LEAVE_OUT_CHANGE = 1.0, 6.0
ADD, ADD_CHANGE = 0.5, 6.0
OTHER_SKIP, OTHER_KIND = 3.0, 4.0


def match_blocks(
        source: Sequence[Unit], target: Sequence[Unit], importance: Sequence[float]
) -> list[int | None]:
    """Match the blocks in order, so that the sum of the costs is smallest.

    Args:
        source: blocks of the source.
        target: blocks of the target.
        importance: for each block of the source with a residual sum, how much it adds to the stream, relative to the
            others (around 1).

    Returns:
        For each block of the target the index of a block of the source, increasing; None if it has no counterpart.

    Raises:
        UsageError: the networks halve the resolution a different number of times.
    """
    levels = [max((unit.level for unit in units), default=0) for units in (source, target)]
    if levels[0] != levels[1]:
        raise UsageError(
            f'the source halves the resolution {levels[0]} times after its stem, the target {levels[1]} times: '
            'expected the same number'
        )
    matched: list[int | None] = []
    for level in range(levels[0] + 1):
        ours = [j for j, unit in enumerate(target) if unit.level == level]
        theirs = [i for i, unit in enumerate(source) if unit.level == level]
        pairs = _align(
            [source[i] for i in theirs], [target[j] for j in ours], [importance[i] for i in theirs]
        )
        matched += [None if i is None else theirs[i] for i in pairs]
    return matched


def _align(source: Sequence[Unit], target: Sequence[Unit], importance: Sequence[float]) -> list[int | None]:
    """The cheapest alignment (dynamic programming, as for edit distances)."""
    n, m = len(source), len(target)
    best = [[math.inf] * (m + 1) for _ in range(n + 1)]
    move = [[''] * (m + 1) for _ in range(n + 1)]
    best[0][0] = 0.0
    for i in range(n + 1):
        for j in range(m + 1):
            options = []
            if i and j:
                options.append((best[i - 1][j - 1] + _difference(source[i - 1], target[j - 1]), 'match'))
            if i:
                cost = LEAVE_OUT * (0.5 + 0.5 * importance[i - 1]) if source[i - 1].has_skip else LEAVE_OUT_CHANGE
                options.append((best[i - 1][j] + cost, 'leave out'))
            if j:
                options.append((best[i][j - 1] + (ADD if target[j - 1].has_skip else ADD_CHANGE), 'add'))
            if options:
                best[i][j], move[i][j] = min(options)
    pairs: list[int | None] = [None] * m
    i, j = n, m
    while i or j:
        if move[i][j] == 'match':
            i, j = i - 1, j - 1
            pairs[j] = i
        elif move[i][j] == 'leave out':
            i -= 1
        else:
            j -= 1
    return pairs


def _difference(source: Unit, target: Unit) -> float:
    """How much of the source's block is lost in the target's: 0 if that contains it."""
    a, b = source.block, target.block
    if a.stride != b.stride:
        return math.inf
    cost = OTHER_SKIP * (source.has_skip != target.has_skip) + OTHER_KIND * ((a.kernel == 0) != (b.kernel == 0))
    if a.kernel and b.kernel:
        cost += 0.1 * max(0, a.kernel - b.kernel)
        widths = [expanded_channels(block.in_chs, block.expansion) for block in (a, b)]
        cost += 0.5 * max(0.0, math.log(widths[0] / widths[1]))
        cost += 0.2 * (a.splits > b.splits) + 0.5 * ((a.expansion == 1) != (b.expansion == 1))
    cost += 0.5 * max(0.0, math.log(a.out_chs / b.out_chs))
    return cost + 0.1 * (a.act != b.act)
