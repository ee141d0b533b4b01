"""The architecture encoding: a network as a string, as JSON and as frozen dataclasses.

    i224-cn_r1_k3_s2_c16_nsw-ir_r1_k3_s1_e2.25_c8_nre-ir_r2_k5_s2_e3_c24_nsw_sp2-cn_r1_k1_s1_c1984_nsw

The input size, the stem convolution, one `ir` token per group (a row of the supplement's Tables D.4 to D.6) and the 1x1
head convolution, in timm's block notation. Every `Arch` is valid and canonical, so `Arch.parse(str(a)) == a`.
This module needs neither torch nor timm.
"""
import json
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

from .checks import (
    DEFAULT_IMG_SIZE,
    MAX_GROUPS,
    MAX_LENGTH,
    ArchError,
    check_arch,
    format_number,
    load_json,
    named_entries,
    relabel_errors,
    show,
)
from .sizes import ImgSize, shown_size, simplest_size
from .tokens import parse_tokens

__all__ = ['Arch', 'Block', 'Conv', 'Group']


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

    `kernel` 0 bypasses the group: an identity if the shape does not change, else a 1x1 convolution with `stride`, batch
    norm and activation. `splits`: 0 no attention, 1 Squeeze-Excite, 2 or 4 Split-Attention.
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
            f'ir_r{self.repeats}_k{self.kernel}_s{self.stride}_e{format_number(self.expansion)}_c{self.channels}_n{self.act}'
        )
        return f'{text}_sp{self.splits}' if self.splits else text


class Block(NamedTuple):
    """One block of the network; only the first block of a group has the stride and changes the channels."""

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
    """A network: input size in pixels, stem, groups and head. Always valid and canonical.

    Attributes:
        stem: the first convolution.
        groups: the groups of MBConv blocks.
        head: the 1x1 convolution before the pooling.
        img_size: one number for a square input, or (height, width).

    Raises:
        ArchError: the arguments are not a valid architecture.
    """

    stem: Conv
    groups: tuple[Group, ...]
    head: Conv
    img_size: ImgSize = DEFAULT_IMG_SIZE

    def __post_init__(self) -> None:
        object.__setattr__(self, 'img_size', simplest_size(self.img_size))
        if not isinstance(self.groups, (tuple, list)):
            raise ArchError(f'groups: expected a sequence of Group, got {show(self.groups)}')
        object.__setattr__(self, 'groups', tuple(self.groups))
        if not isinstance(self.stem, Conv) or not isinstance(self.head, Conv):
            raise ArchError(f'expected a Conv as stem and head, got {show(self.stem)} and {show(self.head)}')
        last = len(self.groups) + 3
        for i, group in enumerate(self.groups, 3):
            if not isinstance(group, Group):
                raise ArchError(f'token {i}: expected a Group, got {show(group)}')
        check_arch(self, ['token 2 (stem)', *(f'token {i}' for i in range(3, last)), f'token {last} (head)'])
        in_chs = self.stem.channels
        groups = []
        for group in self.groups:
            groups.append(_canonical(group, in_chs))
            in_chs = group.channels
        object.__setattr__(self, 'groups', tuple(groups))

    def __str__(self) -> str:
        return '-'.join([f'i{shown_size(self.img_size)}', str(self.stem), *map(str, self.groups), str(self.head)])

    @classmethod
    def parse(cls, text: str) -> 'Arch':
        """Parse an architecture string.

        Args:
            text: tokens joined by `-`, fields of a token in any order (see `docs/format.md`).

        >>> arch = Arch.parse('cn_k3_s2_c16_nsw-ir_sp2_c24_k5_s2_nsw_r2_e3-cn_k1_c1984_nsw')
        >>> print(arch)  # canonical: defaults filled in, fields in order
        i224-cn_r1_k3_s2_c16_nsw-ir_r2_k5_s2_e3_c24_nsw_sp2-cn_r1_k1_s1_c1984_nsw
        >>> arch.total_stride, len(arch.blocks[0])
        (4, 2)

        Raises:
            ArchError: names the token, its position and what was expected.
        """
        img_size, (stem, *groups, head), where = parse_tokens(text)
        with relabel_errors(*where):
            return cls(Conv(**stem), tuple(Group(**group) for group in groups), Conv(**head), img_size)

    @property
    def total_stride(self) -> int:
        """Input pixels per pixel of the last feature map."""
        stride = self.stem.stride
        for group in self.groups:
            stride *= group.stride
        return stride

    @cached_property
    def blocks(self) -> tuple[tuple[Block, ...], ...]:
        """The blocks of each group; a bypassed group has one block."""
        in_chs, groups = self.stem.channels, []
        for g in self.groups:
            stride, blocks = g.stride, []
            for _ in range(g.repeats):
                blocks.append(Block(in_chs, g.channels, g.kernel, stride, g.expansion, g.act, g.splits))
                in_chs, stride = g.channels, 1
            groups.append(tuple(blocks))
        return tuple(groups)

    def with_img_size(self, img_size: ImgSize) -> 'Arch':
        """The same network with a different input size in pixels: one number, or (height, width)."""
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
        """The inverse of `to_dict`; `ArchError` names an entry that is missing, unknown or invalid."""
        data = named_entries(data, 'architecture', ('stem', 'groups', 'head'), {'img_size': DEFAULT_IMG_SIZE})
        if not isinstance(data['groups'], (list, tuple)):
            raise ArchError(f'groups: expected a list, got {show(data["groups"])}')
        if len(data['groups']) > MAX_GROUPS:
            raise ArchError(f'groups: expected at most {MAX_GROUPS}, got {len(data["groups"])}')
        conv = ('kernel', 'stride', 'channels', 'act')
        group = ('kernel', 'expansion', 'channels', 'act')
        defaults = {'repeats': 1, 'stride': 1, 'splits': 0}
        stem = Conv(**named_entries(data['stem'], 'stem', conv))
        where = [f'groups[{i}]' for i in range(len(data['groups']))]
        groups = tuple(Group(**named_entries(g, at, group, defaults)) for g, at in zip(data['groups'], where))
        head = Conv(**named_entries(data['head'], 'head', conv))
        with relabel_errors('img_size', 'stem', *where, 'head'):
            return cls(stem, groups, head, data['img_size'])

    def to_json(self, indent: int | None = None) -> str:
        return json.dumps(self.to_dict(), indent=indent)

    @classmethod
    def from_json(cls, text: str) -> 'Arch':
        """The inverse of `to_json`; `ArchError` if the text is not JSON or not a valid architecture."""
        if not isinstance(text, str) or len(text) > 16 * MAX_LENGTH:
            raise ArchError(f'expected JSON text of at most {16 * MAX_LENGTH} characters, got {show(text)}')
        return cls.from_dict(load_json(text))


def _canonical(group: Group, in_chs: int) -> Group:
    expansion = float(group.expansion)
    if group.kernel:
        return replace(group, expansion=expansion)
    identity = group.stride == 1 and in_chs == group.channels
    return replace(group, repeats=1, expansion=1.0, splits=0, act='re' if identity else group.act)
