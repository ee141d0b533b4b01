"""Pictures of a search that scores candidates: the course of the scores, their costs, and the training loss."""
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..arch import Arch
from ..arch.sizes import shown_size
from ..runs.files import replacing
from .arch import FAINT, INK, draw_arch

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ['course_of_candidates', 'draw_candidates']

EACH, BEST = '#0072B2', '#D55E00'


def draw_candidates(
        history: Sequence[Mapping[str, Any]],
        candidates: Sequence[tuple[float, float]],
        arch: Arch,
        folder: Path,
        target: float | None = None,
) -> list[Path]:
    """Draw `course.png` and `arch.png` (the result in the style of Fig. B.1) in a folder.

    Args:
        history: `CandidateSearch.history`, one row per epoch.
        candidates: multiply-adds and score of each candidate, in order.
        arch: the resulting architecture.
        folder: the folder to write to.
        target: the target in multiply-adds, drawn as a line.

    Returns:
        The files.

    Raises:
        ImportError: matplotlib is not installed.
    """
    paths = [folder / name for name in ('arch.png', 'course.png')]
    draw_arch(arch, paths[0], title=f'found by search: {shown_size(arch.img_size)} px')
    with replacing(paths[1]) as temporary:
        course_of_candidates(history, candidates, target).savefig(temporary, format='png', dpi=110)
    return paths


def course_of_candidates(
        history: Sequence[Mapping[str, Any]], candidates: Sequence[tuple[float, float]], target: float | None = None
) -> 'Figure':
    """The training loss over the epochs, the scores in order with the best so far, and the scores over the costs.

    Arguments as in `draw_candidates`.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.4), layout='constrained')
    left, middle, right = figure.subplots(1, 3)
    trained = [row for row in history if 'train_loss' in row]
    left.plot([row['epoch'] + 1 for row in trained], [row['train_loss'] for row in trained], color=EACH)
    left.set(ylabel='training loss, nats per image', xlabel='epochs')
    costs, scores = [cost / 1e6 for cost, _ in candidates], [score for _, score in candidates]
    middle.plot(range(1, len(scores) + 1), scores, '.', color=EACH, markersize=3, label='candidate')
    middle.plot(range(1, len(scores) + 1), list(accumulate(scores, max)), color=BEST, label='best so far')
    middle.set(ylabel='score, nats per image', xlabel='candidates')
    middle.legend(frameon=False)
    right.plot(costs, scores, '.', color=EACH, markersize=3)
    best = max(range(len(scores)), key=scores.__getitem__)
    right.plot(costs[best], scores[best], 'o', color=BEST, label='result')
    if target:
        right.axvline(target / 1e6, color=INK, linewidth=0.8, label='target')
    right.set(ylabel='score, nats per image', xlabel='multiply-adds, millions')
    right.legend(frameon=False)
    for axes in (left, middle, right):
        axes.grid(alpha=0.25, color=FAINT)
    return figure
