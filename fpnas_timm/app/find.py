"""Spaces on the page: what the sliders reach, random networks, and the decode within budgets (which needs NumPy)."""
import json
import math
from functools import lru_cache
from typing import Any

from ..arch.checks import load_json
from ..arch.cost import cost
from ..errors import UsageError, one_line
from ..paper import TABLE_B1
from ..spaces import MBConvSpace, get_space, list_spaces
from ..spaces.around import largest_arch
from ..spaces.samples import Sampled, sample_costs

__all__ = ['decode_answer', 'open_space', 'sampled', 'space_answer']

STOPS = 160  # positions of a slider
SAMPLES = 400
WITHIN = 0.02  # a decoded network has at least 98 % of a budget
MAX_EDGES = 400_000  # choices of all groups after all numbers of channels, in a decode


@lru_cache(maxsize=32)
def open_space(given: str) -> MBConvSpace:
    """A space of the paper by its name, or the content of a space file; never a path.

    Raises:
        UsageError: it is neither.
    """
    try:
        if given.lstrip().startswith('{'):
            space = MBConvSpace.from_dict(load_json(given))
        elif given in list_spaces():
            return get_space(given)
        else:
            raise UsageError(f'unknown search space {given[:40]!r}: expected one of {", ".join(list_spaces())}, or a '
                             'space file (.json)')
    except (ValueError, TypeError) as e:
        raise e if isinstance(e, UsageError) else UsageError(f'space file: {one_line(e)}') from None
    before, edges = 1, 0
    for group in space.groups:
        edges += before * math.prod(map(len, group.values()))
        before = len(group['channels'])
    if edges > MAX_EDGES:
        raise UsageError(f'space file: {edges:,} combinations of choices in its groups: the explorer takes at most '
                         f'{MAX_EDGES:,}')
    return space


@lru_cache(maxsize=16)
def sampled(given: str) -> list[Sampled]:
    """Random networks of a space, always the same."""
    return sample_costs(open_space(given), SAMPLES)


@lru_cache(maxsize=16)
def _stops(given: str) -> dict[str, list[int]]:
    """For each budget, the numbers that its slider stops at: three digits, in equal ratios."""
    space = open_space(given)
    first = tuple(tuple(c.index(min(c)) for c in group.values()) for group in space.groups)  # bypassed where it can be
    ends = cost(space.to_arch(first)), cost(largest_arch(space))
    found = {}
    for name in ('macs', 'params'):
        low, high = (getattr(c, name) for c in ends)
        ratio = high / low
        values = [low * ratio ** (i / (STOPS - 1)) for i in range(STOPS)]
        found[name] = list(dict.fromkeys(_three_digits(v) for v in values))
    return found


def _three_digits(value: float) -> int:
    unit = 10 ** max(0, math.floor(math.log10(value)) - 2)
    return round(value / unit) * unit


def space_answer(given: str) -> dict[str, Any]:
    """What the page needs to know of a space."""
    space, stops = open_space(given), _stops(given)
    row = TABLE_B1.get(given)
    usual = {'macs': row.macs * 1e6, 'params': row.params * 1e6} if row else {}
    start = {
        name: min(range(len(at)), key=lambda i: abs(at[i] - usual.get(name, at[len(at) // 2])))
        for name, at in stops.items()
    }
    return {'name': space.name, 'size': f'{space.num_archs:.1e}', 'img_size': space.img_size, 'stops': stops,
            'start': start}


@lru_cache(maxsize=4)
def _problem(given: str, learned: str) -> Any:
    """The decode without budgets; `learned`: the probabilities of a search as JSON, '' for the prior of section B."""
    import numpy as np

    from ..spaces.decode import make_problem
    from ..zoo.reconstruct import section_b_prior

    space = open_space(given)
    if not learned:
        return make_problem(space, section_b_prior(space), None, None, 1000, 3)
    found = json.loads(learned)
    with np.errstate(divide='ignore'):
        log_probs = [{v: np.log(np.array(p)) for v, p in group.items()} for group in found['marginals']]
    return make_problem(space, log_probs, None, None, found['num_classes'], found['in_chans'])


def decode_answer(given: dict[str, Any]) -> dict[str, Any]:
    """The most probable network within budgets, for `worker`.

    Args:
        given: `space`; `macs`, `params`: a number, or None for no limit; `learned`: as in `_problem`.

    Raises:
        UsageError: nothing is within the budgets.
    """
    from ..spaces.decode import InfeasibleError, decoded

    budgets = {}
    for name in ('macs', 'params'):
        value = given.get(name)
        if value is not None:
            if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 < value < 1e15:
                raise UsageError(f'{name}: expected a number above 0')
            budgets[name] = ((1 - WITHIN) * value, value)
    try:
        found = decoded(_problem(given['space'], given.get('learned') or '').within(budgets))
    except InfeasibleError as e:
        raise UsageError(one_line(e, 500)) from None
    return {'arch': str(found.arch), 'log_prob': found.log_prob, 'macs': found.cost.macs, 'params': found.cost.params}
