"""Times of networks that take turns, relative to one that takes part in every round.

A machine is faster or slower from one minute to the next (its clock, its caches, other programs, a virtual machine's
neighbours). So the networks run in rounds, each once per round, among them the same reference network whenever anything
is measured; a time is the median over the rounds of its ratio to the reference's. Each call finds the caches as the
networks before it have left them, so a time depends on the company, which is always as large.
"""
import math
import statistics
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

from ..arch import Arch
from .latency_table import Setting
from .runtimes import Run

__all__ = ['Ratio', 'Turns', 'TurnsTaker', 'spread_of', 'take_turns']

ROUNDS = (20, 200)  # fewest and most
SECONDS = 0.4  # of rounds for each network, between these
WARM_UP = 3


class TurnsTaker(Protocol):
    """What opens networks and times them: `runtimes.Machine`."""

    setting: Setting
    clock: Callable[[], float]

    def open(self, arch: Arch) -> Run:
        """A call of a network."""

    def ready(self) -> AbstractContextManager[None]:
        """What must hold while networks run."""


class Ratio(NamedTuple):
    """The time of a network over that of the reference: in all rounds, in every other one, and in the others."""

    all: float
    even: float
    odd: float


class Turns(NamedTuple):
    """What was measured together: the ratio of each network, and milliseconds of the reference."""

    ratios: list[Ratio]
    reference: float


def take_turns(reference: Run, runs: Sequence[Run], clock: Callable[[], float]) -> Turns:
    """Time networks in rounds.

    Args:
        reference: a call of the reference network.
        runs: calls of the others.
        clock: seconds.
    """
    everyone = [reference, *runs]
    seconds = 0.0
    for run in everyone:
        for i in range(WARM_UP):
            start = clock()
            run()
            seconds += (clock() - start) * (i == WARM_UP - 1)
    rounds = min(max(round(SECONDS * len(everyone) / max(seconds, 1e-9)), ROUNDS[0]), ROUNDS[1])
    times: list[list[float]] = [[] for _ in everyone]
    for _ in range(rounds):
        for own, run in zip(times, everyone):
            start = clock()
            run()
            own.append(max(clock() - start, 1e-9))
    first = times[0]
    ratios = [[t / r for t, r in zip(own, first)] for own in times[1:]]
    median = statistics.median
    return Turns([Ratio(median(r), median(r[::2]), median(r[1::2])) for r in ratios], 1e3 * median(first))


def spread_of(ratios: Sequence[Ratio]) -> float:
    """By how much (relative, median) the same network differs between one half of its rounds and the other.

    >>> round(spread_of([Ratio(1, 1, 1.1), Ratio(1, 1, 1.02), Ratio(1, 1.01, 1)]), 2)
    0.02
    """
    return statistics.median(math.expm1(abs(math.log(r.even / r.odd))) for r in ratios)
