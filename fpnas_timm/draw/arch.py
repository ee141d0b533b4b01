"""Pictures of architectures in the style of Figure B.1 of the supplement, as PNG or SVG.

One box per MBConv block. Colour: depthwise kernel size. Height: output channels. Hatching: non-linearity. Number on
top: splits. Number below (the paper leaves it out): expansion. Vertical bars: between stages.
"""
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..arch import Arch, Block, Conv
from ..arch.choices import ACTS, KERNELS, SPLITS
from ..arch.sizes import out_size, shown_size
from ..runs.files import replacing

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

__all__ = ['draw_arch']

NEUTRAL, INK, FAINT = '#D9D9D9', '#262626', '#6E6E6E'
KERNEL_COLORS = {kernel: color or NEUTRAL for kernel, color in KERNELS.items() if kernel}

# Inches. The x axis is in inches, so that text of fixed size fits for any number of blocks.
BOX, SLIM = 0.22, 0.14
BLOCK_GAP, GROUP_GAP, STAGE_GAP, END_GAP = 0.025, 0.12, 0.28, 0.18
LEFT, RIGHT, HEIGHT, HEADROOM, MARGIN, UNDER = 0.9, 1.5, 2.6, 0.34, 0.15, 0.07
LABEL, SMALL = 7.5, 6.0  # points

# Changes to matplotlib's defaults (a user's matplotlibrc is ignored); the salt makes SVG ids reproducible.
_RC = {
    'svg.hashsalt': 'fpnas_timm',
    'hatch.linewidth': 0.6,
    'font.size': LABEL,
    **dict.fromkeys(('text.color', 'axes.edgecolor', 'axes.labelcolor', 'ytick.color'), INK),
}


def draw_arch(arch: Arch | str, path: str | Path | None = None, title: str | None = None) -> 'Figure':
    """Draw an architecture as Figure B.1 of the supplement does, with the expansions added.

    Args:
        arch: an architecture or its string.
        path: a `.png` or `.svg` file to write atomically; None writes nothing. The same input and package versions
            give identical files.
        title: a title above the picture.

    Returns:
        The figure. Its boxes have ids, in the SVG too: `stem`, `head`, `block-G-B` (block B of group G, from 1).

    Raises:
        ArchError: `arch` is not an architecture.
        ImportError: matplotlib is not installed.
        OSError: `path` cannot be written.
        ValueError: `path` ends in neither `.png` nor `.svg`.
    """
    path = None if path is None else Path(path)
    if path is not None and path.suffix.lower() not in ('.png', '.svg'):
        raise ValueError(f'{path}: expected a file name that ends in .png or .svg')
    arch = arch if isinstance(arch, Arch) else Arch.parse(arch)
    try:
        from matplotlib import style
    except ModuleNotFoundError:
        raise ImportError("drawing needs matplotlib: pip install 'fpnas-timm[draw]'") from None
    with style.context(['default', _RC]):
        figure = _figure(arch, title)
        if path is not None:
            _save(figure, path)
    return figure


