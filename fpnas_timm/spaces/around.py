"""The space of the sub-networks of a network: its own kernels, widths and channels, and smaller ones."""
from collections.abc import Sequence
from dataclasses import replace

from ..arch import Arch, Group
from ..arch.sizes import expanded_channels, make_divisible
from .mbconv import MBConvSpace, Row

__all__ = [
    'BLOCK_FRACTIONS', 'FRACTIONS', 'check_around', 'largest_arch', 'smallest_arch', 'space_around',
    'with_single_blocks',
]

FRACTIONS = (0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0)
BLOCK_FRACTIONS = (0.125, 0.1875, *FRACTIONS)  # of expansions, if each block has its own


def space_around(
        arch: Arch | str,
        *,
        kernels: bool = True,
        bypass: bool = True,
        expansion: Sequence[float] = FRACTIONS,
        channels: Sequence[float] = (0.5, 0.625, 0.75, 0.875, 1.0),
        divisor: int = 4,
        blocks: bool = False,
        name: str | None = None,
) -> MBConvSpace:
    """The space of the sub-networks of a network.

    Each group keeps its stride, repeats, non-linearity and splits. Its choices are its own values and smaller ones:
    kernels k - 2 (if that is at least 3) and k; fractions of its expansion and of its channels; and for a group of
    stride 1 the bypass (kernel 0), which leaves it out. Stem and head stay as they are.

    Args:
        arch: the network.
        kernels: whether kernels may shrink by 2.
        bypass: whether a group that keeps the resolution may be left out.
        expansion: fractions of each group's expansion; 1 is added.
        channels: fractions of each group's channels, rounded to multiples of `divisor`; 1 is added.
        divisor: granularity of the channels.
        blocks: whether each block of a group has choices of its own; else all blocks of a group are alike. Only blocks
            that add to a residual stream can then be left out, and expansions may be below 1.
        name: name of the space; 'around' if None.

    Returns:
        The space; the last choice of every variable but kernel 0 together is `arch`.

    Raises:
        ValueError: a fraction that is not above 0 and at most 1, or a divisor below 1.

    >>> space = space_around('i64-cn_k3_s2_c16_nre-ir_r2_k5_s2_e4_c32_nre-ir_k3_s1_e6_c48_nre-cn_k1_c64_nre')
    >>> space.rows[0].kernel, space.rows[0].expansion, space.rows[0].channels
    ((3, 5), (1.5, 2.0, 2.5, 3.0, 3.5, 4.0), (16, 20, 24, 28, 32))
    >>> space.rows[1].kernel, space.num_archs
    ((0, 3), 4200)
    """
    arch = Arch.parse(arch) if isinstance(arch, str) else arch
    arch = with_single_blocks(arch) if blocks else arch
    for which, fractions in (('expansion', expansion), ('channels', channels)):
        wrong = [f for f in fractions if not 0 < f <= 1]
        if wrong:
            raise ValueError(f'{which}: {wrong[0]}: expected fractions above 0 and at most 1')
    if divisor < 1:
        raise ValueError(f'divisor {divisor}: expected at least 1')
    rows = []
    in_chs = arch.stem.channels
    for group in arch.groups:
        rows.append(Row(
            expansion=_expansions(group, in_chs, expansion, below_one=blocks),
            channels=_channels(group.channels, channels, divisor),
            repeat=group.repeats,
            stride=group.stride,
            kernel=_kernels(group, kernels, bypass and not (blocks and in_chs != group.channels)),
            act=(group.act,),
            splits=(group.splits,),
        ))
        in_chs = group.channels
    return MBConvSpace.from_rows(name or 'around', arch.stem, rows, arch.head, arch.img_size)


def with_single_blocks(arch: Arch) -> Arch:
    """The same network with a group for each block.

    >>> str(with_single_blocks(Arch.parse('i64-cn_k3_s2_c16_nre-ir_r2_k5_s2_e4_c32_nre-cn_k1_c64_nre')))
    'i64-cn_r1_k3_s2_c16_nre-ir_r1_k5_s2_e4_c32_nre-ir_r1_k5_s1_e4_c32_nre-cn_r1_k1_s1_c64_nre'
    """
    groups = (
        replace(group, repeats=1, stride=group.stride if i == 0 else 1)
        for group in arch.groups for i in range(group.repeats)
    )
    return replace(arch, groups=tuple(groups))


def _kernels(group: Group, smaller: bool, bypass: bool) -> tuple[int, ...]:
    if not group.kernel:
        return (0,)
    found = [group.kernel - 2] if smaller and group.kernel > 3 else []
    return (*([0] if bypass and group.stride == 1 else []), *found, group.kernel)


def _expansions(group: Group, in_chs: int, fractions: Sequence[float], below_one: bool) -> tuple[float, ...]:
    """Smaller expansions, of different widths; not 1, which has no expansion layer."""
    e = group.expansion
    if not group.kernel or e <= 1.01:
        return (e,)
    found = {}
    for fraction in sorted({*fractions, 1.0}):
        value = e if fraction == 1 else round(e * fraction, 2)
        if value > 1 or (below_one and 0 < value < 1):
            found[expanded_channels(in_chs, value)] = value
    return tuple(sorted({*found.values(), e}))


def _channels(channels: int, fractions: Sequence[float], divisor: int) -> tuple[int, ...]:
    sizes = {make_divisible(channels * f, divisor) for f in fractions}
    return tuple(sorted({c for c in sizes if c < channels} | {channels}))


def largest_arch(space: MBConvSpace) -> Arch:
    """The architecture of the largest choice of every variable that has an order; the first non-linearity."""
    groups = tuple(
        Group(
            row.repeat, max(row.kernel), row.stride, max(row.expansion), max(row.channels), row.act[0], max(row.splits)
        )
        for row in space.rows
    )
    return Arch(space.stem, groups, space.head, space.img_size)


def smallest_arch(space: MBConvSpace) -> Arch:
    """The architecture of the smallest choice of every variable that has an order; the first non-linearity.

    A group is bypassed only if it can do nothing else: an architecture of bypasses has hardly a weight, and what it can
    do says nothing about the others.
    """
    groups = tuple(
        Group(
            row.repeat, min((k for k in row.kernel if k), default=0), row.stride, min(row.expansion), min(row.channels),
            row.act[0], min(row.splits),
        )
        for row in space.rows
    )
    return Arch(space.stem, groups, space.head, space.img_size)


def check_around(space: MBConvSpace, arch: Arch) -> None:
    """Raise ValueError if `arch` is not the largest network of the space; the message names what differs."""
    largest = largest_arch(space)
    if len(largest.groups) != len(arch.groups) and all(row.repeat == 1 for row in space.rows):
        arch = with_single_blocks(arch)
    pairs = [('the stem', largest.stem, arch.stem), *(
        (f'group {i}', a, b) for i, (a, b) in enumerate(zip(largest.groups, arch.groups), 1)
    ), ('the head', largest.head, arch.head)]
    if len(largest.groups) != len(arch.groups):
        raise ValueError(
            f'space {space.name!r} is not around this network: it has {len(largest.groups)} groups, the network '
            f'{len(arch.groups)}'
        )
    for where, ours, theirs in pairs:
        if ours != theirs:
            raise ValueError(
                f'space {space.name!r} is not around this network: {where} is at most {ours}, the network has {theirs}'
            )
    for i, row in enumerate(space.rows, 1):
        if len(row.act) > 1:
            raise ValueError(f'space {space.name!r} is not around this network: group {i} has several non-linearities')
