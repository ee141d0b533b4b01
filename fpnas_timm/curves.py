"""A run's course: `history.jsonl`, `summary.csv` as timm writes it, and `curves.png`."""
import csv
import io
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .errors import RunError
from .files import replacing, write_jsonl, write_text

__all__ = ['draw_curves', 'read_history', 'write_history']

_logger = logging.getLogger('train')

SUMMARY = ('epoch', 'train_loss', 'eval_loss', 'eval_top1', 'eval_top5', 'lr')  # timm's columns


def read_history(folder: Path, before: int) -> list[dict[str, Any]]:
    """The rows of `folder/history.jsonl` of the epochs before `before`, to go on with them."""
    path = folder / 'history.jsonl'
    if not path.exists():
        return []
    rows = [json.loads(line) for line in path.read_text(encoding='utf-8').splitlines() if line.strip()]
    return [row for row in rows if row['epoch'] < before]


def write_history(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write `history.jsonl`, a line an epoch, and `summary.csv`, a line a validated epoch; each in one step.

    Raises:
        RunError: they cannot be written.
    """
    validated = [row for row in rows if row.get('validated')]
    columns = [c for c in SUMMARY if any(c in row for row in validated)]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction='ignore', lineterminator='\n')
    writer.writeheader()
    writer.writerows(validated)
    try:
        write_jsonl(folder / 'history.jsonl', rows)
        write_text(folder / 'summary.csv', text.getvalue())
    except OSError as e:
        raise RunError(f'{folder}: cannot be written ({e.strerror or e}); the last good checkpoint is kept') from None


def draw_curves(rows: Sequence[Mapping[str, Any]], path: Path, title: str = '') -> None:
    """Draw losses, accuracies and learning rate over the epochs as a PNG; without matplotlib, say so."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        _logger.info('no %s: pip install matplotlib', path.name)
        return

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
    if weights_top1:  # with a moving average, `eval_` is the average's
        axes = accuracies
        axes.plot(
            [row['epoch'] + 1 for row in weights_top1], [row['weights_top1'] for row in weights_top1],
            color='C1', linestyle=':', label='top-1 without EMA',
        )
    best = max((row for row in rows if row.get('eval_top1') is not None), key=lambda r: r['eval_top1'], default=None)
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
    with replacing(path) as temporary:
        figure.savefig(temporary, format='png', dpi=100)
