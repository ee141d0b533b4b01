"""Training checkpoints: timm's `CheckpointSaver` and format, written atomically, with the random state.

timm's `train.py --resume` can read these files, and this package can read timm's.
"""
import argparse
import contextlib
import logging
import math
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from timm.models import clean_state_dict
from timm.scheduler import PlateauLRScheduler
from timm.scheduler.scheduler import Scheduler
from timm.task import TrainingTask
from timm.utils import CheckpointSaver, unwrap_model

from ..errors import RunError, UsageError, one_line
from ..model.network import FPNAS
from ..runs.checkpoints import load_checkpoint, options_allowed, previous, save_checkpoint
from ..runs.files import replacing
from ..weights.folder import args_of
from ..weights.recorded import DATA_KEYS
from .state import check_state, load_optimizer, load_scaler, plateau_state
from .task import eval_model

__all__ = ['LAST', 'RunCheckpoints', 'arch_in', 'load_training_state', 'options_in', 'read_training_checkpoint']

_logger = logging.getLogger('train')

LAST = 'last.pth.tar'


class RunCheckpoints(CheckpointSaver):
    """timm's saver (`last`, the best few, `model_best`, milestones, recovery) with atomic writes.

    The better of two epochs is the one with the better metric; if they are equal, with the lower loss; then the later
    one. (With timm it is the earlier one of equal metrics, which on small validation sets may have a far worse loss.)

    The arguments are those of timm's class. Two attributes are set before each epoch is saved: `random_states` (from
    `gather_random_states`), saved with it, and its loss in `losses`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.random_states: dict[str, Any] = {}
        self.images = ''  # fingerprint of the images
        self.scheduler: Scheduler | None = None  # of the learning rate
        self.data_config: dict[str, Any] = {}  # timm's, of the run
        self.losses: dict[int, float] = {}  # by epoch, counted from 0
        self._state: dict[str, Any] = {}

    def save_checkpoint(self, epoch: int, metric: float | None = None) -> tuple[float | None, int | None]:
        """Save an epoch as `last` and, if it is one of the best, under its number and as `model_best`.

        Raises:
            RunError: a file cannot be written, e.g. on a full disk; the message names it.
        """
        last = os.path.join(self.checkpoint_dir, LAST)
        self._save(last, epoch, metric)
        self._replace(last, last)
        self._rank(epoch, metric)
        for path in self._kept_at(epoch):
            self._duplicate(last, path)
        self._drop_others()
        return self.best_metric, self.best_epoch

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
        if isinstance(self.scheduler, PlateauLRScheduler):
            state['plateau'] = plateau_state(self.scheduler)
        model = unwrap_model(self.task.get_eval_model())
        if isinstance(model, FPNAS):
            state['arch_string'], state['model_args'] = str(model.arch), args_of(model)
        state['data_config'] = {k: self.data_config[k] for k in DATA_KEYS if k in self.data_config}
        if 'recovery' not in Path(save_path).name:  # recovery checkpoints are mid-epoch: no exact resume
            state['random'] = self.random_states
        self._state = state

    def _replace(self, src: str, dst: str) -> None:
        save_checkpoint(dst, self._state)
        self._state = {}

    def _duplicate(self, src: str, dst: str) -> None:
        with _writing(dst), replacing(dst) as link:
            link.unlink()
            try:
                os.link(src, link)
            except OSError:  # a file system without links
                shutil.copyfile(src, link)

    def _rank(self, epoch: int, metric: float | None) -> None:
        """Put an epoch among the best ones, in order; `checkpoint_files` may now be longer than what is kept."""
        path = self._checkpoint_path(epoch)
        others = [(file, value) for file, value in self.checkpoint_files if file != path]
        self.checkpoint_files = sorted([*others, (path, metric)], key=lambda c: self._order(_epoch_of(c[0]), c[1]))
        if metric is not None and (
            self.best_epoch is None
            or self._order(epoch, metric) < self._order(self.best_epoch, self.best_metric)
        ):
            self.best_epoch, self.best_metric = epoch, metric

    def _order(self, epoch: int, metric: float | None) -> tuple[bool, float, float, int]:
        """Sorts the best epoch first."""
        value = 0.0 if metric is None else metric if self.decreasing else -metric
        return metric is None, value, self.losses.get(epoch, math.inf), -epoch

    def _kept_at(self, epoch: int) -> list[str]:
        """The paths at which the checkpoint of an epoch is kept, besides `last`."""
        numbered = self._checkpoint_path(epoch)
        kept = [file for file, _ in self.checkpoint_files[:self.max_history] if file == numbered]
        return [*kept, *([self._best_path] if self.best_epoch == epoch else [])]

    @property
    def _best_path(self) -> str:
        return os.path.join(self.checkpoint_dir, f'model_best{self.extension}')

    def _drop_others(self) -> None:
        """Remove the numbered checkpoints that are no longer among the best, also those that a kill left."""
        del self.checkpoint_files[self.max_history:]
        kept = {os.path.basename(file) for file, _ in self.checkpoint_files}
        for file in Path(self.checkpoint_dir).glob(f'{self.save_prefix}-*{self.extension}'):
            if file.name not in kept and _epoch_of(file) >= 0:
                with contextlib.suppress(OSError):
                    file.unlink()

    def resume(
            self, state: dict[str, Any], losses: Mapping[int, float], milestone: bool = False, partial: bool = False
    ) -> None:
        """Restore the saver from the state of `last` in the same folder, and repair what a kill left unfinished.

        A kill after `last` was written leaves the files of its epoch (`checkpoint-N`, `model_best`, `milestone-N`)
        missing or as they were before. They are written again, and so is a damaged `model_best`.

        Args:
            state: the checkpoint.
            losses: loss of each epoch, counted from 0.
            milestone: whether the checkpoint of this epoch is kept permanently.
            partial: it was saved in the middle of its epoch, which therefore is none of the best.
        """
        self.losses = dict(losses)
        saver = state.get('saver')
        if saver is None:
            return
        files = [(os.path.join(self.checkpoint_dir, file), metric) for file, metric in saver['checkpoint_files']]
        self.checkpoint_files = [(file, metric) for file, metric in files if os.path.exists(file)]
        self.best_epoch, self.best_metric = saver['best_epoch'], saver['best_metric']
        epoch, metric = saver['pending']
        if epoch is not None and not partial:
            self._register(state, epoch, metric, milestone)
        if self.best_epoch is not None and not _is_of_epoch(self._best_path, self.best_epoch):
            self._restore_best()

    def _register(self, state: dict[str, Any], epoch: int, metric: float | None, milestone: bool) -> None:
        """Put the epoch of a checkpoint among the best ones, and write those of its files that are missing."""
        self._rank(epoch, metric)
        paths = self._kept_at(epoch)
        if milestone:
            paths.append(os.path.join(self.checkpoint_dir, f'milestone-{epoch + 1}{self.extension}'))
        for path in paths:
            if not _is_of_epoch(path, epoch):
                save_checkpoint(path, state)  # not a link to `last`, which may be damaged
                previous(path).unlink(missing_ok=True)
        self._drop_others()

    def _restore_best(self) -> None:
        """Take the best checkpoint that is left."""
        for file, metric in self.checkpoint_files:
            if metric is not None and _is_of_epoch(file, _epoch_of(file)):
                epoch = _epoch_of(file)
                self.best_epoch, self.best_metric = epoch, metric
                with _writing(self._best_path), replacing(self._best_path) as copy:
                    shutil.copyfile(file, copy)
                _logger.warning(f'{self._best_path} was missing or damaged: it is now that of epoch {epoch + 1}')
                return
        self.best_epoch = self.best_metric = None
        Path(self._best_path).unlink(missing_ok=True)
        _logger.warning(f'{self._best_path} was missing or damaged, and no other good one is left: the best of the '
                        'coming epochs is saved')


@contextlib.contextmanager
def _writing(path: str | Path) -> Iterator[None]:
    """Turn an OSError into one sentence."""
    try:
        yield
    except OSError as e:
        raise RunError(f'{path}: cannot be written ({e.strerror or e}); {Path(path).with_name(LAST)} is kept') from None


def _epoch_of(path: str | Path) -> int:
    """The epoch in the name of a numbered checkpoint; -1 if there is none."""
    found = re.search(r'-(\d+)\.pth\.tar$', os.path.basename(path))
    return int(found.group(1)) if found else -1


def _is_of_epoch(path: str | Path, epoch: int) -> bool:
    """Whether this very file is intact (and not a predecessor of it)."""
    try:
        return os.path.exists(path) and read_training_checkpoint(path)['epoch'] == epoch
    except (RunError, UsageError):
        return False


def read_training_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a training checkpoint of this package or of timm; if it is damaged, read the previous one instead.

    Raises:
        UsageError: there is no such file, it is not a training checkpoint, or one of its entries is malformed.
        RunError: both this checkpoint and the previous one are damaged.
    """
    try:
        with options_allowed():
            state = load_checkpoint(path)
    except FileNotFoundError:
        raise UsageError(f'{path}: no such checkpoint') from None
    check_state(state, path)
    return state


