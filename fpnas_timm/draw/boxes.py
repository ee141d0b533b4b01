"""Figure B.1 as SVG inside a web page: an architecture, or the average of a distribution over a space.

As in `arch`, there is one box per block; colour: depthwise kernel, height: output channels, hatching: non-linearity,
number on top: splits, below: expansion. In an average, heights and numbers are means, and the colours share the box in
proportion to the probabilities of the kernels; hatching is left out.
"""
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..arch import Arch, Block
from ..arch.choices import ACTS, KERNELS, SPLITS
from ..arch.sizes import out_size, shown_size
from ..spaces import MBConvSpace
from .svg import escape, ticks

__all__ = ['Box', 'Figure', 'arch_figure', 'average_figure', 'figures_svg', 'legend', 'uniform']

NEUTRAL = '#D9D9D9'
BOX, SLIM, BLOCK_GAP, GROUP_GAP, STAGE_GAP, END_GAP = 24, 13, 2, 9, 24, 14  # pixels
LEFT, RIGHT, TOP, HEIGHT, UNDER = 46, 10, 24, 150, 34
HATCHES = {  # strokes of a tile of 6 x 6 pixels, as matplotlib's hatching in `arch`
    '': '', '/////': 'M-1 7L7 -1', '.....': 'M1.5 1.5h.01M4.5 4.5h.01', 'xxxxx': 'M-1 7L7 -1M-1 -1L7 7',
}

TILES = ((0, 0), (5, 0), (10, 0), (0, 6), (5, 6), (10, 6))  # of a swatch

Marginals = Sequence[Mapping[str, Sequence[float]]]  # for each group and variable, the probabilities of the choices


@dataclass(frozen=True)
class Box:
    """A block: its height in channels, the shares of its kernels, the texts on top and below, and what it says.

    `at`: its group and its place in it, as '2.0', for the script of a page.
    """

    height: float
    kernels: Mapping[int, float]
    act: str
    top: str
    below: str
    says: str
    at: str = ''


@dataclass(frozen=True)
class Figure:
    """What is drawn: the boxes of each group, its stride, and the feature map's size after each stride."""

    title: str
    groups: Sequence[Sequence[Box]]
    strides: Sequence[int]
    sizes: Sequence[str]
    stem: int
    head: int


def arch_figure(arch: Arch, title: str) -> Figure:
    """The figure of an architecture."""
    groups = [
        [Box(b.out_chs, {b.kernel: 1.0}, '' if b.is_identity else b.act, _top(b),
             f'{b.expansion:g}' if b.kernel else '', f'group {i}, block {j}: {_says(b)}', f'{i}.{j}')
         for j, b in enumerate(blocks)]
        for i, blocks in enumerate(arch.blocks)
    ]
    strides = [g.stride for g in arch.groups]
    return Figure(title, groups, strides, _sizes(arch.img_size, arch.stem.stride, strides), arch.stem.channels,
                  arch.head.channels)


def average_figure(space: MBConvSpace, marginals: Marginals, title: str) -> Figure:
    """The figure of the average of a distribution: means of channels, splits and expansion, shares of the kernels."""
    groups = []
    for i, (row, group, probs) in enumerate(zip(space.rows, space.groups, marginals)):
        means = {v: sum(p * c for p, c in zip(probs[v], group[v])) for v in ('channels', 'splits', 'expansion')}
        kernels = {int(k): p for k, p in zip(group['kernel'], probs['kernel'])}
        acts = ', '.join(f'{100 * p:.0f} % {ACTS[a].label}' for a, p in zip(group['act'], probs['act']))
        shares = ', '.join(f'{100 * p:.0f} % {_kernel(k)}' for k, p in kernels.items())
        says = (
            f'group {i}: {means["channels"]:.1f} channels, expansion {means["expansion"]:.2f}, splits '
            f'{means["splits"]:.2f} on average; {shares}; {acts}'
        )
        box = Box(means['channels'], kernels, '', f'{means["splits"]:.1f}', f'{means["expansion"]:.1f}', says)
        groups.append([box] * row.repeat)
    strides = [row.stride for row in space.rows]
    sizes = _sizes(space.img_size, space.stem.stride, strides)
    return Figure(title, groups, strides, sizes, space.stem.channels, space.head.channels)