def _figure(arch: Arch, title: str | None) -> 'Figure':
    from matplotlib.figure import Figure

    lefts, bars, width = _layout(arch)
    labels = [f'{g.expansion:g}' if g.kernel else '' for g in arch.groups]
    rotation, row = (90, 0.44) if max(map(len, labels)) > 4 else (0, 0.22)  # long numbers are rotated to fit
    lines = textwrap.wrap(title or '', int((LEFT + width + RIGHT) * 10), max_lines=2, placeholder=' ...')
    top, bottom = MARGIN + 0.2 * len(lines), MARGIN + row + 0.18
    size = LEFT + width + RIGHT, bottom + HEIGHT + HEADROOM + top
    figure = Figure(figsize=size)
    ax = figure.add_axes((LEFT / size[0], bottom / size[1], width / size[0], (HEIGHT + HEADROOM) / size[1]))
    tallest = max(g.channels for g in arch.groups)
    ax.set(xlim=(0, width), ylim=(0, tallest * (1 + HEADROOM / HEIGHT)), ylabel='output channels')
    _style_axes(ax)

    _conv_box(ax, arch.stem, 'stem', lefts[0][0], tallest)
    for i, blocks in enumerate(arch.blocks, 1):
        for j, (block, left) in enumerate(zip(blocks, lefts[i]), 1):
            ax.add_patch(_block_box(block, left, f'block-{i}-{j}'))
            _note(ax, left + BOX / 2, block.out_chs, _block_label(block), f'label-{i}-{j}')
            _below(ax, left + BOX / 2, UNDER, labels[i - 1], f'expansion-{i}-{j}', rotation=rotation)
    _conv_box(ax, arch.head, 'head', lefts[-1][0], tallest)
    _stages(ax, arch, bars, width, row)
    _below(ax, -0.08, UNDER, 'expansion', 'expansion', ha='right')
    corner = (LEFT + width + 0.1) / size[0], 1 - top / size[1]
    spacing: dict[str, Any] = {'borderaxespad': 0, 'handlelength': 2, 'handleheight': 1.2, 'labelspacing': 0.55}
    handles, names = _legend(arch)
    figure.legend(handles, names, loc='upper left', bbox_to_anchor=corner, frameon=False, **spacing)
    # A title may hold a dollar sign: it is text, not mathematics.
    look: dict[str, Any] = {'va': 'top', 'fontsize': 9.5, 'fontweight': 'bold', 'parse_math': False}
    figure.text(LEFT / size[0], 1 - 0.1 / size[1], '\n'.join(lines), gid='title', **look)
    return figure


def _layout(arch: Arch) -> tuple[list[list[float]], list[float], float]:
    """Left edges of the boxes (stem, groups, head), positions of the stage bars and total width, in inches."""
    lefts, bars, x = [[END_GAP]], [], END_GAP + SLIM
    for group, blocks in zip(arch.groups, arch.blocks):
        gap = STAGE_GAP if group.stride == 2 else GROUP_GAP
        if group.stride == 2:
            bars.append(x + gap / 2)
        lefts.append([x + gap + i * (BOX + BLOCK_GAP) for i in range(len(blocks))])
        x = lefts[-1][-1] + BOX
    lefts.append([x + END_GAP])
    return lefts, bars, x + END_GAP + SLIM + END_GAP


def _block_box(block: Block, left: float, gid: str) -> 'Rectangle':
    from matplotlib.patches import Rectangle

    return Rectangle(
        (left, 0),
        BOX,
        block.out_chs,
        facecolor=KERNEL_COLORS[block.kernel] if block.kernel else 'none',
        linestyle='-' if block.kernel else '--',
        edgecolor=INK,
        linewidth=0.8,
        hatch='' if block.is_identity else ACTS[block.act].hatch,
        gid=gid,
    )


def _block_label(block: Block) -> str:
    if block.kernel:
        return str(block.splits)
    return 'skip' if block.is_identity else '1x1'


def _conv_box(ax: 'Axes', conv: Conv, name: str, left: float, tallest: int) -> None:
    """Draw the stem or the head; cut off at the height of the tallest block, so that blocks remain visible."""
    from matplotlib.patches import Polygon, Rectangle

    height, middle = min(conv.channels, tallest), left + SLIM / 2
    ax.add_patch(Rectangle((left, 0), SLIM, height, facecolor=NEUTRAL, edgecolor=INK, linewidth=0.8, gid=name))
    _below(ax, middle, UNDER, name, f'label-{name}')
    if conv.channels > tallest:
        _note(ax, middle, height, f'{conv.channels}\nchannels', f'channels-{name}')
        ends, low, high, rise = [left - 0.03, left + SLIM + 0.03], 0.82 * height, 0.85 * height, 0.03 * height
        corners = [(ends[0], low), (ends[1], low + rise), (ends[1], high + rise), (ends[0], high)]
        ax.add_patch(Polygon(corners, facecolor='white', edgecolor='none', zorder=3, gid=f'cut-{name}'))
        for y in (low, high):
            ax.plot(ends, [y, y + rise], color=INK, linewidth=0.8, zorder=4)


