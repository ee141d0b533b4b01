"""A picture of the finalists of a search: accuracy with its standard error against multiply-adds."""
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..runs.files import replacing
from .arch import FAINT, INK
from .search import CLOSE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ['draw_finalists', 'finalists_figure']


def draw_finalists(finalists: Sequence[Mapping[str, Any]], path: Path, target: float | None = None) -> None:
    """Draw `finalists_figure` as a PNG file; ImportError if matplotlib is not installed."""
    figure = finalists_figure(finalists, target)
    with replacing(path) as temporary:
        figure.savefig(temporary, format='png', dpi=110)


def finalists_figure(finalists: Sequence[Mapping[str, Any]], target: float | None = None) -> 'Figure':
    """Accuracy of the finalists against their multiply-adds; the result is filled.

    Args:
        finalists: as in `result.json`, best first. Those with fewer `rounds` dropped out earlier and are fainter.
        target: the target in multiply-adds, drawn as a line.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.8), layout='constrained')
    axes = figure.subplots()
    last = finalists[0]['rounds']  # others have more where its training failed
    most = max(row['rounds'] for row in finalists)
    for place, row in enumerate(finalists, 1):
        color = CLOSE[1] if place == 1 else CLOSE[0]
        axes.errorbar(
            row['macs'] / 1e6, row['top1'], row['top1_se'], marker='o', markersize=6, capsize=3, linewidth=1,
            color=color, markerfacecolor=color if place == 1 else 'white', zorder=2 + (place == 1),
            alpha=1 if row['rounds'] >= last else 0.45,
        )
        axes.annotate(
            str(place), (row['macs'] / 1e6, row['top1']), xytext=(6, 3), textcoords='offset points', fontsize=8,
            color=FAINT,
        )
    if target:
        axes.axvline(target / 1e6, color=INK, linewidth=0.8, linestyle=':')
        axes.annotate(
            'target', (target / 1e6, 0), xycoords=('data', 'axes fraction'), xytext=(-3, 3), rotation=90,
            textcoords='offset points', ha='right', va='bottom', fontsize=7, color=FAINT,
        )
    axes.set(xlabel='multiply-adds, millions', ylabel='accuracy on the half that scores, %')
    trained = f'after up to {most} rounds of training' if most else "with the supernet's weights"
    figure.suptitle(f'finalists, {trained}, with standard errors; filled: the result', fontsize=9)
    return figure
