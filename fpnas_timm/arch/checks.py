"""Validity of architectures: limits, checks and their error messages."""
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from ..errors import did_you_mean
from .choices import ACTS, KERNELS, SPLITS
from .sizes import expanded_channels, shown_size

if TYPE_CHECKING:
    from .encoding import Arch, Conv

__all__ = [
    'DEFAULT_IMG_SIZE',
    'MAX_GROUPS',
    'MAX_IMG_SIZE',
    'MAX_LENGTH',
    'NEAR_MISSES',
    'ArchError',
    'check_arch',
    'format_number',
    'load_json',
    'named_entries',
    'relabel_errors',
    'show',
    'unique_entries',
]

STRIDES = (1, 2)
STEM_KERNELS = (1, 3, 5, 7)
# Common spelling of an `n` field -> the field
NEAR_MISSES = {f'n{spelling}': f'n{letters}' for letters, act in ACTS.items() for spelling in act.near_misses}
DEFAULT_IMG_SIZE = 224
MAX_LENGTH = 8192  # characters of a string; JSON gets 16 times that
MAX_IMG_SIZE = 4096
MAX_GROUPS = 64
MAX_REPEATS = 32
MAX_BLOCKS = 256
MAX_CHANNELS = 8192
MAX_EXPANSION = 16
MAX_EXPANDED = 32768
MAX_TOTAL_STRIDE = 128


class ArchError(ValueError):
    """An invalid architecture; the message says what is wrong, where, and what was expected."""


def load_json(text: str) -> Any:
    """Parse JSON; `ArchError` if the text is not JSON or an object has a duplicate entry."""
    try:
        return json.loads(text, object_pairs_hook=unique_entries)
    except (ValueError, RecursionError) as e:
        raise e if isinstance(e, ArchError) else ArchError(f'not JSON: {e}') from None


