"""What the page shows of one architecture or of two: pictures, costs, where they are. Does not import torch."""
from collections.abc import Mapping, Sequence
from typing import Any

from ..arch import Arch, ArchError
from ..arch.cost import Cost, cost, group_costs
from ..arch.edit import edit_group
from ..device.latency_table import LatencyTable
from ..draw import markup
from ..draw.boxes import arch_figure, figures_svg, legend
from ..draw.markup import Cell, card, cards
from ..draw.scatter import cost_scatter
from ..draw.svg import escape
from ..errors import UsageError
from ..spaces import MBConvSpace
from ..zoo.names import resolve_arch
from ..zoo.peers import PEERS
from .find import Images, images_of, latency_table, open_space, sampled

__all__ = ['network_answer']

NAMES = ('A', 'B')
EDITABLE = ('repeats', 'stride', 'kernel', 'expansion', 'channels', 'act', 'splits')
NEAREST = 3


def network_answer(given: Mapping[str, Any]) -> dict[str, Any]:
    """Everything about the architecture `a`, and `b` if it is given.

    Args:
        given: `a`, `b`: strings or names of models; `space`: as in `open_space`; `classes`, `channels`: as in `Images`;
            `edit`: a change of `a`, with `group`, `changes` and, if only one block is to change, `block`.

    Returns:
        For each architecture its canonical string or an error; and HTML for the page.
    """
    answers, archs, images = {}, {}, images_of(given)
    for name in NAMES:
        text = given.get(name.lower())
        if name == 'B' and not text:
            continue
        try:
            arch = resolve_arch(_text(text, name))[0]
            if name == 'A' and given.get('edit') is not None:
                arch = _edited(arch, given['edit'])
            archs[name] = arch
            answers[name.lower()] = _one(arch, images, latency_table(_space(given)))
        except ArchError as e:
            answers[name.lower()] = {'error': str(e)}
    shown = list(archs.values())
    answer: dict[str, Any] = {**answers, 'html': {}}
    if not shown:
        return answer
    space = open_space(_space(given))
    titles = {name: f'network {name}' for name in archs}
    pictures = figures_svg([arch_figure(arch, titles[name]) for name, arch in archs.items()], buttons='A' in archs)
    for (name, arch), picture in zip(archs.items(), pictures):
        answer[name.lower()]['figure'] = picture
        answer[name.lower()]['where'] = _where(arch, space)
    costs = {name: cost(arch, None, *images) for name, arch in archs.items()}
    peers = {name: Cost(peer.macs, peer.params) for name, peer in PEERS.items()}
    answer['html'] = {
        'legend': legend(shown, space),
        'costs': _cost_table(archs, images),
        'scatter': cost_scatter([found.cost for found in sampled(_space(given), images)], peers, costs,
                                space.name) + _nearest(next(iter(costs.values())), next(iter(costs))),
    }
    return answer


def _space(given: Mapping[str, Any]) -> str:
    return _text(given.get('space') or 'fpnas_l0', 'space')


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise UsageError(f'{name}: expected text, got {type(value).__name__}')
    return value


def _edited(arch: Arch, edit: Any) -> Arch:
    if not isinstance(edit, dict) or not isinstance(edit.get('changes'), dict) or type(edit.get('group')) is not int:
        raise UsageError('edit: expected a group and changes')
    block = edit.get('block')
    return edit_group(arch, edit['group'], edit['changes'], block if type(block) is int else None)


def _one(arch: Arch, images: Images, table: LatencyTable | None) -> dict[str, Any]:
    macs, params = cost(arch, None, *images)
    blocks = sum(len(group) for group in arch.blocks)
    size = arch.img_size if isinstance(arch.img_size, int) else ' x '.join(map(str, arch.img_size))
    return {
        'arch': str(arch), 'macs': macs, 'params': params, 'blocks': blocks,
        'groups': [{field: getattr(group, field) for field in EDITABLE} for group in arch.groups],
        'cards': cards([
            card('multiply-adds', f'{macs:,}', _short(macs)),
            card('parameters', f'{params:,}', _short(params)),
            card('input', f'{size} px', f'1/{arch.total_stride} in the end'),
            card('blocks', str(blocks), f'{len(arch.groups)} groups'),
            *([_latency(arch, table)] if table is not None and arch in table.space else []),
        ]),
    }


def _short(count: int) -> str:
    return f'{count / 1e6:,.2f} M' if count >= 1e6 else f'{count / 1e3:,.1f} K'


def _latency(arch: Arch, table: LatencyTable) -> str:
    return card('latency', f'{table.predict(arch):.3g} ms', str(table.setting))


def _where(arch: Arch, space: MBConvSpace) -> str:
    """Whether an architecture is in the space, and if not, what differs."""
    try:
        space.from_arch(arch)
    except ValueError as e:
        return f'<p class="faint">{escape(e)}</p>'
    return f'<p class="faint">in space {escape(repr(space.name))}</p>'


def _cost_table(archs: Mapping[str, Arch], images: Images) -> str:
    """Costs of every part, with bars; of two architectures beside each other."""
    parts = {name: group_costs(arch, None, *images) for name, arch in archs.items()}
    tokens = {
        name: [str(a.stem), *map(str, a.groups), str(a.head), f'{images.classes} classes'] for name, a in archs.items()
    }
    longest = max(parts.values(), key=len)
    names = [*(f'group {i}' for i in range(len(longest) - 3)), 'head', 'classifier']
    head, rows = ['part'], []
    for name in archs:
        of = f' {name}' if len(archs) > 1 else ''
        head += [f'multiply-adds{of}', f'parameters{of}', f'token{of}']
    most = {field: max(getattr(c, field) for part in parts.values() for c in part.values()) for field in Cost._fields}
    for row in ('stem', *names):
        key = f'groups.{row[6:]}' if row.startswith('group ') else row
        cells: list[object] = [row]
        for name in archs:
            found = parts[name].get(key)
            if found is None:
                cells += ['', '', '']
                continue
            token = tokens[name][list(parts[name]).index(key)]
            cells += [_bar(getattr(found, field), most[field]) for field in Cost._fields]
            cells.append(Cell(f'<code>{escape(token)}</code>'))
        rows.append(cells)
    kinds = ['', *_different(archs, len(names) - 2), '', '']
    return markup.table(head, rows, 'costs of the parts', kinds)


def _different(archs: Mapping[str, Arch], groups: int) -> Sequence[str]:
    """The class of each group's row: marked if two architectures differ there."""
    if len(archs) < 2:
        return [''] * groups
    a, b = archs.values()
    return ['chosen' if a.groups[i : i + 1] != b.groups[i : i + 1] else '' for i in range(groups)]


def _bar(value: int, most: int) -> Cell:
    return Cell(f'<span class="bar" style="--w:{100 * value / most:.1f}%">{value:,}</span>')


def _nearest(found: Cost, name: str) -> str:
    """The networks of timm whose costs are the most similar, as text for everybody."""
    def distance(peer: str) -> float:
        other = PEERS[peer]
        return abs(found.macs / other.macs - 1) + abs(found.params / other.params - 1)

    items = ', '.join(
        f'{peer} ({PEERS[peer].macs / 1e6:,.0f} M, {PEERS[peer].params / 1e6:,.1f} M)'
        for peer in sorted(PEERS, key=distance)[:NEAREST]
    )
    return f'<p class="faint">Closest to {escape(name)} in timm (multiply-adds, parameters): {escape(items)}</p>'