def uniform(space: MBConvSpace) -> list[dict[str, list[float]]]:
    """The marginals of the space's average: all choices equally probable."""
    return [{v: [1 / len(c)] * len(c) for v, c in group.items()} for group in space.groups]


def figures_svg(figures: Sequence[Figure], buttons: int = 0, prefix: str = 'f') -> list[str]:
    """One SVG per figure, all with the same scale of channels.

    Args:
        figures: what is drawn.
        buttons: of so many figures, the first ones, the blocks are buttons, which a script and the keyboard can use.
        prefix: what the ids in the SVGs begin with; another one for each call whose pictures are on the same page.
    """
    tallest = max(box.height for figure in figures for blocks in figure.groups for box in blocks)
    return [_svg(figure, tallest, f'{prefix}{i}', i < buttons) for i, figure in enumerate(figures)]


def legend(archs: Sequence[Arch], space: MBConvSpace) -> str:
    """HTML: the kernels of the space, the non-linearities and splits of the architectures, and what a dashed box is."""
    kernels = sorted({int(k) for group in space.groups for k in group['kernel'] if k})
    blocks = [b for arch in archs for group in arch.blocks for b in group]
    acts = [a for a in ACTS if any(b.act == a and not b.is_identity for b in blocks)]
    entries = [(_swatch(f'<rect class="box" width="16" height="12" fill="{KERNELS[k]}"/>'), _kernel(k))
               for k in kernels]
    entries += [(_swatch(f'<rect class="box" width="16" height="12" fill="#fff"/>{_strokes(a)}'), ACTS[a].label)
                for a in acts]
    entries.append((_swatch('<rect class="box bypass" width="16" height="12"/>'), 'bypassed'))
    splits = sorted({b.splits for b in blocks if b.kernel})
    entries += [(f'<b>{s}</b>', SPLITS[s]) for s in splits]
    return '<ul class="legend">' + ''.join(f'<li>{mark} {escape(name)}</li>' for mark, name in entries) + '</ul>'


def _swatch(content: str) -> str:
    return f'<svg xmlns="http://www.w3.org/2000/svg" class="swatch" viewBox="-1 -1 18 14" aria-hidden="true">' \
           f'{content}</svg>'


def _strokes(act: str) -> str:
    path = HATCHES[ACTS[act].hatch]
    return ''.join(f'<path class="hatch" transform="translate({x} {y})" d="{path}"/>' for x, y in TILES) if path else ''


def _kernel(kernel: int) -> str:
    return f'{kernel}x{kernel} depthwise' if kernel else 'bypassed'


def _top(block: Block) -> str:
    if block.kernel:
        return str(block.splits)
    return 'skip' if block.is_identity else '1x1'


def _says(block: Block) -> str:
    if block.is_identity:
        return f'bypassed, an identity of {block.out_chs} channels'
    if not block.kernel:
        return f'bypassed, a 1x1 convolution to {block.out_chs} channels, {ACTS[block.act].label}'
    return (
        f'{_kernel(block.kernel)}, expansion {block.expansion:g}, {block.out_chs} channels, {ACTS[block.act].label}, '
        f'{SPLITS[block.splits]}'
    )


def _sizes(img_size: int | tuple[int, int], stem: int, strides: Sequence[int]) -> list[str]:
    """The size of the feature map of each stage."""
    sizes = [out_size(img_size, stem)]
    for stride in strides:
        if stride != 1:
            sizes.append(out_size(sizes[-1], stride))
    return [f'{shown_size(size)} px' for size in sizes]


