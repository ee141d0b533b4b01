"""The architecture encoding: what a network is made of, as a string, as JSON and as frozen dataclasses.

    i224-cn_r1_k3_s2_c16_nsw-ir_r1_k3_s1_e2.25_c8_nre-ir_r2_k5_s2_e3_c24_nsw_sp2-cn_r1_k1_s1_c1984_nsw

An input size, the stem convolution, one `ir` token per group (a row of the supplement's Tables D.4 to D.6) and the 1x1
head convolution, in timm's block notation. An `Arch` that exists is valid and canonical, so `Arch.parse(str(a)) == a`.
This module needs neither torch nor timm.
"""
import json
import re
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from difflib import get_close_matches
from functools import cached_property
from typing import Any, NamedTuple

__all__ = ['Arch', 'ArchError', 'Block', 'Conv', 'Group', 'expanded_channels', 'make_divisible', 'out_size']

KERNELS = (0, 3, 5, 7, 9, 11)
SPLITS = (0, 1, 2, 4)
ACTS = {'re': 'relu', 'sw': 'swish', 'hs': 'hard-swish'}
STRIDES = (1, 2)
STEM_KERNELS = (1, 3, 5, 7)
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
    """An architecture that does not exist: what was wrong, where it stood and what was expected."""


def make_divisible(value: float, divisor: int = 8) -> int:
    """timm's `make_divisible`, without torch: the nearest multiple, at least one, never over 10 % below `value`."""
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


def expanded_channels(in_chs: int, expansion: float) -> int:
    """Width of a block's depthwise convolutions, channels. Without expansion (1) it is `in_chs`, whatever that is."""
    return in_chs if expansion == 1 else make_divisible(in_chs * expansion)


def out_size(size: int, stride: int) -> int:
    """Height (or width) in pixels after a convolution with an odd kernel k, padding k // 2 and `stride`."""
    return (size - 1) // stride + 1


@dataclass(frozen=True)
class Conv:
    """A `cn` token: convolution, batch norm and activation. The stem (any odd kernel) and the head (1x1)."""

    kernel: int
    stride: int
    channels: int
    act: str

    def __str__(self) -> str:
        return f'cn_r1_k{self.kernel}_s{self.stride}_c{self.channels}_n{self.act}'


@dataclass(frozen=True)
class Group:
    """An `ir` token: `repeats` MBConv blocks, the first of them with `stride`.

    `kernel` 0 bypasses the group: an identity where the shape stays, else a 1x1 convolution with `stride`, batch norm
    and activation. `splits`: 0 no attention, 1 Squeeze-Excite, 2 or 4 Split-Attention.
    """

    repeats: int
    kernel: int
    stride: int
    expansion: float
    channels: int
    act: str
    splits: int = 0

    def __str__(self) -> str:
        text = (
            f'ir_r{self.repeats}_k{self.kernel}_s{self.stride}_e{_number(self.expansion)}_c{self.channels}_n{self.act}'
        )
        return f'{text}_sp{self.splits}' if self.splits else text


class Block(NamedTuple):
    """One block as it is built: a group's first block carries the stride and the change of channels."""

    in_chs: int
    out_chs: int
    kernel: int
    stride: int
    expansion: float
    act: str
    splits: int

    @property
    def is_identity(self) -> bool:
        return self.kernel == 0 and self.stride == 1 and self.in_chs == self.out_chs


