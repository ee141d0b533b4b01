"""A distribution as a heat map in HTML: one row per group, one block of columns per variable, one cell per choice.

A cell shows its choice and the probability in percent. A slider, with `page.js`, goes through the epochs.
"""
from collections.abc import Mapping, Sequence
from typing import Any

from ..arch import Arch
from ..arch.choices import ACTS
from ..spaces import MBConvSpace
from ..spaces.mbconv import irrelevant
from .boxes import Marginals
from .markup import json_script
from .svg import escape, thinned

__all__ = ['EPOCHS', 'heat_table', 'heatmap', 'shown_choice']

EPOCHS = 120  # positions of the slider, at most
STEPS = (('mid', 0.59), ('hi', 0.82))  # above these probabilities, text is in the colour that can be read on the cell


def heatmap(space: MBConvSpace, history: Sequence[Mapping[str, Any]], arch: Arch | None) -> str:
    """The heat map of the last epoch, and a slider over all (at most `EPOCHS` of them, spread evenly).

    Args:
        space: the search space.
        history: one row per epoch, each with `epoch`, `phase`, `entropy`, `cost` and `marginals`.
        arch: the choices of this architecture are framed; None: of none.
    """
    rows = thinned(history, EPOCHS)
    epochs = {
        'epoch': [row['epoch'] + 1 for row in rows],
        'says': [_says(row) for row in rows],
        'cells': [[round(1000 * p) for i, group in enumerate(space.groups) for v in group
                   for p in row['marginals'][i][v]] for row in rows],
    }
    framed = '' if arch is None else ' The choices of the result are framed.'
    left_out = '' if len(rows) == len(history) else f' The slider has {len(rows)} of the {len(history)} epochs.'
    return (
        f'<p>Probability of every choice, in percent, by group.{framed}{left_out}</p>'
        f'<div class="slider" data-heat><label for="epoch">epoch</label><input type="range" id="epoch" min="0" '
        f'max="{len(rows) - 1}" value="{len(rows) - 1}" step="1" aria-valuetext="{escape(epochs["says"][-1])}">'
        f'<button type="button" class="play">play</button>'
        f'<output for="epoch">{escape(epochs["says"][-1])}</output></div>'
        f'{heat_table(space, rows[-1]["marginals"], arch)}{json_script("heat-data", epochs)}'
    )


def heat_table(space: MBConvSpace, marginals: Marginals, arch: Arch | None) -> str:
    """The table of one epoch; arguments as in `heatmap`."""
    variables = list(space.groups[0])
    widths = {v: max(len(group[v]) for group in space.groups) for v in variables}
    head = ''.join(f'<th scope="colgroup" colspan="{n}">{escape(v)}</th>' for v, n in widths.items())
    body = []
    for i, (row, group) in enumerate(zip(space.rows, space.groups)):
        chosen = _chosen(arch, i)
        name = f'<th scope="row">{i}<span class="faint"> {row.repeat}x, stride {row.stride}</span></th>'
        cells = [_cells(group, v, marginals[i][v], widths[v], chosen.get(v)) for v in variables]
        body.append(f'<tr>{name}{"".join(cells)}')
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="heat map of the distribution">'
        f'<table class="heat"><thead><tr><th scope="col">group</th>{head}</tr></thead><tbody>'
        f'{"</tr>".join(body)}</tr></tbody></table></div>'
    )


def shown_choice(variable: str, choice: Any) -> str:
    """A choice as people read it: 0.75, swish."""
    if variable == 'act':
        return ACTS[choice].label
    return f'{choice:g}' if isinstance(choice, float) else str(choice)


def _says(row: Mapping[str, Any]) -> str:
    entropy = f', entropy {row["entropy"]:.2f} nats' if 'entropy' in row else ''
    return f'{row["epoch"] + 1} ({row.get("phase", "search")}{entropy})'


def _chosen(arch: Arch | None, group: int) -> dict[str, Any]:
    """Variable -> value of those that matter in this group."""
    if arch is None:
        return {}
    block, found = arch.blocks[group][0], arch.groups[group]
    unused = irrelevant(found.kernel, block.is_identity)
    return {v: getattr(found, v) for v in ('kernel', 'act', 'splits', 'expansion', 'channels') if v not in unused}


def _cells(group: Mapping[str, Sequence[Any]], variable: str, probs: Sequence[float], width: int, chosen: Any) -> str:
    cells = []
    for choice, p in zip(group[variable], probs):
        kinds = ' '.join(['cell', *(name for name, low in STEPS if p > low), *(['chosen'] if choice == chosen else [])])
        label = shown_choice(variable, choice)
        cells.append(
            f'<td class="{kinds}" style="--p:{p:.3g}"><b>{escape(label)}</b><span>{100 * p:.0f}</span></td>'
        )
    return ''.join(cells) + '<td class="none"></td>' * (width - len(cells))
