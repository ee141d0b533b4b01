"""The folder of a training run: checkpoints, history and trackers while it goes on, the export at its end."""
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from timm.models import clean_state_dict
from torch import nn

from ..runs.tracking import Trackers, write_history
from ..weights.folder import export_model
from .checkpoints import RunCheckpoints, read_training_checkpoint

__all__ = ['RunFolder', 'export_best']

_logger = logging.getLogger('train')


class RunFolder:
    """What the first process writes after each epoch.

    Args:
        path: the folder, which exists.
        saver: of the checkpoints.
        trackers: where rows of the history go, too.
        history: the rows of the epochs before, in a run that is resumed.
    """

    def __init__(
            self, path: Path, saver: RunCheckpoints, trackers: Trackers, history: Sequence[Mapping[str, Any]] = ()
    ) -> None:
        self.path = path
        self.saver = saver
        self.trackers = trackers
        self.history = [dict(row) for row in history]

    def save(
            self,
            row: Mapping[str, Any],
            metric: float | None,
            random_states: dict[str, Any],
            milestone: bool = False,
    ) -> None:
        """Write the history and, after a validated epoch, the checkpoints.

        Args:
            row: the epoch's, for the history.
            metric: by which the best checkpoint is chosen.
            random_states: of all processes, to be saved with a validated epoch.
            milestone: whether the epoch's checkpoint is kept for good.

        Raises:
            RunError: the disk is full, say; the last good checkpoint is kept.
        """
        self.history.append(dict(row))
        write_history(self.path, self.history)
        self.trackers.log(row)
        if row.get('validated'):
            self.saver.random_states = random_states
            self.saver.save_checkpoint(row['epoch'], metric=metric)
        if milestone:
            self.saver.save_milestone(row['epoch'] + 1)

    def close(self) -> None:
        """Close the trackers."""
        self.trackers.close()


def export_best(
        model: nn.Module,
        folder: Path,
        history: Sequence[Mapping[str, Any]],
        data_config: Mapping[str, Any],
        label_names: Sequence[str],
        notes: Mapping[str, Any],
        average: bool,
) -> dict[str, Any]:
    """Export a run's best checkpoint, if there is one, as `folder/export`.

    Args:
        model: a network of the run's architecture, not used by anyone else: it gets the best weights.
        folder: of the run.
        history: its rows; that of the best epoch has the metrics.
        data_config: as for `export_model`.
        label_names: as for `export_model`.
        notes: what else the folder says about the training: `recipe`, `epochs`, `seed`.
        average: whether the moving average was validated, if the checkpoint has one: then it is exported.

    Returns:
        The history's row of the best epoch; empty if nothing was exported.
    """
    best = folder / 'model_best.pth.tar'
    if not best.exists():
        return {}
    state = read_training_checkpoint(best)
    ema = 'state_dict_ema' in state and average
    model.load_state_dict(clean_state_dict(state['state_dict_ema' if ema else 'state_dict']))
    row = next((dict(r) for r in history if r['epoch'] == state['epoch']), {})
    metrics = {k.removeprefix('eval_'): v for k, v in row.items() if k.startswith('eval_')}
    training = {
        'recipe': notes['recipe'],
        'epoch': state['epoch'] + 1,
        'epochs': notes['epochs'],
        **metrics,
        'train_loss': row.get('train_loss'),
        'ema': ema,
        'seed': notes['seed'],
    }
    export_model(model, folder / 'export', data_config, label_names, training)
    shown = ', '.join(f'{k} {v:.5g}' for k, v in metrics.items())
    _logger.info(f'best: epoch {training["epoch"]} ({shown}), as local-dir:{folder / "export"}')
    return row
