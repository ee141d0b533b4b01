"""The most probable architectures within a budget, found by trying them in order: for spaces without a solver."""
import itertools
from collections.abc import Callable

from ..spaces import Choices
from ..spaces.decode import InfeasibleError
from .distribution import Distribution

__all__ = ['first_within']

MAX_RANKED = 1_000_000  # number of architectures that are tried


def first_within(
        distribution: Distribution, allowed: Callable[[Choices], bool], asked: str, count: int
) -> list[Choices]:
    """The `count` most probable different architectures that are `allowed`, most probable first.

    Architectures that the space describes in the same way are one. There are fewer if fewer are among those tried.
    `asked` says in a message what is allowed.

    Raises:
        InfeasibleError: there is none.
    """
    found: dict[str, Choices] = {}
    tried = 0
    for arch, _ in itertools.islice(distribution.ranked(), MAX_RANKED):
        if allowed(arch):
            found.setdefault(distribution.space.describe(arch), arch)
        tried += 1
        if len(found) == count:
            break
    if not found:
        raise InfeasibleError(f'none of the {tried:,} most probable architectures costs {asked}')
    return list(found.values())
