"""The grammar of the architecture string: parses text to the fields of its tokens, with hints for misspellings."""
import re
import string
import unicodedata
from difflib import get_close_matches
from typing import Any

from ..errors import did_you_mean
from .checks import DEFAULT_IMG_SIZE, MAX_GROUPS, MAX_LENGTH, NEAR_MISSES, ArchError, show
from .choices import ACTS, SPLITS
from .sizes import ImgSize

__all__ = ['parse_tokens']

_FIELD = re.compile(r'(sp|[rksec])([0-9]{1,20}(?:\.[0-9]{1,20})?)')
_FIELDS = {'cn': ('r', 'k', 's', 'c', 'n'), 'ir': ('r', 'k', 's', 'e', 'c', 'n', 'sp')}
_NAMES = {
    'r': 'repeats', 'k': 'kernel', 's': 'stride', 'e': 'expansion', 'c': 'channels', 'n': 'act', 'sp': 'splits'
}
_DEFAULTS = {'r': 1, 's': 1, 'sp': 0}
_ACT_FIELDS = [f'n{letters}' for letters in ACTS]
_MEANING = {
    'r': 'repeats, as r2',
    'k': 'kernel, as k3',
    's': 'stride, as s2',
    'e': 'expansion, as e2.25',
    'c': 'output channels, as c24',
    'n': f'non-linearity, one of {", ".join(_ACT_FIELDS)}',
    'sp': f'splits, one of {", ".join(f"sp{s}" for s in SPLITS)}',
}
_WORDS = {letter: name for letter, name in _NAMES.items() if letter != 'n'}


def parse_tokens(text: str) -> tuple[ImgSize, list[dict[str, Any]], list[str]]:
    """Parse an architecture string to the fields of its tokens.

    Args:
        text: tokens joined by `-`, fields of a token in any order.

    Returns:
        The input size in pixels; the fields of stem, groups and head, in this order, with the names of `Conv` and
        `Group`; and for each of these, how error messages refer to it.

    Raises:
        ArchError: names the token, its position and what was expected.
    """
    if not isinstance(text, str):
        raise ArchError(f'expected an architecture string, got {show(text)}')
    if len(text) > MAX_LENGTH:
        raise ArchError(f'expected at most {MAX_LENGTH} characters, got {len(text)}')
    start = len(text) - len(text.lstrip())
    text = text.strip()
    if not text:
        raise ArchError(f'expected an architecture string such as {_EXAMPLE}, got an empty one')
    tokens, where = text.split('-'), []
    for i, token in enumerate(tokens, 1):
        where.append(f'token {i} {show(token)} at character {start + 1}')
        start += len(token) + 1
    if '' in tokens:
        raise ArchError(f'{where[tokens.index("")]}: an empty token: expected one "-" between two tokens')
    img_size: ImgSize = DEFAULT_IMG_SIZE
    size_at = f'the input size (not given, so {DEFAULT_IMG_SIZE})'
    size = re.fullmatch('i([0-9]{1,20})(?:x([0-9]{1,20}))?', tokens[0])
    if not size and len(tokens) > 1 and re.match('[iI](?![rR])', tokens[0]):
        near = _plain(tokens[0][:20])
        hint = f'; did you mean {near}?' if re.fullmatch('i[0-9]{1,4}(x[0-9]{1,4})?', near) else ''
        raise ArchError(f'{where[0]}: expected the input size in pixels, as i224{hint}')
    if size:
        img_size = (int(size[1]), int(size[2])) if size[2] else int(size[1])
        tokens, size_at, where = tokens[1:], where[0], where[1:]
    if len(tokens) < 3:
        raise ArchError(
            f'{text[:40]!r}: expected at least three tokens beside the size: a cn_ stem, ir_ groups and a cn_ k1 head, '
            f'joined by "-", such as {_EXAMPLE}; got {len(tokens)}'
        )
    if len(tokens) > MAX_GROUPS + 2:
        raise ArchError(f'{where[MAX_GROUPS + 1]}: expected at most {MAX_GROUPS} groups, got {len(tokens) - 2}')
    fields = [
        _conv_fields(tokens[0], where[0], 'stem'),
        *(_group_fields(token, at) for token, at in zip(tokens[1:-1], where[1:-1])),
        _conv_fields(tokens[-1], where[-1], 'head'),
    ]
    return img_size, fields, [size_at, f'{where[0]} (stem)', *where[1:-1], f'{where[-1]} (head)']


def _conv_fields(token: str, at: str, role: str) -> dict[str, Any]:
    example = 'cn_r1_k3_s2_c16_nsw' if role == 'stem' else 'cn_r1_k1_s1_c1984_nsw'
    fields = _decode_token(token, at, 'cn', f'the {role} convolution, as {example}')
    if fields['r'] != 1:
        raise ArchError(f'{at}: r{fields["r"]}: expected r1, the {role} is one convolution')
    return {'kernel': fields['k'], 'stride': fields['s'], 'channels': fields['c'], 'act': fields['n']}


def _group_fields(token: str, at: str) -> dict[str, Any]:
    fields = _decode_token(token, at, 'ir', 'a group, as ir_r2_k5_s2_e3_c24_nsw_sp2')
    return {name: fields[letter] for letter, name in _NAMES.items()}


def _decode_token(token: str, at: str, kind: str, expected: str) -> dict[str, Any]:
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
        elif part in _ACT_FIELDS:
            key, value = 'n', part[1:]
        else:
            raise ArchError(f'{at}: unknown field {show(part)}: expected {_expected(kind)}{_field_hint(part, kind)}')
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
    return ', '.join(f if f != 'n' else '|'.join(_ACT_FIELDS) for f in _FIELDS[kind]) + ' with their values'


def _plain(part: str) -> str:
    """In lower case, without spaces around it and with ASCII digits: how many near misses become valid."""
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
    if _FIELD.fullmatch(lower) or lower in _ACT_FIELDS:
        return f'; did you mean {lower}?'
    near = NEAR_MISSES.get(lower) or NEAR_MISSES.get(f'n{lower}')
    if near:
        return f'; did you mean {near}?'
    number = lower.lstrip(string.ascii_lowercase)
    letters = lower[: len(lower) - len(number)]
    number = f'0{number}' if number.startswith('.') else number
    if _FIELD.fullmatch(f'k{number}'):
        keys = [f for f in _FIELDS[kind] if f in _WORDS]
        close = [f for f in keys if letters and _WORDS[f].startswith(letters)] or get_close_matches(letters, keys, n=1)
        return f'; did you mean {close[0]}{number}?' if close else ''
    return did_you_mean(letters, _ACT_FIELDS)


_EXAMPLE = 'i224-cn_k3_s2_c16_nsw-ir_r2_k3_s2_e3_c24_nre_sp2-cn_k1_c1984_nsw'