@dataclass(frozen=True)
class Arch:
    """A whole network: square input size in pixels, stem, groups and head. Valid and canonical once it exists.

    Raises:
        ArchError: for anything that is not an architecture of this format.
    """

    stem: Conv
    groups: tuple[Group, ...]
    head: Conv
    img_size: int = DEFAULT_IMG_SIZE

    def __post_init__(self) -> None:
        if not isinstance(self.groups, (tuple, list)):
            raise ArchError(f'groups: expected a sequence of Group, got {_show(self.groups)}')
        object.__setattr__(self, 'groups', tuple(self.groups))
        last = len(self.groups) + 3
        _check(self, ['token 2 (stem)', *(f'token {i}' for i in range(3, last)), f'token {last} (head)'])
        in_chs = self.stem.channels
        groups = []
        for group in self.groups:
            groups.append(_canonical(group, in_chs))
            in_chs = group.channels
        object.__setattr__(self, 'groups', tuple(groups))

    def __str__(self) -> str:
        return '-'.join([f'i{self.img_size}', str(self.stem), *map(str, self.groups), str(self.head)])

    @classmethod
    def parse(cls, text: str) -> 'Arch':
        """The `Arch` of an architecture string.

        Args:
            text: tokens joined by `-`, fields of a token in any order (see `docs/format.md`).

        Raises:
            ArchError: names the token, its position and what was expected.
        """
        return _parse(text)

    @property
    def total_stride(self) -> int:
        """Input pixels per pixel of the last feature map."""
        stride = self.stem.stride
        for group in self.groups:
            stride *= group.stride
        return stride

    @cached_property
    def blocks(self) -> tuple[tuple[Block, ...], ...]:
        """The blocks of each group as they are built; a bypassed group has one."""
        in_chs, groups = self.stem.channels, []
        for g in self.groups:
            stride, blocks = g.stride, []
            for _ in range(g.repeats):
                blocks.append(Block(in_chs, g.channels, g.kernel, stride, g.expansion, g.act, g.splits))
                in_chs, stride = g.channels, 1
            groups.append(tuple(blocks))
        return tuple(groups)

    def with_img_size(self, img_size: int) -> 'Arch':
        """The same network, made for another input size in pixels."""
        return replace(self, img_size=img_size)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: `img_size`, `stem`, `groups`, `head`."""
        return {
            'img_size': self.img_size,
            'stem': asdict(self.stem),
            'groups': [asdict(g) for g in self.groups],
            'head': asdict(self.head),
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> 'Arch':
        """The `Arch` of `to_dict`'s data; `ArchError` names the entry that is missing, unknown or wrong."""
        data = named_entries(data, 'architecture', ('stem', 'groups', 'head'), {'img_size': DEFAULT_IMG_SIZE})
        if not isinstance(data['groups'], (list, tuple)):
            raise ArchError(f'groups: expected a list, got {_show(data["groups"])}')
        if len(data['groups']) > MAX_GROUPS:
            raise ArchError(f'groups: expected at most {MAX_GROUPS}, got {len(data["groups"])}')
        conv = ('kernel', 'stride', 'channels', 'act')
        group = ('kernel', 'expansion', 'channels', 'act')
        defaults = {'repeats': 1, 'stride': 1, 'splits': 0}
        stem = Conv(**named_entries(data['stem'], 'stem', conv))
        where = [f'groups[{i}]' for i in range(len(data['groups']))]
        groups = tuple(Group(**named_entries(g, at, group, defaults)) for g, at in zip(data['groups'], where))
        head = Conv(**named_entries(data['head'], 'head', conv))
        with renamed('img_size', 'stem', *where, 'head'):
            return cls(stem, groups, head, data['img_size'])

    def to_json(self, indent: int | None = None) -> str:
        return json.dumps(self.to_dict(), indent=indent)

    @classmethod
    def from_json(cls, text: str) -> 'Arch':
        """The `Arch` of `to_json`'s text; `ArchError` for text that is not JSON or not an architecture."""
        if not isinstance(text, str) or len(text) > 16 * MAX_LENGTH:
            raise ArchError(f'expected JSON text of at most {16 * MAX_LENGTH} characters, got {_show(text)}')
        return cls.from_dict(load_json(text))


def load_json(text: str) -> Any:
    """The data of a JSON text; `ArchError` for text that is not JSON and for an object with an entry twice."""
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as e:
        raise e if isinstance(e, ArchError) else ArchError(f'not JSON: {e}') from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data: dict[str, Any] = {}
    for key, value in pairs:
        if key in data:
            raise ArchError(f'entry {_show(key)} stands twice in a JSON object: expected each entry once')
        data[key] = value
    return data


def _number(value: float) -> str:
    """A number without trailing zeros."""
    return f'{value:.4f}'.rstrip('0').rstrip('.')


def _show(value: object) -> str:
    """A value as an error shows it: never long."""
    if isinstance(value, str):
        return repr(value if len(value) <= 40 else value[:37] + '...')
    if isinstance(value, int) and abs(value) >= 10**20:
        return 'a huge number'
    return repr(value) if isinstance(value, (int, float, type(None))) else f'a value of type {type(value).__name__}'


