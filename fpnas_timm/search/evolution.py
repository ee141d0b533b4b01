"""The strategy `evolution`: regularised evolution (Real et al. 2019, arXiv:1802.01548) within a budget.

The population is a queue. Each candidate is a changed copy of the best of some of its members, drawn at random (the
tournament). It joins the queue, and the oldest member leaves it, however good it is (aging).
"""
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from ..errors import UsageError
from ..spaces import Choices, SearchSpace
from .within import Draw

__all__ = ['Evolution', 'EvolutionConfig']

TRIES = 50  # per number of changes
MOST_CHANGES = 10  # variables of a mutation that differ, at most


@dataclass(frozen=True)
class EvolutionConfig:
    """The settings of the evolution.

    Attributes:
        population: number of architectures in the population; so many are drawn at random at first.
        tournament: number of members of which the best one is the parent.
        crossover: probability that a candidate has two parents, and each of its groups is that of one of them, as in
            SPOS (Guo et al. 2020, arXiv:1904.00420); otherwise it is a mutation.
        children: number of candidates that come from the same population, before the first of them joins it: more than
            1 if several processes are to be busy.
    """

    population: int = 50
    tournament: int = 10
    crossover: float = 0.0
    children: int = 1

    def __post_init__(self) -> None:
        if self.population < 2:
            raise UsageError(f'population {self.population}: expected at least 2')
        if not 1 <= self.tournament <= self.population:
            raise UsageError(
                f'tournament {self.tournament}: expected at least 1 and at most the population, {self.population}'
            )
        if not 0 <= self.crossover <= 1:
            raise UsageError(f'crossover {self.crossover}: expected a probability')
        if self.children < 1:
            raise UsageError(f'children {self.children}: expected at least 1')


class Evolution:
    """The population, and how candidates come from it."""

    name = 'evolution'

    def __init__(
            self, space: SearchSpace, allowed: Callable[[Choices], bool] | None, draw: Draw, config: EvolutionConfig
    ) -> None:
        """
        Args:
            space: the search space.
            allowed: whether an architecture is within the budget; None: there is none.
            draw: returns an architecture within the budget.
            config: the settings.
        """
        self.space, self.draw, self.config = space, draw, config
        self.allowed = allowed or (lambda arch: True)
        self.population: deque[tuple[Choices, float]] = deque()
        self._places = [
            (group, variable, len(choices))
            for group, variables in enumerate(space.groups)
            for variable, choices in enumerate(variables.values())
            if len(choices) > 1
        ]

    @property
    def ready(self) -> int:
        """Those that are drawn at random do not depend on each other."""
        return max(self.config.children, self.config.population - len(self.population))

    def ask(self, generator: torch.Generator) -> Choices:
        """The next candidate: a random one until the population is complete, then a child of its members."""
        if len(self.population) < self.config.population or not self._places:
            return self.draw(generator)
        if self.config.crossover and float(torch.rand((), generator=generator)) < self.config.crossover:
            parents = self._parent(generator), self._parent(generator)
            for _ in range(TRIES):
                first = torch.randint(2, (len(self.space.groups),), generator=generator).tolist()
                child = tuple(parents[i][group] for group, i in enumerate(first))
                if child not in parents and self.allowed(child):
                    return child
        return self._mutated(self._parent(generator), generator)

    def tell(self, arch: Choices, score: float) -> None:
        """The candidate joins the population; the oldest member leaves one that is complete."""
        self.population.append((arch, score))
        if len(self.population) > self.config.population:
            self.population.popleft()

    def _parent(self, generator: torch.Generator) -> Choices:
        """The best of some members of the population."""
        drawn = torch.randperm(len(self.population), generator=generator)[: self.config.tournament].tolist()
        return max((self.population[i] for i in drawn), key=lambda member: member[1])[0]

    def _mutated(self, arch: Choices, generator: torch.Generator) -> Choices:
        """The architecture with another value of a variable of a group; all variables are equally likely.

        If that is not within the budget, it stays, and as few others as possible are changed too, so that the cost is
        within it again. (If one drew again until a single change were within a narrow budget, it would nearly always be
        one that costs nothing.) If there is nothing near, a random architecture is returned.
        """
        places = torch.randperm(len(self._places), generator=generator).tolist()
        changed = self._changed(arch, places[:1], generator)
        if self.allowed(changed):
            return changed
        for more in range(1, min(MOST_CHANGES, len(places))):
            for _ in range(TRIES):
                others = torch.randperm(len(places) - 1, generator=generator)[:more].tolist()
                child = self._changed(changed, [places[1 + i] for i in others], generator)
                if self.allowed(child):
                    return child
        return self.draw(generator)

    def _changed(self, arch: Choices, places: list[int], generator: torch.Generator) -> Choices:
        """The architecture with other values of these variables, each of them equally likely."""
        groups = [list(group) for group in arch]
        for place in places:
            group, variable, size = self._places[place]
            step = int(torch.randint(1, size, (), generator=generator))
            groups[group][variable] = (groups[group][variable] + step) % size
        return tuple(tuple(group) for group in groups)

    def state_dict(self) -> dict[str, Any]:
        return {'population': list(self.population)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state returned by `state_dict`."""
        self.population = deque((tuple(map(tuple, arch)), score) for arch, score in state['population'])
