"""Strings and data that the tests of the format share."""
import re

import pytest

from fpnas_timm.arch import Arch, ArchError

STEM, GROUP, HEAD = 'cn_r1_k3_s2_c16_nsw', 'ir_r2_k3_s2_e3_c24_nre_sp2', 'cn_r1_k1_s1_c1984_nsw'
MINIMAL = f'i224-{STEM}-{GROUP}-{HEAD}'
CANONICAL = re.compile(
    r'i[1-9]\d*-cn_r1_k[1357]_s[12]_c[1-9]\d*_n(re|sw|hs|r6)'
    r'(-ir_r[1-9]\d*_k(0|3|5|7|9|11)_s[12]_e(0|[1-9]\d*)(\.\d*[1-9])?_c[1-9]\d*_n(re|sw|hs|r6)(_sp[124])?)+'
    r'-cn_r1_k1_s1_c[1-9]\d*_n(re|sw|hs|r6)',
    re.ASCII,
)


def network(*groups, size='i224', stem=STEM, head=HEAD):
    return '-'.join([*([size] if size else []), stem, *groups, head])


def group(**fields):
    """`GROUP` with some fields changed, or left out where None."""
    fields = {'r': 2, 'k': 3, 's': 2, 'e': 3, 'c': 24, 'n': 're', 'sp': 2, **fields}
    return '_'.join(['ir', *(f'{key}{value}' for key, value in fields.items() if value is not None)])


def short(value):
    """The name of a test's parameter: never megabytes."""
    return f'{value[:30]!a}' if isinstance(value, str) else None


def parse_error(text):
    with pytest.raises(ArchError) as caught:
        Arch.parse(text)
    return str(caught.value)


def json_with(path, value):
    """`MINIMAL` as data, with the entry at `path` replaced."""
    data = Arch.parse(MINIMAL).to_dict()
    at = data
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return data


JSON_PATHS = [
    ('img_size',), ('stem',), ('groups',), ('head',), ('groups', 0),
    *(('stem', key) for key in ('kernel', 'stride', 'channels', 'act')),
    *(('groups', 0, key) for key in ('repeats', 'kernel', 'stride', 'expansion', 'channels', 'act', 'splits')),
    *(('head', key) for key in ('kernel', 'stride', 'channels', 'act')),
]  # fmt: skip
