"""Pictures of a search by epoch: the distribution, its entropy, the expected cost and the training loss."""
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arch import Arch
from ..arch.sizes import shown_size
from ..runs.files import replacing
from .arch import FAINT, INK, draw_arch

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ['course', 'distribution_over_time', 'draw_search']

CLOSE = ('#0072B2', '#D55E00')


def draw_search(
        history: Sequence[Mapping[str, Any]],
        arch: Arch,
        folder: Path,
        groups: Sequence[Mapping[str, Sequence[Any]]],
        target: float | None = None,
) -> list[Path]:
    """Draw `course.png`, `distribution.png` and `arch.png` (the result in the style of Fig. B.1) in a folder.

    Args:
        history: `Search.history`, one row per epoch.
        arch: the resulting architecture.
        folder: the folder to write to.
        groups: `SearchSpace.groups`, for the names of the choices.
        target: the target in multiply-adds, drawn as a line.

    Returns:
        The files.

    Raises:
        ImportError: matplotlib is not installed.
    """
    paths = [folder / name for name in ('arch.png', 'course.png', 'distribution.png')]
    draw_arch(arch, paths[0], title=f'found by search: {shown_size(arch.img_size)} px')
    for path, figure in zip(paths[1:], (course(history, target), distribution_over_time(history, groups))):
        with replacing(path) as temporary:
            figure.savefig(temporary, format='png', dpi=110)
    return paths


def course(history: Sequence[Mapping[str, Any]], target: float | None = None) -> 'Figure':
    """Entropy with K, expected multiply-adds with the target, and the training loss over the epochs."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.4), layout='constrained')
    left, middle, right = figure.subplots(1, 3)
    epochs = [row['epoch'] + 1 for row in history]
    left.plot(epochs, [row['entropy'] for row in history], color=CLOSE[0])
    left.set(ylabel='entropy of the distribution, nats', ylim=(0, None))
    twin = left.twinx()
    twin.plot(epochs, [row['k'] for row in history], color=CLOSE[1], linestyle='--')
    twin.set(ylim=(0, None))
    twin.set_ylabel('K, samples per step', color=CLOSE[1])
    left.yaxis.label.set_color(CLOSE[0])
    middle.plot(epochs, [row['cost'] / 1e6 for row in history], color=CLOSE[0], label='expected')
    middle.plot(
        epochs, [row['most_probable_cost'] / 1e6 for row in history], color=CLOSE[1], linestyle=':',
        label='most probable',
    )
    if target:
        middle.axhline(target / 1e6, color=INK, linewidth=0.8, label='target')
    middle.set(ylabel='multiply-adds, millions', ylim=(0, None))
    middle.legend(frameon=False)
    what, label = ('train_loss', 'training loss, nats per image')
    if what not in history[0]:  # a supernet that is not trained
        what, label = 'log_likelihood', 'log-likelihood of a step, nats'
    right.plot(epochs, [row[what] for row in history], color=CLOSE[0])
    right.set(ylabel=label)
    for axes in (left, middle, right):
        _phases(axes, history)
        axes.set_xlabel('epochs')
        axes.grid(alpha=0.25)
    return figure


def _phases(axes: 'Axes', history: Sequence[Mapping[str, Any]]) -> None:
    """Draw lines at the end of the warm-up and where the distribution becomes joint."""
    for before, row in itertools.pairwise(history):
        if row['phase'] != before['phase']:
            axes.axvline(row['epoch'] + 0.5, color=FAINT, linewidth=0.8, linestyle=':')
            axes.annotate(
                row['phase'], (row['epoch'] + 0.5, 1), xycoords=('data', 'axes fraction'), xytext=(2, 2),
                textcoords='offset points', va='top', fontsize=7, color=FAINT,
            )


def distribution_over_time(
        history: Sequence[Mapping[str, Any]], groups: Sequence[Mapping[str, Sequence[Any]]]
) -> 'Figure':
    """One panel per group (columns) and variable (rows): stacked probabilities of the choices over the epochs.

    Arguments as in `draw_search`.
    """
    import matplotlib
    from matplotlib.figure import Figure

    marginals = [row['marginals'] for row in history]
    variables = list(dict.fromkeys(v for group in groups for v in group))
    figure = Figure(figsize=(1.2 + 1.15 * len(groups), 0.8 + 1.0 * len(variables)), layout='constrained')
    cells = figure.subplots(len(variables), len(groups), squeeze=False, sharex=True, sharey=True)
    epochs = [row['epoch'] + 1 for row in history]
    if len(epochs) == 1:
        epochs, marginals = [epochs[0], epochs[0] + 1], marginals * 2
    colors = matplotlib.colormaps['viridis']
    for column, group in enumerate(groups):
        for line, variable in enumerate(variables):
            axes: Axes = cells[line][column]
            axes.set(xlim=(epochs[0], epochs[-1]), ylim=(0, 1), yticks=[])
            axes.tick_params(labelsize=6)
            if line == 0:
                axes.set_title(f'group {column}', fontsize=8)
            if column == 0:
                axes.set_ylabel(variable, fontsize=8)
            if variable not in group:
                axes.set_axis_off()
                continue
            probs = np.array([m[column][variable] for m in marginals]).T
            shades = colors(np.linspace(0.05, 0.95, len(probs)))
            axes.stackplot(epochs, probs, colors=shades, linewidth=0)
            for choice, prob, top in zip(group[variable], probs[:, -1], probs[:, -1].cumsum()):
                if prob > 0.14:  # enough room for its name
                    place = (0.98, top - prob / 2)
                    ink = 'black' if top > 1 - 1e-3 else 'white'
                    look: dict[str, Any] = {'ha': 'right', 'va': 'center', 'fontsize': 7, 'color': ink}
                    axes.text(*place, str(choice), transform=axes.transAxes, **look)
    figure.suptitle('probability of each choice over the epochs', fontsize=9)
    return figure
