"""Times of networks that take turns, relative to one that takes part in every round.

A machine is faster or slower from one minute to the next (its clock, its caches, other programs, a virtual machine's
neighbours). So networks run in rounds, each once per round, among them the same reference network whenever anything is
measured; the time of a network is the median over the rounds of its ratio to the reference's. Each call finds the
caches as the networks before it have left them, which makes a small network up to 10 % faster or slower. So the order
is another one in every round, and after half of the rounds a network gets other company, and some time has passed.
"""
import math
import random
import statistics
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

from ..arch import Arch
from .latency_table import Setting
from .runtimes import Run

__all__ = ['COMPANY', 'TOGETHER', 'Ratio', 'Turns', 'TurnsTaker', 'spread_of', 'take_turns']

ROUNDS = (10, 100)  # fewest and most, in each of the halves
SECONDS = 0.2  # of rounds for each network in each of the halves, between these
COMPANY = 8  # networks that take turns, beside the reference
TOGETHER = 2 * COMPANY  # networks that are measured at the same time, in two divisions into companies
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
    """The time of a network over that of the reference: the (geometric) mean of both halves, and in each of them."""

    all: float
    first: float
    second: float


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
    rng = random.Random(0)
    halves: list[list[float]] = []
    references = []
    for _ in range(2):
        order, found = list(range(len(runs))), [0.0] * len(runs)
        rng.shuffle(order)
        for start in range(0, len(order), COMPANY):
            company = order[start : start + COMPANY]
            ratios, seconds = _rounds(reference, [runs[i] for i in company], clock, rng)
            references.append(seconds)
            for i, ratio in zip(company, ratios):
                found[i] = ratio
        halves.append(found)
    return Turns([Ratio(math.sqrt(a * b), a, b) for a, b in zip(*halves)], 1e3 * statistics.median(references))


def _rounds(
        reference: Run, runs: Sequence[Run], clock: Callable[[], float], rng: random.Random
) -> tuple[list[float], float]:
    """The ratios of one company, and the seconds of the reference."""
    everyone = [reference, *runs]
    seconds = 0.0
    for run in everyone:
        for i in range(WARM_UP):
            start = clock()
            run()
            seconds += (clock() - start) * (i == WARM_UP - 1)
    rounds = min(max(round(SECONDS * len(everyone) / max(seconds, 1e-9)), ROUNDS[0]), ROUNDS[1])
    order = list(range(len(everyone)))
    times: list[list[float]] = [[] for _ in everyone]
    for _ in range(rounds):
        rng.shuffle(order)
        for i in order:
            start = clock()
            everyone[i]()
            times[i].append(max(clock() - start, 1e-9))
    median, first = statistics.median, times[0]
    return [median(t / r for t, r in zip(own, first)) for own in times[1:]], median(first)


def spread_of(ratios: Sequence[Ratio]) -> float:
    """By how much (relative, median) the same network differs between one half of its rounds and the other.

    >>> round(spread_of([Ratio(1, 1, 1.1), Ratio(1, 1, 1.02), Ratio(1, 1.01, 1)]), 2)
    0.02
    """
    return statistics.median(math.expm1(abs(math.log(r.first / r.second))) for r in ratios)