def _spelled(field: str, value: object) -> str:
    """A field with its value as a token has it, `k4`; a value that no token can have is named: `k is None`."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 10**20
    return f'{field}{value!r}' if is_number else f'{field} is {_show(value)}'


def _canonical(group: Group, in_chs: int) -> Group:
    expansion = float(group.expansion)
    if group.kernel:
        return replace(group, expansion=expansion)
    identity = group.stride == 1 and in_chs == group.channels
    return replace(group, repeats=1, expansion=1.0, splits=0, act='re' if identity else group.act)


# ---------------------------------------------------------------- validation: `where` names the tokens in an error


def _check(arch: Arch, where: list[str]) -> None:
    """Raise `ArchError` unless `arch` is one. `where` names stem, groups and head, in this order."""
    if not isinstance(arch.stem, Conv) or not isinstance(arch.head, Conv):
        raise ArchError(f'expected a Conv as stem and head, got {_show(arch.stem)} and {_show(arch.head)}')
    if not arch.groups:
        raise ArchError(f'{where[-1]}: expected at least one ir_ group between the stem and the head, found none')
    if len(arch.groups) > MAX_GROUPS:
        raise ArchError(f'{where[MAX_GROUPS + 1]}: expected at most {MAX_GROUPS} groups, got {len(arch.groups)}')
    _one_of(arch.stem.kernel, STEM_KERNELS, 'k', where[0])
    _conv(arch.stem, where[0])
    blocks, stride, in_chs = 0, arch.stem.stride, arch.stem.channels
    for group, at in zip(arch.groups, where[1:]):
        if not isinstance(group, Group):
            raise ArchError(f'{at}: expected a Group, got {_show(group)}')
        _integer(group.repeats, 1, MAX_REPEATS, 'r', 'repeats', at)
        _one_of(group.kernel, KERNELS, 'k', at)
        _one_of(group.stride, STRIDES, 's', at)
        _integer(group.channels, 1, MAX_CHANNELS, 'c', 'channels', at)
        _one_of(group.act, tuple(ACTS), 'n', at)
        _one_of(group.splits, SPLITS, 'sp', at)
        e = group.expansion
        if isinstance(e, bool) or not isinstance(e, (int, float)) or not 0 < e <= MAX_EXPANSION or round(e, 4) != e:
            raise ArchError(
                f'{at}: {_spelled("e", e)}: expected an expansion above 0 and at most {MAX_EXPANSION}, '
                'with up to 4 decimals'
            )
        widest = max(in_chs, group.channels if group.repeats > 1 else 0)
        if group.kernel and expanded_channels(widest, e) > MAX_EXPANDED:
            raise ArchError(
                f'{at}: e{_number(e)} makes {expanded_channels(widest, e)} channels: expected at most {MAX_EXPANDED}'
            )
        blocks += group.repeats if group.kernel else 1
        stride *= group.stride
        in_chs = group.channels
        if stride > MAX_TOTAL_STRIDE:
            raise ArchError(f'{at}: total stride {stride}: expected at most {MAX_TOTAL_STRIDE}, a power of two')
    if blocks > MAX_BLOCKS:
        raise ArchError(f'{where[-1]}: {blocks} blocks in all groups: expected at most {MAX_BLOCKS}')
    _one_of(arch.head.kernel, (1,), 'k', where[-1])
    _one_of(arch.head.stride, (1,), 's', where[-1])
    _conv(arch.head, where[-1])
    _integer(arch.img_size, 1, MAX_IMG_SIZE, 'i', 'input size in pixels', 'token 1')
    if arch.img_size < stride:
        raise ArchError(
            f'token 1: i{arch.img_size}: the input size is below the total stride of the network: expected at least '
            f'{stride} pixels'
        )


def _conv(conv: Conv, at: str) -> None:
    _one_of(conv.stride, STRIDES, 's', at)
    _integer(conv.channels, 1, MAX_CHANNELS, 'c', 'channels', at)
    _one_of(conv.act, tuple(ACTS), 'n', at)


def _one_of(value: Any, choices: tuple, field: str, at: str) -> None:
    if type(value) is type(choices[0]) and value in choices:
        return
    names = ', '.join(f'{field}{c}' for c in choices)
    expected = f'one of {names}' if len(choices) > 1 else names
    raise ArchError(f'{at}: {_spelled(field, value)}: expected {expected}{_nearest(value, choices, field)}')


def _nearest(value: Any, choices: tuple, field: str) -> str:
    close: list[Any] = []
    if isinstance(value, str) and isinstance(choices[0], str):
        near = _NEAR_MISSES.get(f'n{value[:20].lower()}')
        close = [near[1:]] if near else get_close_matches(value[:20], choices, n=1)
    elif isinstance(value, str):
        close = [c for c in choices if str(c) == value]
    elif type(value) in (int, float) and abs(value) < 100 and isinstance(choices[0], int) and len(choices) > 1:
        close = [min(choices, key=lambda c: abs(c - value))]
    return f'; did you mean {field}{close[0]}?' if close else ''


def _integer(value: Any, low: int, high: int, field: str, meaning: str, at: str) -> None:
    if type(value) is not int or not low <= value <= high:
        raise ArchError(f'{at}: {_spelled(field, value)}: expected {meaning} from {low} to {high}')


@contextmanager
def renamed(*where: str) -> Iterator[None]:
    """Errors inside keep their words, but call token i (counted from 1) by the i-th name of `where`."""
    try:
        yield
    except ArchError as e:
        name, colon, rest = str(e).partition(':')
        token = re.match(r'token (\d+)', name)
        raise ArchError(f'{where[int(token[1]) - 1]}{colon}{rest}' if token else str(e)) from None


def named_entries(
        data: Any, at: str, required: tuple[str, ...], optional: dict[str, Any] | None = None
) -> dict[str, Any]:
    """The named entries of a JSON object with defaults filled in; `ArchError` for missing and unknown ones."""
    if not isinstance(data, dict):
        raise ArchError(f'{at}: expected an object with {", ".join(required)}, got {_show(data)}')
    names = [*required, *(optional or {})]
    for key in data:
        if key not in names:
            close = get_close_matches(key[:20], names, n=1) if isinstance(key, str) else []
            hint = f'; did you mean {close[0]!r}?' if close else ''
            raise ArchError(f'{at}: unknown entry {_show(key)}: expected {", ".join(names)}{hint}')
    for key in required:
        if key not in data:
            raise ArchError(f'{at}: entry {key!r} is missing: expected {", ".join(names)}')
    return {**(optional or {}), **data}


# ---------------------------------------------------------------- parsing

_FIELD = re.compile(r'(sp|[rksec])([0-9]{1,20}(?:\.[0-9]{1,20})?)')
_FIELDS = {'cn': ('r', 'k', 's', 'c', 'n'), 'ir': ('r', 'k', 's', 'e', 'c', 'n', 'sp')}
_DEFAULTS = {'r': 1, 's': 1, 'sp': 0}
_MEANING = {
    'r': 'repeats, as r2',
    'k': 'kernel, as k3',
    's': 'stride, as s2',
    'e': 'expansion, as e2.25',
    'c': 'output channels, as c24',
    'n': 'non-linearity, one of nre, nsw, nhs',
    'sp': 'splits, one of sp0, sp1, sp2, sp4',
}
_WORDS = {'r': 'repeats', 'k': 'kernel', 's': 'stride', 'e': 'expansion', 'c': 'channels', 'sp': 'splits'}
_NEAR_MISSES = {'nrelu': 'nre', 'nswish': 'nsw', 'nsilu': 'nsw', 'nhswish': 'nhs', 'nhardswish': 'nhs'}


def _parse(text: str) -> Arch:
    if not isinstance(text, str):
        raise ArchError(f'expected an architecture string, got {_show(text)}')
    if len(text) > MAX_LENGTH:
        raise ArchError(f'expected at most {MAX_LENGTH} characters, got {len(text)}')
    start = len(text) - len(text.lstrip())
    text = text.strip()
    if not text:
        raise ArchError(f'expected an architecture string such as {_EXAMPLE}, got an empty one')
    tokens, where = text.split('-'), []
    for i, token in enumerate(tokens, 1):
        where.append(f'token {i} {_show(token)} at character {start + 1}')
        start += len(token) + 1
    if '' in tokens:
        raise ArchError(f'{where[tokens.index("")]}: an empty token: expected one "-" between two tokens')
    img_size, size_at = DEFAULT_IMG_SIZE, f'the input size (not given, so {DEFAULT_IMG_SIZE})'
    size = re.fullmatch('i([0-9]{1,20})', tokens[0])
    if not size and len(tokens) > 1 and re.match('[iI](?![rR])', tokens[0]):
        near = _plain(tokens[0][:20])
        hint = f'; did you mean {near}?' if re.fullmatch('i[0-9]{1,4}', near) else ''
        raise ArchError(f'{where[0]}: expected the input size in pixels, as i224{hint}')
    if size:
        img_size, tokens, size_at, where = int(size[1]), tokens[1:], where[0], where[1:]
    if len(tokens) < 3:
        raise ArchError(
            f'{text[:40]!r}: expected at least three tokens beside the size: a cn_ stem, ir_ groups and a cn_ k1 head, '
            f'joined by "-", such as {_EXAMPLE}; got {len(tokens)}'
        )
    if len(tokens) > MAX_GROUPS + 2:
        raise ArchError(f'{where[MAX_GROUPS + 1]}: expected at most {MAX_GROUPS} groups, got {len(tokens) - 2}')
    stem = _conv_token(tokens[0], where[0], 'stem')
    groups = tuple(_group_token(token, at) for token, at in zip(tokens[1:-1], where[1:-1]))
    head = _conv_token(tokens[-1], where[-1], 'head')
    with renamed(size_at, f'{where[0]} (stem)', *where[1:-1], f'{where[-1]} (head)'):
        return Arch(stem, groups, head, img_size)


def _conv_token(token: str, at: str, role: str) -> Conv:
    example = 'cn_r1_k3_s2_c16_nsw' if role == 'stem' else 'cn_r1_k1_s1_c1984_nsw'
    fields = _decode(token, at, 'cn', f'the {role} convolution, as {example}')
    if fields['r'] != 1:
        raise ArchError(f'{at}: r{fields["r"]}: expected r1, the {role} is one convolution')
    return Conv(kernel=fields['k'], stride=fields['s'], channels=fields['c'], act=fields['n'])


def _group_token(token: str, at: str) -> Group:
    f = _decode(token, at, 'ir', 'a group, as ir_r2_k5_s2_e3_c24_nsw_sp2')
    return Group(f['r'], f['k'], f['s'], f['e'], f['c'], f['n'], f['sp'])


def _decode(token: str, at: str, kind: str, expected: str) -> dict[str, Any]:
    """The fields of one token, defaults filled in."""
    name, *parts = token.split('_')
    if name != kind:
        if re.fullmatch('[0-9]{2,4}', token):
            raise ArchError(f'{at}: expected {expected}; did you mean i{token}?')
        if name == 'ir':
            raise ArchError(f'{at}: expected {expected}; is it left out?')
        hint = f'; did you mean {kind}_?' if name.strip().lower() in (kind, 'ds', 'er', 'uir', 'ir', 'cn') else ''
        raise ArchError(f'{at}: expected {expected}{hint}')
    fields: dict[str, Any] = {}
    for part in parts:
        match = _FIELD.fullmatch(part)
        if match:
            key, number = match.groups()
            if '.' not in number:
                value: Any = int(number)
            elif key == 'e':
                value = float(number)
            else:
                raise ArchError(f'{at}: field {part!r}: expected a whole number: {_MEANING[key]}')
        elif part.startswith('n') and part[1:] in ACTS:
            key, value = 'n', part[1:]
        else:
            raise ArchError(f'{at}: unknown field {_show(part)}: expected {_expected(kind)}{_field_hint(part, kind)}')
        if key not in _FIELDS[kind]:
            raise ArchError(f'{at}: field {part!r} does not belong to {kind}_: expected {_expected(kind)}')
        if key in fields:
            raise ArchError(f'{at}: field {part!r} is a second {key}: expected each field once')
        fields[key] = value
    fields = {**_DEFAULTS, **({'e': 1} if fields.get('k') == 0 else {}), **fields}  # a bypass has no expansion
    for f in _FIELDS[kind]:
        if f not in fields:
            raise ArchError(f'{at}: field {f} is missing: expected {_MEANING[f]}')
    return fields


def _expected(kind: str) -> str:
    return ', '.join(f if f != 'n' else 'nre|nsw|nhs' for f in _FIELDS[kind]) + ' with their values'


def _plain(part: str) -> str:
    """Without what tells a near miss from the right thing: capitals, spaces, digits that are not ASCII."""
    return ''.join(str(unicodedata.digit(c, c)) for c in part.strip().lower())


def _field_hint(part: str, kind: str) -> str:
    if len(part) > 20:
        return ''
    lower = _plain(part)
    if lower in ('skip', 'noskip'):
        return '; leave it out: a residual sum follows from stride and channels'
    if lower in _WORDS:
        return f'; its number is missing: {_MEANING[lower]}'
    if lower.startswith('se') and kind == 'ir':
        return '; did you mean sp1 (Squeeze-Excite)?'
    if _FIELD.fullmatch(lower) or (lower[:1] == 'n' and lower[1:] in ACTS):
        return f'; did you mean {lower}?'
    letters, number = re.fullmatch('([a-z]*)(.*)', lower, re.DOTALL).groups()
    number = f'0{number}' if number.startswith('.') else number
    if _FIELD.fullmatch(f'k{number}'):
        keys = [f for f in _FIELDS[kind] if f in _WORDS]
        close = [f for f in keys if letters and _WORDS[f].startswith(letters)] or get_close_matches(letters, keys, n=1)
        return f'; did you mean {close[0]}{number}?' if close else ''
    near = _NEAR_MISSES.get(lower) or _NEAR_MISSES.get(f'n{lower}')
    close = [near] if near else get_close_matches(letters, ['nre', 'nsw', 'nhs'], n=1)
    return f'; did you mean {close[0]}?' if close else ''


_EXAMPLE = 'i224-cn_k3_s2_c16_nsw-ir_r2_k3_s2_e3_c24_nre_sp2-cn_k1_c1984_nsw'