def _svg(figure: Figure, tallest: float, name: str, buttons: bool) -> str:
    bottom, x = TOP + HEIGHT, LEFT + END_GAP
    scale = HEIGHT / tallest
    parts = [_slim('stem', figure.stem, x, scale, tallest)]
    x += SLIM
    edges = [LEFT]
    for boxes, stride in zip(figure.groups, figure.strides):
        gap = STAGE_GAP if stride != 1 else GROUP_GAP
        if stride != 1:
            edges.append(x + gap // 2)
        x += gap
        for box in boxes:
            parts.append(_box(box, x, scale, name, buttons))
            x += BOX + BLOCK_GAP
        x -= BLOCK_GAP
    x += END_GAP
    parts.append(_slim('head', figure.head, x, scale, tallest))
    end = x + SLIM + END_GAP
    edges.append(end)
    grid = []
    for value in ticks(0, tallest, 4, whole=True):
        y = f'{bottom - value * scale:.1f}'
        grid.append(f'<line class="grid" x1="{LEFT}" x2="{end}" y1="{y}" y2="{y}"/>')
        grid.append(f'<text class="tick end" x="{LEFT - 5}" y="{y}" dy=".35em">{value:g}</text>')
    for left, right, size in zip(edges, edges[1:], figure.sizes):
        parts.append(f'<text class="tick mid" x="{(left + right) / 2:g}" y="{bottom + 28}">{escape(size)}</text>')
    parts += [f'<line class="phase" x1="{e}" x2="{e}" y1="{TOP - 14}" y2="{bottom + 30}"/>' for e in edges[1:-1]]
    width, height = end + RIGHT, bottom + UNDER
    middle = (TOP + bottom) / 2
    label = f'<text class="label mid" transform="translate(10 {middle:g}) rotate(-90)">output channels</text>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="figure" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="{"group" if buttons else "img"}" aria-label="{escape(figure.title)}">'
        f'{_patterns(name)}{"".join(grid)}{label}'
        f'<line class="axis" x1="{LEFT}" x2="{end}" y1="{bottom}" y2="{bottom}"/>{"".join(parts)}</svg>'
    )


def _patterns(name: str) -> str:
    tiles = ''.join(
        f'<pattern id="{name}-{act}{kernel}" width="6" height="6" patternUnits="userSpaceOnUse">'
        f'<path class="hatch{" on-page" * (not kernel)}" d="{HATCHES[look.hatch]}"/></pattern>'
        for act, look in ACTS.items() if HATCHES[look.hatch] for kernel in (0, 1)
    )
    return f'<defs>{tiles}</defs>'


def _box(box: Box, x: int, scale: float, name: str, button: bool) -> str:
    role = f' tabindex="0" role="button" data-at="{box.at}" aria-label="{escape(box.says)}"' if button else ''
    bottom, parts = TOP + HEIGHT, [f'<g class="block"{role}><title>{escape(box.says)}</title>']
    if button:  # all of the column can be clicked
        parts.append(f'<rect class="hit" x="{x - 1}" y="{TOP - 16}" width="{BOX + 2}" height="{HEIGHT + 32}"/>')
    y = float(bottom)
    for kernel in sorted(box.kernels, key=lambda k: (k == 0, k)):  # what is bypassed is on top
        height = box.height * box.kernels[kernel] * scale
        if not height:
            continue
        y -= height
        look = f'class="box" fill="{KERNELS[kernel] or NEUTRAL}"' if kernel else 'class="box bypass"'
        parts.append(f'<rect {look} x="{x}" y="{y:.1f}" width="{BOX}" height="{height:.1f}"/>')
        if box.act and HATCHES[ACTS[box.act].hatch]:
            fill = f'fill="url(#{name}-{box.act}{int(kernel > 0)})"'
            parts.append(f'<rect {fill} x="{x}" y="{y:.1f}" width="{BOX}" height="{height:.1f}"/>')
    middle = x + BOX / 2
    top = bottom - box.height * scale
    small = '' if box.top.isdigit() else ' small'
    parts.append(f'<text class="mid splits{small}" x="{middle:g}" y="{top - 4:.1f}">{escape(box.top)}</text>')
    parts.append(f'<text class="tick mid small" x="{middle:g}" y="{bottom + 12}">{escape(box.below)}</text></g>')
    return ''.join(parts)


def _slim(what: str, channels: int, x: int, scale: float, tallest: float) -> str:
    """The stem or the head, cut off at the height of the tallest block."""
    bottom = TOP + HEIGHT
    height = min(channels, tallest) * scale
    text = f'<text class="tick mid small" x="{x + SLIM / 2:g}" y="{bottom + 12}">{what}</text>'
    cut = ''
    if channels > tallest:
        cut = f'<path class="cut" d="M{x - 3} {TOP + 24}l{SLIM + 6} -5v5l{-SLIM - 6} 5z"/>'
        cut += f'<text class="tick mid small" x="{x + SLIM / 2:g}" y="{TOP - 4}">{channels}</text>'
    return (
        f'<g><title>{what}: {channels} channels</title><rect class="box" fill="{NEUTRAL}" x="{x}" '
        f'y="{bottom - height:.1f}" width="{SLIM}" height="{height:.1f}"/>{cut}{text}</g>'
    )