def _stages(ax: 'Axes', arch: Arch, bars: list[float], width: float, row: float) -> None:
    """The bars between stages and, under each stage, the height and width of its feature map in pixels."""
    foot = -row / (HEIGHT + HEADROOM) - 0.05
    for i, x in enumerate(bars, 1):
        ax.axvline(x, foot, 1, color=FAINT, linewidth=1, clip_on=False, gid=f'stage-bar-{i}')
    pixels = out_size(arch.img_size, arch.stem.stride)
    for i, (start, end) in enumerate(zip([0.0, *bars], [*bars, width])):
        pixels = out_size(pixels, 2) if i else pixels
        _below(ax, (start + end) / 2, row, f'{shown_size(pixels)} px', f'stage-{i + 1}', fontsize=LABEL, color=INK)
    _below(ax, -0.08, row, f'input {shown_size(arch.img_size)} px', 'input', fontsize=LABEL, color=INK, ha='right')


def _note(ax: 'Axes', x: float, y: float, text: str, gid: str) -> None:
    """Draw text on top of a box: large and bold for a number of splits, small for words."""
    size: dict[str, Any] = {'fontsize': LABEL, 'fontweight': 'bold'} if text.isdigit() else {'fontsize': SMALL}
    ax.annotate(
        text, (x, y), (0, 1.5), textcoords='offset points', ha='center', va='bottom', linespacing=1, gid=gid, **size
    )


def _below(ax: 'Axes', x: float, inches: float, text: str, gid: str, **kwargs: Any) -> None:
    """Draw text whose top is `inches` below the axes."""
    look = {'fontsize': SMALL, 'color': FAINT, 'ha': 'center', 'va': 'top', **kwargs}
    ax.annotate(
        text, (x, 0), (0, -72 * inches), xycoords=ax.get_xaxis_transform(), textcoords='offset points',
        annotation_clip=False, gid=gid, **look,
    )


def _style_axes(ax: 'Axes') -> None:
    from matplotlib.ticker import MaxNLocator

    ax.spines[['top', 'right', 'left']].set_visible(False)
    ax.set_xticks([])
    ax.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    ax.tick_params(axis='y', length=0)
    ax.grid(axis='y', color='#ECECEC', linewidth=0.6)
    ax.set_axisbelow(True)


def _legend(arch: Arch) -> tuple[list['Artist'], list[str]]:
    """Legend handles and labels for exactly those elements that the picture contains."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    box: dict[str, Any] = {'edgecolor': INK, 'linewidth': 0.8}
    blocks = [block for group in arch.blocks for block in group]
    kernels = sorted({b.kernel for b in blocks if b.kernel})
    acts = [act for act in ACTS if any(b.act == act and not b.is_identity for b in blocks)]
    entries: list[tuple[Artist, str]] = []
    entries += [(Patch(facecolor=KERNEL_COLORS[k], **box), f'{k}x{k} depthwise') for k in kernels]
    entries += [(Patch(facecolor='white', hatch=ACTS[a].hatch, **box), ACTS[a].label) for a in acts]
    if any(b.kernel == 0 for b in blocks):
        entries.append((Patch(facecolor='none', linestyle='--', **box), 'bypassed group'))
    entries.append((Patch(facecolor=NEUTRAL, **box), 'stem, 1x1 head'))
    mark: dict[str, Any] = {'linestyle': '', 'markersize': 5, 'markeredgewidth': 0, 'color': INK}
    splits = sorted({b.splits for b in blocks if b.kernel})
    entries += [(Line2D([], [], marker=rf'$\mathbf{{{s}}}$', **mark), SPLITS[s]) for s in splits]
    return [handle for handle, _ in entries], [label for _, label in entries]


def _save(figure: 'Figure', path: Path) -> None:
    kind = path.suffix.lower()[1:]
    with replacing(path) as temporary:
        figure.savefig(temporary, format=kind, dpi=200, metadata={'Date': None} if kind == 'svg' else None)
