"""Training checkpoints: timm's `CheckpointSaver` and format, written atomically, with the random state.

timm's `train.py --resume` can read these files, and this package can read timm's.
"""
import argparse
import os
from pathlib import Path
from typing import Any

import torch
from timm.models import clean_state_dict
from timm.task import TrainingTask
from timm.utils import CheckpointSaver, unwrap_model

from ..errors import RunError, UsageError, one_line
from ..runs.checkpoints import load_checkpoint, previous, save_checkpoint
from .task import eval_model

__all__ = ['RunCheckpoints', 'arch_in', 'load_training_state', 'read_training_checkpoint']


class RunCheckpoints(CheckpointSaver):
    """timm's saver (`last`, the best few, `model_best`, milestones, recovery) with atomic writes.

    The arguments are those of timm's class. `random_states` (from `gather_random_states`) are saved with each epoch.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.random_states: dict[str, Any] = {}
        self.images = ''  # fingerprint of the images
        self._state: dict[str, Any] = {}

    def _save(self, save_path: str, epoch: int, metric: float | None = None) -> None:
        """Collect the state; `_replace`, which timm calls next, writes it atomically and leaves no temporary file."""
        state = {
            'epoch': epoch,
            'arch': self.args.model,
            'args': vars(self.args),
            'version': 2,
            'optimizer': self.optimizer.state_dict(),
            **self.task.get_checkpoint_state(unwrap_fn=self.unwrap_fn),
            **self.task.get_checkpoint_state(ema=True, unwrap_fn=self.unwrap_fn),
            'metric': metric,
            'saver': self.state_dict(epoch, metric),
            'images': self.images,
        }
        if self.amp_scaler is not None:
            state[self.amp_scaler.state_dict_key] = self.amp_scaler.state_dict()
        arch = getattr(unwrap_model(self.task.get_eval_model()), 'arch', None)
        if arch is not None:
            state['arch_string'] = str(arch)
        if 'recovery' not in Path(save_path).name:  # recovery checkpoints are mid-epoch: no exact resume
            state['random'] = self.random_states
        self._state = state

    def _replace(self, src: str, dst: str) -> None:
        save_checkpoint(dst, self._state)
        self._state = {}

    def _duplicate(self, src: str, dst: str) -> None:
        link = f'{dst}.{os.getpid()}.tmp'
        super()._duplicate(src, link)
        os.replace(link, dst)

    def resume(self, state: dict[str, Any]) -> None:
        """Restore the saver's history of best checkpoints from the state of `last`, in the same folder.

        If a kill interrupted the update of `model_best` after `last` was written, the update is repaired.
        """
        if 'saver' not in state:
            return
        self.load_state_dict(state['saver'])
        epoch, metric = state['saver']['pending']
        if metric is not None and (self.best_metric is None or self.cmp(metric, self.best_metric)):
            self.best_epoch, self.best_metric = epoch, metric
        best = Path(self.checkpoint_dir) / f'model_best{self.extension}'
        if self.best_epoch == epoch and not _is_of_epoch(best, epoch):
            save_checkpoint(best, state)  # not a link to `last`, which may be damaged
            previous(best).unlink(missing_ok=True)


def _is_of_epoch(path: Path, epoch: int) -> bool:
    try:
        return read_training_checkpoint(path)['epoch'] == epoch
    except (RunError, UsageError):
        return False


def read_training_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a training checkpoint of this package or of timm; if it is damaged, read the previous one instead.

    Raises:
        UsageError: there is no such file, or it is not a training checkpoint.
        RunError: both this checkpoint and the previous one are damaged.
    """
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):  # timm stores its options as a Namespace
            state = load_checkpoint(path)
    except FileNotFoundError:
        raise UsageError(f'{path}: no such checkpoint') from None
    if not isinstance(state, dict) or 'state_dict' not in state or 'epoch' not in state:
        raise UsageError(f'{path}: not a training checkpoint (to start from weights only, use --initial-checkpoint)')
    return state


def arch_in(state: dict[str, Any]) -> str | None:
    """The architecture string recorded in a checkpoint, or None."""
    if 'arch_string' in state:
        return state['arch_string']
    args = state.get('args')
    args = vars(args) if isinstance(args, argparse.Namespace) else args
    return (args or {}).get('model_kwargs', {}).get('arch')


def load_training_state(
        state: dict[str, Any],
        path: str | Path,
        task: TrainingTask,
        optimizer: torch.optim.Optimizer | None = None,
        scaler: Any = None,
        ema: bool = False,
) -> None:
    """Load a checkpoint into a task, its optimizer and its gradient scaler, or (`ema`) into the task's moving average.

    Raises:
        UsageError: the checkpoint belongs to a different network, or its optimizer state does not match.
    """
    model = unwrap_model(eval_model(task))
    theirs, ours = arch_in(state), getattr(model, 'arch', None)
    if theirs and ours and theirs != str(ours):
        raise UsageError(f'{path} belongs to a different architecture: it has {theirs}, this model is {ours}')
    suffix = '_ema' if ema and state.get('state_dict_ema') is not None else ''
    weights = clean_state_dict(state[f'state_dict{suffix}'])
    try:
        task.load_checkpoint_state(weights, state.get(f'task_state{suffix}'), ema=ema)
    except RuntimeError as e:
        there = state.get('arch', 'unknown')
        raise UsageError(f'{path} does not match this model (it was saved from {there}): {one_line(e)}') from None
    try:
        if optimizer is not None and 'optimizer' in state:
            optimizer.load_state_dict(state['optimizer'])
    except ValueError as e:
        reason = f'its optimizer state does not match ({one_line(e)})'
        raise UsageError(f'{path}: {reason}: use --no-resume-opt to resume without it') from None
    if scaler is not None and scaler.state_dict_key in state:
        scaler.load_state_dict(state[scaler.state_dict_key])
