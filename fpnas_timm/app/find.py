"""Spaces on the page: what the sliders reach, random networks, and the decode within budgets (which needs NumPy)."""
import json
import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from ..arch.checks import load_json
from ..arch.cost import cost
from ..device.latency_table import COST, LatencyTable
from ..errors import UsageError, one_line
from ..paper import TABLE_B1
from ..spaces import MBConvSpace, get_space, list_spaces
from ..spaces.around import largest_arch
from ..spaces.samples import Sampled, sample_costs
from .guard import check_depth

__all__ = [
    'COUNTS', 'Images', 'decode_answer', 'images_of', 'latency_table', 'open_space', 'prepare_answer', 'sampled',
    'space_answer',
]

STOPS = 160  # positions of a slider
SAMPLES = 400
COUNTS = ('macs', 'params')
WITHIN = 0.02  # a decoded network has at least 98 % of a budget
MAX_EDGES = 400_000  # choices of all groups after all numbers of channels, in a decode


def open_space(given: str) -> MBConvSpace:
    """A space of the paper by its name, or the content of a space file or of a latency table; never a path.

    Raises:
        UsageError: it is none of them.
    """
    return _opened(given)[0]


def latency_table(given: str) -> LatencyTable | None:
    """The latency table, if `given` is the content of one."""
    return _opened(given)[1]


@lru_cache(maxsize=32)
def _opened(given: str) -> tuple[MBConvSpace, LatencyTable | None]:
    if given in list_spaces():
        return get_space(given), None
    if not given.lstrip().startswith('{'):
        raise UsageError(f'unknown search space {given[:40]!r}: expected one of {", ".join(list_spaces())}, or a space '
                         'file (.json)')
    check_depth(given)
    try:
        data = load_json(given)
        table = LatencyTable.parse(given, 'latency table') if 'latency table' in data else None
        space = table.space if table else MBConvSpace.from_dict(data)
    except UsageError:
        raise
    except (ValueError, TypeError) as e:
        raise UsageError(f'space file: {one_line(e)}') from None
    before, edges = 1, 0
    for group in space.groups:
        edges += before * math.prod(map(len, group.values()))
        before = len(group['channels'])
    if edges > MAX_EDGES:
        raise UsageError(f'space file: {edges:,} combinations of choices in its groups: the explorer takes at most '
                         f'{MAX_EDGES:,}')
    return space, table


class Images(NamedTuple):
    """What costs are counted for beside the network: outputs of the classifier, and channels of the images."""

    classes: int = 1000
    channels: int = 3


def images_of(asked: Mapping[str, Any]) -> Images:
    """Those that the page asks for.

    Raises:
        UsageError: they are not whole numbers, or out of range.
    """
    values = []
    for name, (usual, most) in {'classes': (1000, 100_000), 'channels': (3, 1024)}.items():
        value = usual if asked.get(name) is None else asked[name]
        if type(value) is not int or not 1 <= value <= most:
            raise UsageError(f'{name}: expected a whole number from 1 to {most:,}')
        values.append(value)
    return Images(*values)


@lru_cache(maxsize=16)
def sampled(given: str, images: Images) -> list[Sampled]:
    """Random networks of a space, always the same."""
    return sample_costs(open_space(given), SAMPLES, 0, *images)


@lru_cache(maxsize=16)
def _stops(given: str, images: Images) -> dict[str, list[float]]:
    """For each budget, the numbers that its slider stops at: three digits, in equal ratios."""
    space = open_space(given)
    first = tuple(tuple(c.index(min(c)) for c in group.values()) for group in space.groups)  # bypassed where it can be
    ends = [cost(arch, None, *images) for arch in (space.to_arch(first), largest_arch(space))]
    found: dict[str, list[float]] = {}
    limits: dict[str, tuple[float, float]] = {name: (getattr(ends[0], name), getattr(ends[1], name)) for name in COUNTS}
    table = latency_table(given)
    if table is not None:
        limits[COST] = table.cost().range()
    for name, (low, high) in limits.items():
        low, high = max(low, 1e-3), max(high, 1e-3)
        ratio = high / low
        values = [low * ratio ** (i / (STOPS - 1)) for i in range(STOPS)]
        found[name] = list(dict.fromkeys(_three_digits(v) for v in values))
    return found


def _three_digits(value: float) -> float:
    return float(f'{value:.3g}')


def space_answer(given: str, images: Images) -> dict[str, Any]:
    """What the page needs to know of a space."""
    space, stops = open_space(given), _stops(given, images)
    row = TABLE_B1.get(given)
    usual = {'macs': row.macs * 1e6, 'params': row.params * 1e6} if row else {}
    start = {
        name: min(range(len(at)), key=lambda i: abs(at[i] - usual.get(name, at[len(at) // 2])))
        for name, at in stops.items()
    }
    table = latency_table(given)
    return {'name': space.name, 'size': f'{space.num_archs:.1e}', 'img_size': space.img_size, 'stops': stops,
            'start': start, 'latency': str(table.setting) if table else '',
            'classes': table.setting.num_classes if table else None}


@lru_cache(maxsize=4)
def _problem(given: str, learned: str, images: Images) -> Any:
    """The decode without budgets; `learned`: the probabilities of a search as JSON, '' for the prior of section B."""
    import numpy as np

    from ..spaces.decode import make_problem
    from ..zoo.reconstruct import section_b_prior

    space, table = _opened(given)
    others = [] if table is None else [(table.cost(), math.inf)]
    if not learned:
        return make_problem(space, section_b_prior(space), None, None, *images, others)
    marginals = json.loads(learned)
    if len(marginals) != len(space.groups):
        raise UsageError(f'the search is of another space than {space.name!r}: choose its own')
    with np.errstate(divide='ignore'):
        log_probs = [{v: np.log(np.array(p)) for v, p in group.items()} for group in marginals]
    return make_problem(space, log_probs, None, None, *images, others)


def prepare_answer(given: dict[str, Any]) -> dict[str, Any]:
    """Do what takes the longest of a decode, which all decodes of a space have in common; for `worker`."""
    _problem(given['space'], '', images_of(given))
    return {}


def decode_answer(given: dict[str, Any]) -> dict[str, Any]:
    """The most probable network within budgets, for `worker`.

    Args:
        given: `space`; `classes`, `channels`: as in `Images`; `macs`, `params`, `latency` (ms, with a table): a number,
            or None for no limit; `learned`: as in `_problem`.

    Raises:
        UsageError: nothing is within the budgets.
    """
    from ..spaces.decode import decoded

    budgets = {}
    names = COUNTS if latency_table(given['space']) is None else (*COUNTS, COST)
    for name in names:
        value = given.get(name)
        if value is not None:
            if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 < value < 1e15:
                raise UsageError(f'{name}: expected a number above 0')
            budgets[name] = ((1 - WITHIN) * value, value)
    try:
        found = decoded(_problem(given['space'], given.get('learned') or '', images_of(given)).within(budgets))
    except ValueError as e:  # InfeasibleError, or probabilities that do not fit the space
        raise UsageError(one_line(e, 500)) from None
    return {'arch': str(found.arch), 'log_prob': found.log_prob, 'macs': found.cost.macs, 'params': found.cost.params}
