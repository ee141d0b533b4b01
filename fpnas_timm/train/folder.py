"""The output folder of a training run: checkpoints, history and trackers during the run, the export at its end."""
import argparse
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from timm.models import clean_state_dict
from torch import nn

from ..errors import RunError, UsageError
from ..runs.tracking import Trackers, write_history
from ..weights.folder import export_model
from .checkpoints import RunCheckpoints, read_training_checkpoint

__all__ = ['RunFolder', 'export_best', 'options_text']

_logger = logging.getLogger('train')


class RunFolder:
    """Writes the history and the checkpoints after each epoch; rank 0 only.

    Args:
        path: the folder; must exist.
        saver: the checkpoint saver.
        trackers: TensorBoard and Weights & Biases, which also receive the history.
        history: rows of earlier epochs, in a resumed run.
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
            row: the row of this epoch for the history.
            metric: the value by which the best checkpoint is chosen.
            random_states: random states of all processes, saved with the checkpoint.
            milestone: whether the checkpoint of this epoch is kept permanently.

        Raises:
            RunError: the files cannot be written, e.g. on a full disk; the last good checkpoint is kept.
        """
        self.history.append(dict(row))
        write_history(self.path, self.history)
        try:
            self.trackers.log(row)
        except OSError as e:
            raise RunError(f'{e.filename or self.path}: cannot be written ({e.strerror or e})') from None
        if row.get('validated'):
            self.saver.random_states = random_states
            if 'eval_loss' in row:
                self.saver.losses[row['epoch']] = row['eval_loss']
            self.saver.save_checkpoint(row['epoch'], metric=metric)
        if milestone:
            self.saver.save_milestone(row['epoch'] + 1)

    def close(self) -> None:
        """Close the trackers."""
        self.trackers.close()


def options_text(args: argparse.Namespace) -> str:
    """The text of args.yaml.

    Raises:
        UsageError: an option has a value, from Python, that the file cannot hold.
    """
    for name, value in vars(args).items():
        try:
            yaml.safe_dump(value)
        except yaml.YAMLError as e:
            what = e.args[1] if len(e.args) > 1 else value
            raise UsageError(
                f'--{name.replace("_", "-")}: {what!r} cannot be saved in args.yaml: expected numbers, texts, lists '
                "and dicts of them (timm takes the names of layers, such as 'relu')"
            ) from None
    return yaml.safe_dump(vars(args), default_flow_style=False)


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
        model: a network of the run's architecture; the best weights are loaded into it.
        folder: output folder of the run.
        history: rows of the history; the metrics of the export are those of the best epoch.
        data_config: as in `export_model`.
        label_names: as in `export_model`.
        notes: further facts about the training to export: `recipe`, `epochs`, `seed`, `dataset` (its name), and two
            dicts: `images`, how validation images were held out, and `search`, what the search wrote that found the
            architecture.
        average: export the moving average of the weights if the checkpoint has one (if it was validated).

    Returns:
        The history row of the best epoch; empty if nothing was exported.
    """
    best = folder / 'model_best.pth.tar'
    if not best.exists():
        return {}
    try:
        state = read_training_checkpoint(best)
    except UsageError as e:  # the run has trained: its options are not to blame
        raise RunError(str(e)) from None
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
        'dataset': notes.get('dataset'),
        **notes.get('images', {}),
    }
    if notes.get('init_from'):
        training['init_from'] = notes['init_from']
    if search := notes.get('search'):
        training['search'] = {k: v for k, v in search.items() if k != 'weights'}  # the supernet's
    try:
        export_model(model, folder / 'export', data_config, label_names, training)
    except RunError as e:
        raise RunError(f'{e}; the checkpoints are kept') from None
    shown = ', '.join(f'{k} {v:.5g}' for k, v in metrics.items()) or 'not validated'
    _logger.info(f'best: epoch {training["epoch"]} ({shown}), as local-dir:{folder / "export"}')
    return row
