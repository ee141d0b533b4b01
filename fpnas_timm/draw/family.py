"""A picture of a family of networks from one search: accuracy with its standard error against the cost."""
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..runs.files import replacing
from .arch import FAINT
from .search import CLOSE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ['draw_family', 'family_figure']


def draw_family(
        members: Sequence[Mapping[str, Any]], path: Path, unit: str, result: tuple[float, float] | None = None
) -> None:
    """Draw `family_figure` as a PNG file; ImportError if matplotlib is not installed."""
    figure = family_figure(members, unit, result)
    with replacing(path) as temporary:
        figure.savefig(temporary, format='png', dpi=110)


def family_figure(
        members: Sequence[Mapping[str, Any]], unit: str, result: tuple[float, float] | None = None
) -> 'Figure':
    """Accuracy of the members against their cost; those that a cheaper one beats are hollow.

    Args:
        members: as in `family.json`, by their targets; those without a `top1` are left out.
        unit: what the cost counts.
        result: cost and accuracy (%) of the search's own result, drawn as a cross.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter

    figure = Figure(figsize=(6, 3.8), layout='constrained')
    axes = figure.subplots()
    scored = [m for m in members if m.get('top1') is not None]
    best = [m for m in scored if not m.get('beaten_by')]
    axes.plot([m['cost'] for m in best], [m['top1'] for m in best], color=CLOSE[0], linewidth=1, zorder=1)
    for m in scored:
        axes.errorbar(
            m['cost'], m['top1'], m['top1_se'], marker='o', markersize=6, capsize=3, linewidth=1, color=CLOSE[0],
            markerfacecolor='white' if m.get('beaten_by') else CLOSE[0], zorder=2,
        )
        axes.annotate(
            m['name'], (m['cost'], m['top1']), xytext=(6, -10), textcoords='offset points', fontsize=8, color=FAINT,
        )
    if result is not None:
        axes.plot(*result, marker='x', markersize=8, color=CLOSE[1], linestyle='none', zorder=3)
    if scored and max(m['cost'] for m in scored) > 4 * min(m['cost'] for m in scored):
        axes.set_xscale('log')
        axes.xaxis.set_minor_formatter(lambda *_: '')
        axes.set_xticks([m['cost'] for m in scored])
    if unit in ('multiply-adds', 'parameters'):
        axes.xaxis.set_major_formatter(EngFormatter(sep='', places=None))
    axes.set(xlabel=unit, ylabel='accuracy on the half that scores, %')
    axes.grid(alpha=0.25, color=FAINT)
    axes.margins(0.12)
    cross = '; cross: the result of the search' if result is not None else ''
    figure.suptitle(f"one search, inherited weights, with standard errors{cross}", fontsize=9)
    return figure
