"""The interface between search and space: an ordered list of groups, each an ordered dict of variable -> choices."""
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, Union

if TYPE_CHECKING:
    import numpy as np
    import torch

__all__ = ['Choices', 'Generator', 'HasLogProbs', 'LogProbs', 'SearchSpace']

# For each group: {variable: log-probabilities}, or for a joint distribution one array with one axis per variable.
LogProbs: TypeAlias = 'Sequence[Mapping[str, Sequence[float] | np.ndarray] | np.ndarray]'
Choices = tuple[tuple[int, ...], ...]  # for each group and variable, the index of the choice
Generator = Union[random.Random, 'torch.Generator']


class HasLogProbs(Protocol):
    """A distribution, such as that of a search's result."""

    def log_probs(self) -> LogProbs:
        """Log-probabilities in nats, in the form that `decode` takes."""


@dataclass(frozen=True)
class SearchSpace:
    """An ordered list of groups, each an ordered dict of variable -> choices.

    An architecture of the space is a `Choices`: an index for each group and variable.

    Raises:
        ValueError: no groups, a group without variables, or a variable without choices or with duplicate choices.
    """

    name: str
    groups: tuple[Mapping[str, tuple[Any, ...]], ...]

    def __post_init__(self) -> None:
        if not self.groups:
            raise ValueError(f'space {self.name!r}: expected at least one group')
        for i, group in enumerate(self.groups):
            if not group:
                raise ValueError(f'space {self.name!r}, group {i}: expected at least one variable')
            for variable, choices in group.items():
                if not choices:
                    raise ValueError(f'space {self.name!r}, group {i}: variable {variable!r} has no choice')
                if len(set(choices)) < len(choices):
                    raise ValueError(f'space {self.name!r}, group {i}: variable {variable!r} has a choice twice')
        object.__setattr__(self, 'groups', tuple({v: tuple(c) for v, c in g.items()} for g in self.groups))

    @property
    def num_archs(self) -> int:
        """The exact number of architectures (combinations of choices) in the space."""
        return math.prod(len(choices) for group in self.groups for choices in group.values())

    def sample(self, generator: Generator) -> Choices:
        """Sample an architecture uniformly with a `random.Random` or a `torch.Generator`."""
        draw = generator.randrange if isinstance(generator, random.Random) else _torch_randrange(generator)
        return tuple(tuple(draw(len(choices)) for choices in group.values()) for group in self.groups)

    def values(self, choices: Choices) -> list[dict[str, Any]]:
        """For each group, the chosen value of each variable.

        Raises:
            ValueError: `choices` is not in this space.
        """
        if len(choices) != len(self.groups):
            raise ValueError(f'space {self.name!r} has {len(self.groups)} groups, got choices for {len(choices)}')
        out = []
        for i, (group, chosen) in enumerate(zip(self.groups, choices)):
            if len(chosen) != len(group) or any(not 0 <= k < len(c) for k, c in zip(chosen, group.values())):
                raise ValueError(f'space {self.name!r}, group {i}: {tuple(chosen)} does not index {dict(group)}')
            out.append({variable: c[k] for k, (variable, c) in zip(chosen, group.items())})
        return out

    def describe(self, choices: Choices) -> str:
        """The architecture as text, for messages and files; here simply its indices.

        >>> SearchSpace('cells', ({'op': ('conv', 'pool')}, {'width': (8, 16)})).describe(((0,), (1,)))
        '((0,), (1,))'
        """
        return str(choices)


def _torch_randrange(generator: 'torch.Generator') -> Any:
    import torch

    if not isinstance(generator, torch.Generator):
        raise TypeError(f'expected a random.Random or a torch.Generator, got {type(generator).__name__}')
    return lambda n: int(torch.randint(n, (), generator=generator))
