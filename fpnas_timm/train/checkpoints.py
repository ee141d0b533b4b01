"""Training checkpoints: timm's `CheckpointSaver` and format, each file whole or not there, with the random state.

Both ways fit: timm's `train.py --resume` reads these files, and this package reads timm's.
"""
import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from timm.models import clean_state_dict
from timm.task import TrainingTask
from timm.utils import CheckpointSaver, unwrap_model
from torch import nn

from ..errors import RunError, UsageError
from ..runs.checkpoints import load_checkpoint, previous, save_checkpoint

__all__ = ['RunCheckpoints', 'arch_in', 'load_training_state', 'read_training_checkpoint']


class RunCheckpoints(CheckpointSaver):
    """timm's saver (`last`, the best few, `model_best`, milestones, recovery) with atomic writes.

    `extra` gives what else belongs into the checkpoint of a finished epoch.
    """

    def __init__(self, *args: Any, extra: Callable[[], dict[str, Any]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.extra = extra
        self._state: dict[str, Any] = {}

    def _save(self, save_path: str, epoch: int, metric: float | None = None) -> None:
        """Collect what is written by `_replace`, which comes next: no temporary name is ever left over."""
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
        }
        if self.amp_scaler is not None:
            state[self.amp_scaler.state_dict_key] = self.amp_scaler.state_dict()
        arch = getattr(unwrap_model(self.task.get_eval_model()), 'arch', None)
        if arch is not None:
            state['arch_string'] = str(arch)
        if 'recovery' not in Path(save_path).name:  # saved in the middle of an epoch: nothing to continue exactly
            state.update(self.extra())
        self._state = state

    def _replace(self, src: str, dst: str) -> None:
        save_checkpoint(dst, self._state)
        self._state = {}

    def _duplicate(self, src: str, dst: str) -> None:
        link = f'{dst}.{os.getpid()}.tmp'
        super()._duplicate(src, link)
        os.replace(link, dst)

    def resume(self, state: dict[str, Any]) -> None:
        """Go on with the history of `last`, in the same folder; make good what a kill during its saving left undone."""
        if 'saver' not in state:
            return
        self.load_state_dict(state['saver'])
        epoch, metric = state['saver']['pending']
        if metric is not None and (self.best_metric is None or self.cmp(metric, self.best_metric)):
            self.best_epoch, self.best_metric = epoch, metric
        best = Path(self.checkpoint_dir) / f'model_best{self.extension}'
        if self.best_epoch == epoch and not _is_of_epoch(best, epoch):
            save_checkpoint(best, state)  # not a link to `last`, which may be the damaged one
            previous(best).unlink(missing_ok=True)


def _is_of_epoch(path: Path, epoch: int) -> bool:
    try:
        return read_training_checkpoint(path)['epoch'] == epoch
    except (RunError, UsageError):
        return False


def read_training_checkpoint(path: str | Path) -> dict[str, Any]:
    """The state in a training checkpoint of ours or of timm's; a damaged one falls back to the one before it.

    Raises:
        UsageError: there is no such file, or it is no training checkpoint.
        RunError: it is damaged, and so is the one before it.
    """
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):  # timm stores its options so
            state = load_checkpoint(path)
    except FileNotFoundError:
        raise UsageError(f'{path}: no such checkpoint') from None
    if not isinstance(state, dict) or 'state_dict' not in state or 'epoch' not in state:
        raise UsageError(f'{path}: not a training checkpoint (weights alone start a run with --initial-checkpoint)')
    return state


def arch_in(state: dict[str, Any]) -> str | None:
    """The architecture string that a checkpoint says it is of, if it says so."""
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
        UsageError: it is of another network (both strings are in the message), or its optimizer state does not fit.
    """
    model: nn.Module = unwrap_model(task.get_eval_model())
    theirs, ours = arch_in(state), getattr(model, 'arch', None)
    if theirs and ours and theirs != str(ours):
        raise UsageError(f'{path} is a checkpoint of another architecture: it has {theirs}, this model is {ours}')
    suffix = '_ema' if ema and state.get('state_dict_ema') is not None else ''
    weights = clean_state_dict(state[f'state_dict{suffix}'])
    try:
        task.load_checkpoint_state(weights, state.get(f'task_state{suffix}'), ema=ema)
    except RuntimeError as e:
        there = state.get('arch', 'unknown')
        raise UsageError(f'{path} does not fit this model (there: {there}): {_short(e)}') from None
    try:
        if optimizer is not None and 'optimizer' in state:
            optimizer.load_state_dict(state['optimizer'])
    except ValueError as e:
        reason = f'its optimizer state does not fit ({_short(e)})'
        raise UsageError(f'{path}: {reason}: --no-resume-opt leaves it out') from None
    if scaler is not None and scaler.state_dict_key in state:
        scaler.load_state_dict(state[scaler.state_dict_key])


def _short(e: Exception) -> str:
    return ' '.join(str(e).split())[:300]
