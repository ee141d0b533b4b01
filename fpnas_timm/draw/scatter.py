"""Parameters against multiply-adds: random networks of a space, known networks, and those that are looked at."""
from collections.abc import Mapping, Sequence

from ..arch.cost import Cost
from .svg import Bar, Chart, escape

__all__ = ['cost_scatter']

MILLION = 1e6


def cost_scatter(space: Sequence[Cost], peers: Mapping[str, Cost], marked: Mapping[str, Cost], name: str) -> str:
    """A figure as HTML.

    Args:
        space: costs of random networks of a space; may be empty.
        peers: name -> cost of known networks; those outside of the picture are left out.
        marked: name -> cost of the networks that are looked at.
        name: name of the space.
    """
    points = [(c.macs / MILLION, c.params / MILLION) for c in (*space, *marked.values())]
    points = points or [(c.macs / MILLION, c.params / MILLION) for c in peers.values()]
    (left, right), (low, high) = ((min(v), max(v)) for v in zip(*points))
    wide, tall = max(right - left, 0.3 * right), max(high - low, 0.3 * high)
    x = max(0.0, left - 0.2 * wide), right + 0.2 * wide
    y = max(0.0, low - 0.2 * tall), high + 0.2 * tall
    said = '; '.join(f'{who}: {c.macs:,} multiply-adds, {c.params:,} parameters' for who, c in marked.items())
    chart = Chart(f'parameters against multiply-adds: {said}', x, y, 'multiply-adds, millions', 'parameters, millions')
    chart.cloud([(c.macs / MILLION, c.params / MILLION) for c in space], 1)
    inside = {
        who: c for who, c in peers.items() if x[0] <= c.macs / MILLION <= x[1] and y[0] <= c.params / MILLION <= y[1]
    }
    chart.bars([Bar(c.macs / MILLION, c.params / MILLION, 0.0, _says(who, c), 4) for who, c in inside.items()])
    chart.bars([Bar(c.macs / MILLION, c.params / MILLION, 0.0, _says(who, c), i, True, who)
                for i, (who, c) in enumerate(marked.items())])
    return (
        f'<figure class="costs">{chart.svg()}<p class="faint"><span class="spot q1"></span> {len(space):,} random '
        f'networks of {escape(name)} <span class="ring c4"></span> {len(inside)} of {len(peers)} small networks of '
        'timm, at their own input sizes, with 1000 classes</p></figure>'
    )


def _says(who: str, cost: Cost) -> str:
    return f'{who}: {cost.macs / MILLION:,.0f} M multiply-adds, {cost.params / MILLION:,.1f} M parameters'