def unique_entries(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; `ArchError` for a duplicate entry, of which `json` would silently keep the last."""
    data: dict[str, Any] = {}
    for key, value in pairs:
        if key in data:
            raise ArchError(f'entry {show(key)} appears twice in a JSON object: expected each entry once')
        data[key] = value
    return data


def format_number(value: float) -> str:
    """A number without trailing zeros."""
    return f'{value:.4f}'.rstrip('0').rstrip('.')


def show(value: object) -> str:
    """A short representation of a value for error messages."""
    if isinstance(value, str):
        return repr(value if len(value) <= 40 else value[:37] + '...')
    if isinstance(value, int) and abs(value) >= 10**20:
        return 'a huge number'
    return repr(value) if isinstance(value, (int, float, type(None))) else f'a value of type {type(value).__name__}'


def _spelled(field: str, value: object) -> str:
    """A field with its value as in a token (`k4`), or in words (`k is None`) if no token can have that value."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 10**20
    return f'{field}{value!r}' if is_number else f'{field} is {show(value)}'


def check_arch(arch: 'Arch', where: list[str]) -> None:
    """Raise `ArchError` if `arch` is invalid. `where` has the names of stem, groups and head for the messages."""
    if not arch.groups:
        raise ArchError(f'{where[-1]}: expected at least one ir_ group between the stem and the head, found none')
    if len(arch.groups) > MAX_GROUPS:
        raise ArchError(f'{where[MAX_GROUPS + 1]}: expected at most {MAX_GROUPS} groups, got {len(arch.groups)}')
    check_one_of(arch.stem.kernel, STEM_KERNELS, 'k', where[0])
    _check_conv(arch.stem, where[0])
    blocks, stride, in_chs = 0, arch.stem.stride, arch.stem.channels
    for group, at in zip(arch.groups, where[1:]):
        check_integer(group.repeats, 1, MAX_REPEATS, 'r', 'repeats', at)
        check_one_of(group.kernel, tuple(KERNELS), 'k', at)
        check_one_of(group.stride, STRIDES, 's', at)
        check_integer(group.channels, 1, MAX_CHANNELS, 'c', 'channels', at)
        check_one_of(group.act, tuple(ACTS), 'n', at)
        check_one_of(group.splits, tuple(SPLITS), 'sp', at)
        e = group.expansion
        if isinstance(e, bool) or not isinstance(e, (int, float)) or not 0 < e <= MAX_EXPANSION or round(e, 4) != e:
            raise ArchError(
                f'{at}: {_spelled("e", e)}: expected an expansion above 0 and at most {MAX_EXPANSION}, '
                'with up to 4 decimals'
            )
        widest = max(in_chs, group.channels if group.repeats > 1 else 0)
        if group.kernel and expanded_channels(widest, e) > MAX_EXPANDED:
            raise ArchError(
                f'{at}: e{format_number(e)} makes {expanded_channels(widest, e)} channels: '
                f'expected at most {MAX_EXPANDED}'
            )
        blocks += group.repeats if group.kernel else 1
        stride *= group.stride
        in_chs = group.channels
        if stride > MAX_TOTAL_STRIDE:
            raise ArchError(f'{at}: total stride {stride}: expected at most {MAX_TOTAL_STRIDE}, a power of two')
    if blocks > MAX_BLOCKS:
        raise ArchError(f'{where[-1]}: {blocks} blocks in all groups: expected at most {MAX_BLOCKS}')
    check_one_of(arch.head.kernel, (1,), 'k', where[-1])
    check_one_of(arch.head.stride, (1,), 's', where[-1])
    _check_conv(arch.head, where[-1])
    sides = arch.img_size if isinstance(arch.img_size, tuple) else (arch.img_size,)
    if isinstance(arch.img_size, tuple) and len(sides) != 2:
        raise ArchError(f'token 1: input size of {len(sides)} numbers: expected one, or height and width')
    for side in sides:
        check_integer(side, 1, MAX_IMG_SIZE, 'i', 'input size in pixels', 'token 1')
    if min(sides) < stride:
        raise ArchError(
            f'token 1: i{shown_size(arch.img_size)}: the input size is below the total stride of the network: expected '
            f'at least {stride} pixels'
        )


def _check_conv(conv: 'Conv', at: str) -> None:
    check_one_of(conv.stride, STRIDES, 's', at)
    check_integer(conv.channels, 1, MAX_CHANNELS, 'c', 'channels', at)
    check_one_of(conv.act, tuple(ACTS), 'n', at)


def check_one_of(value: Any, choices: tuple, field: str, at: str) -> None:
    if type(value) is type(choices[0]) and value in choices:
        return
    names = ', '.join(f'{field}{c}' for c in choices)
    expected = f'one of {names}' if len(choices) > 1 else names
    raise ArchError(f'{at}: {_spelled(field, value)}: expected {expected}{_nearest(value, choices, field)}')


def _nearest(value: Any, choices: tuple, field: str) -> str:
    close: list[Any] = []
    if isinstance(value, str) and isinstance(choices[0], str):
        near = NEAR_MISSES.get(f'n{value[:20].lower()}')
        close = [near[1:]] if near else get_close_matches(value[:20], choices, n=1)
    elif isinstance(value, str):
        close = [c for c in choices if str(c) == value]
    elif type(value) in (int, float) and abs(value) < 100 and isinstance(choices[0], int) and len(choices) > 1:
        close = [min(choices, key=lambda c: abs(c - value))]
    return f'; did you mean {field}{close[0]}?' if close else ''


def check_integer(value: Any, low: int, high: int, field: str, meaning: str, at: str) -> None:
    if type(value) is not int or not low <= value <= high:
        raise ArchError(f'{at}: {_spelled(field, value)}: expected {meaning} from {low} to {high}')


@contextmanager
def relabel_errors(*where: str) -> Iterator[None]:
    """Within the context, replace `token i` at the start of error messages by the i-th name of `where`, from 1."""
    try:
        yield
    except ArchError as e:
        name, colon, rest = str(e).partition(':')
        token = re.match(r'token (\d+)', name)
        raise ArchError(f'{where[int(token[1]) - 1]}{colon}{rest}' if token else str(e)) from None


def named_entries(
        data: Any, at: str, required: tuple[str, ...], optional: dict[str, Any] | None = None
) -> dict[str, Any]:
    """The entries of a JSON object, with defaults filled in; `ArchError` for missing or unknown entries."""
    if not isinstance(data, dict):
        raise ArchError(f'{at}: expected an object with {", ".join(required)}, got {show(data)}')
    names = [*required, *(optional or {})]
    for key in data:
        if key not in names:
            hint = did_you_mean(key, names) if isinstance(key, str) else ''
            raise ArchError(f'{at}: unknown entry {show(key)}: expected {", ".join(names)}{hint}')
    for key in required:
        if key not in data:
            raise ArchError(f'{at}: entry {key!r} is missing: expected {", ".join(names)}')
    return {**(optional or {}), **data}