def options_in(state: Mapping[str, Any]) -> dict[str, Any]:
    """The options recorded in a checkpoint; empty if there are none."""
    args = state.get('args')
    return dict(vars(args) if isinstance(args, argparse.Namespace) else args or {})


def arch_in(state: Mapping[str, Any]) -> str | None:
    """The architecture string recorded in a checkpoint, or None."""
    if 'arch_string' in state:
        return state['arch_string']
    return options_in(state).get('model_kwargs', {}).get('arch')


def load_training_state(
        state: dict[str, Any],
        path: str | Path,
        task: TrainingTask,
        optimizer: torch.optim.Optimizer | None = None,
        scaler: Any = None,
        ema: bool = False,
        options: Mapping[str, Any] | None = None,
) -> None:
    """Load a checkpoint into a task, its optimizer and its gradient scaler, or (`ema`) into the task's moving average.

    Args:
        state: from `read_training_checkpoint`.
        path: where it was read, for messages.
        task: the task of this run.
        optimizer: its optimizer; None to leave out the saved state.
        scaler: its gradient scaler, if any.
        ema: load the saved average (or the saved weights, if there is none) into the task's moving average.
        options: of this run: `opt` must be that of the checkpoint; `lr`, `weight_decay` and the like replace the saved
            ones if they are not those that the checkpoint was saved with.

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
    except Exception as e:  # RuntimeError by torch; a task's own state may be anything
        there = state.get('arch', 'unknown')
        raise UsageError(f'{path} does not match this model (it was saved from {there}): {one_line(e)}') from None
    try:
        if optimizer is not None and 'optimizer' in state:
            load_optimizer(optimizer, state['optimizer'], options_in(state), options or {})
        if scaler is not None and scaler.state_dict_key in state:
            load_scaler(scaler, state[scaler.state_dict_key])
    except ValueError as e:
        raise UsageError(
            f'{path}: its optimizer state does not match ({e}): use --no-resume-opt to resume without it'
        ) from None
