"""Changes one group or one block of an architecture."""
from dataclasses import fields, replace
from typing import Any

from ..errors import did_you_mean
from .checks import ArchError, relabel_errors
from .encoding import Arch, Group

__all__ = ['edit_group']


def edit_group(arch: Arch, group: int, changes: dict[str, Any], block: int | None = None) -> Arch:
    """The architecture with other values in one group, or in one of its blocks.

    Args:
        arch: the architecture.
        group: number of the group, from 0.
        changes: field of `Group` -> new value.
        block: number of the block in the group, from 0, if only that one is to change; the group then becomes up to
            three, since the blocks of a group are alike. None: all of them.

    Raises:
        ArchError: there is no such group, block or field, or a value is not allowed; the message names the group.

    >>> arch = Arch.parse('i64-cn_k3_s2_c16_nsw-ir_r3_k3_s2_e3_c24_nre-cn_k1_c128_nsw')
    >>> print(edit_group(arch, 0, {'kernel': 5}))
    i64-cn_r1_k3_s2_c16_nsw-ir_r3_k5_s2_e3_c24_nre-cn_r1_k1_s1_c128_nsw
    >>> print(edit_group(arch, 0, {'kernel': 5}, block=1))
    i64-cn_r1_k3_s2_c16_nsw-ir_r1_k3_s2_e3_c24_nre-ir_r1_k5_s1_e3_c24_nre-ir_r1_k3_s1_e3_c24_nre-cn_r1_k1_s1_c128_nsw
    """
    known = [f.name for f in fields(Group)]
    for name in changes:
        if name not in known:
            raise ArchError(f'{name!r} is no field of a group: expected {", ".join(known)}{did_you_mean(name, known)}')
    if not 0 <= group < len(arch.groups):
        raise ArchError(f'there is no group {group}: the groups are 0 to {len(arch.groups) - 1}')
    old = arch.groups[group]
    if block is None or old.repeats == 1:
        parts = [replace(old, **changes)]
    else:
        if not 0 <= block < old.repeats:
            raise ArchError(f'group {group} has no block {block}: its blocks are 0 to {old.repeats - 1}')
        before = [replace(old, repeats=block)] * (block > 0)
        after = [replace(old, repeats=old.repeats - block - 1, stride=1)] * (block < old.repeats - 1)
        middle = replace(old, **{'repeats': 1, 'stride': 1 if block else old.stride, **changes})
        parts = [*before, middle, *after]
    names = [*range(group), *[group] * len(parts), *range(group + 1, len(arch.groups))]  # as before the change
    with relabel_errors('the input size', 'the stem', *(f'group {i}' for i in names), 'the head'):
        return replace(arch, groups=(*arch.groups[:group], *parts, *arch.groups[group + 1 :]))
