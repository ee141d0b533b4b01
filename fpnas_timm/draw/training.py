"""Pictures of a training run: losses, accuracies and learning rate over the epochs."""
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import RunError
from ..runs.files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ['curves_figure', 'draw_curves']

_logger = logging.getLogger('train')


def draw_curves(rows: Sequence[Mapping[str, Any]], path: Path, title: str = '') -> None:
    """Draw `curves_figure` as a PNG; if matplotlib is missing, log that.

    Raises:
        RunError: the file cannot be written.
    """
    try:
        figure = curves_figure(rows, title)
    except ImportError:
        _logger.info('no %s: pip install matplotlib', path.name)
        return
    try:
        with replacing(path) as temporary:
            figure.savefig(temporary, format='png', dpi=100)
    except OSError as e:
        raise RunError(f'{path}: cannot be written ({e.strerror or e}); the checkpoints are kept') from None


def curves_figure(rows: Sequence[Mapping[str, Any]], title: str = '') -> 'Figure':
    """Losses, accuracies and learning rate over the epochs.

    The star marks the best accuracy; of equal ones, that with the lower loss, then the later one.

    Raises:
        ImportError: matplotlib is not installed.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.8), layout='constrained')
    FigureCanvasAgg(figure)
    losses, accuracies, rates = figure.subplots(1, 3)
    lines = [
        (losses, 'train_loss', 'training', 'C0'),
        (losses, 'eval_loss', 'validation', 'C1'),
        (accuracies, 'eval_top1', 'top-1', 'C1'),
        (accuracies, 'eval_top5', 'top-5', 'C2'),
        (rates, 'lr', 'learning rate', 'C3'),
    ]
    weights_top1 = [row for row in rows if 'weights_top1' in row]
    for axes, key, label, color in lines:
        points = [(row['epoch'] + 1, row[key]) for row in rows if row.get(key) is not None]
        if points:
            axes.plot(*zip(*points), color=color, label=label, marker='.' if len(points) < 40 else None)
    if weights_top1:  # with a moving average, `eval_` are its values
        axes = accuracies
        axes.plot(
            [row['epoch'] + 1 for row in weights_top1], [row['weights_top1'] for row in weights_top1],
            color='C1', linestyle=':', label='top-1 without EMA',
        )
    best = max(
        (row for row in rows if row.get('eval_top1') is not None),
        key=lambda row: (row['eval_top1'], -row.get('eval_loss', math.inf), row['epoch']), default=None,
    )
    if best is not None:
        accuracies.plot(best['epoch'] + 1, best['eval_top1'], 'k*', markersize=10)
        accuracies.annotate(
            f'{best["eval_top1"]:.2f} %', (best['epoch'] + 1, best['eval_top1']), textcoords='offset points',
            xytext=(-4, -14), ha='right',
        )
    for axes, name in ((losses, 'loss'), (accuracies, 'accuracy (%)'), (rates, 'learning rate')):
        axes.set_xlabel('epochs finished')
        axes.set_ylabel(name)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        if axes.lines and axes is not rates:
            axes.legend()
    figure.suptitle(title, fontsize=10)
    return figure
