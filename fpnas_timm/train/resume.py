"""Whether a run starts or goes on, from which checkpoint, and what must be the same when it goes on."""
import contextlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import RunError, UsageError
from ..runs.checkpoints import previous
from ..runs.folder import lock_folder
from .checkpoints import LAST, options_in, read_training_checkpoint
from .classes import listed

__all__ = [
    'Origin', 'check_classes', 'check_epochs', 'check_settings', 'find_origin', 'log_changes', 'metric_of',
    'open_new',
]

_logger = logging.getLogger('train')

# What a run writes at its start, and what any later state of it has.
SIGNS = ('args.yaml', 'history.jsonl', LAST, previous(LAST).name, 'model_best.pth.tar', 'export')


@dataclass(frozen=True)
class Origin:
    """Where a run starts."""

    folder: Path  # output folder
    path: str = ''  # the checkpoint to continue from; '': none
    state: dict[str, Any] = field(default_factory=dict)  # its contents
    in_place: bool = False  # it is a checkpoint of the run in `folder`, which goes on there
    existed: bool = True  # the folder was there, and is locked

    def __bool__(self) -> bool:
        return bool(self.state)

    @property
    def partial(self) -> bool:
        """Whether it was saved in the middle of its epoch, by `--recovery-interval`."""
        ours_without = 'images' in self.state and 'random' not in self.state  # also if the file was renamed
        return Path(self.path).name.startswith('recovery') or ours_without


def find_origin(folder: Path, resume: str, locks: contextlib.ExitStack) -> Origin:
    """Find and read the checkpoint to continue from, if any; lock the output folder if it exists. For rank 0.

    Args:
        folder: output folder of the run.
        resume: as `--resume`: a checkpoint or the folder of a run, 'auto' or ''.
        locks: releases the lock at the end of the run.

    Raises:
        UsageError: the folder holds another run, or is in use; there is no such checkpoint, or it is none.
        RunError: the checkpoint and the one before it are damaged.
    """
    existed = folder.exists()
    if existed:
        locks.enter_context(lock_folder(folder))
    auto = resume == 'auto'
    if auto:
        resume = str(folder / LAST) if _is_there(folder / LAST) else ''
    elif resume and Path(resume).is_dir():
        if not _is_there(Path(resume) / LAST):
            raise UsageError(f'--resume {resume}: a folder without {LAST}: give a checkpoint, a .pth.tar file')
        resume = str(Path(resume) / LAST)
    in_place = bool(resume) and existed and Path(resume).parent.exists() and Path(resume).parent.samefile(folder)
    if auto and not resume:
        _check_nothing_lost(folder)
    elif not in_place:
        check_unused(folder)
    if not resume:
        return Origin(folder, existed=existed)
    state = read_training_checkpoint(resume)
    origin = Origin(folder, resume, state, in_place, existed)
    if in_place:
        _check_newest(origin)
    if origin.partial:
        _logger.warning(
            f'{resume} was saved in the middle of epoch {state["epoch"] + 1}: the rest of that epoch is left out'
        )
    return origin


def open_new(folder: Path, locks: contextlib.ExitStack) -> None:
    """Create and lock an output folder that did not exist when the run began. For rank 0.

    Raises:
        UsageError: it cannot be written, is in use, or another run has meanwhile started there.
    """
    locks.enter_context(lock_folder(folder))
    check_unused(folder)


def check_unused(folder: Path) -> None:
    """Raise UsageError if the folder holds a run."""
    if any((folder / name).exists() for name in SIGNS):
        raise UsageError(
            f'--experiment {folder.name}: {folder} already holds a run: continue it with --resume auto, or choose '
            'another --experiment'
        )


def _is_there(path: Path) -> bool:
    return path.exists() or previous(path).exists()


def _check_nothing_lost(folder: Path) -> None:
    """`--resume auto` starts from the beginning if there is no `last`: not over checkpoints that could be continued."""
    found = [path for path in folder.glob('*.pth.tar') if not path.name.startswith('recovery')]
    left = sorted(found, key=lambda path: path.stat().st_mtime)
    if left:
        raise UsageError(
            f'--resume auto: {folder} holds checkpoints but no {LAST}: continue with --resume {left[-1]}, or choose '
            'another --experiment'
        )


def _check_newest(origin: Origin) -> None:
    """A run goes on from its last epoch: from an earlier one, it would mix two histories in one folder."""
    last = origin.folder / LAST
    if Path(origin.path).name == LAST or not _is_there(last):
        return
    try:
        newest = read_training_checkpoint(last)['epoch']
    except (RunError, UsageError):
        return  # lost
    epoch = origin.state['epoch']
    if epoch < newest or (epoch == newest and origin.partial):
        where = f'in the middle of epoch {epoch + 1}' if origin.partial else f'after epoch {epoch + 1}'
        raise UsageError(
            f'--resume {origin.path}: this run has gone on to epoch {newest + 1}: continue it with --resume auto, or '
            f'choose another --experiment to branch off {where}'
        )


def check_classes(origin: Origin, names: Sequence[str]) -> None:
    """Raise UsageError if the classes of a run that goes on are not those of its checkpoint, in the same order."""
    before = options_in(origin.state).get('label_names') if origin else None
    if before and names and list(before) != list(names):
        raise UsageError(
            f'--resume {origin.path}: its classes are {listed(before)}, those of the data {listed(names)}: resume with '
            'the same --class-map and data, or start a new run with --initial-checkpoint, which matches classes by name'
        )


def check_settings(origin: Origin, ema: bool, metric: str) -> None:
    """Check that a run goes on with a moving average if it had one, and ranks its checkpoints as before.

    Args:
        origin: the checkpoint.
        ema: whether this run keeps a moving average.
        metric: by which it ranks its epochs: 'eval_top1', .., or 'train_loss' without validation.

    Raises:
        UsageError: the run in this folder cannot go on like that.
    """
    if not origin:
        return
    state, options = origin.state, options_in(origin.state)
    had_ema = state.get('state_dict_ema') is not None
    if had_ema and not ema:
        decay = options.get('model_ema_decay')
        advice = 'add --model-ema' + (f' --model-ema-decay {decay}' if decay is not None else '')
        if origin.in_place:
            raise UsageError(
                f'--resume {origin.path}: this run keeps a moving average of the weights (EMA): {advice}, or choose '
                'another --experiment to go on without it'
            )
        _logger.warning(f'The moving average of the weights in {origin.path} is left out: to go on with it, {advice}.')
    if ema and not had_ema:
        _logger.warning(f'{origin.path} has no moving average of the weights: it starts from the weights.')
    before = metric_of(options)
    if origin.in_place and before is not None and before != metric:
        option, value = '--eval-metric', before.removeprefix('eval_')
        if 'train_loss' in (before, metric):
            option, value = '--val-split', repr(options.get('val_split'))
        raise UsageError(
            f'--resume {origin.path}: the best checkpoint of this run is chosen by {before}, not by {metric}: resume '
            f'with {option} {value}, or choose another --experiment'
        )


def metric_of(options: Mapping[str, Any]) -> str | None:
    """The metric by which a run with these options ranks its epochs; None if they do not say."""
    if not isinstance(options.get('eval_metric'), str):
        return None
    validated = options.get('val_split') or options.get('val_fraction')
    return f'eval_{options["eval_metric"]}' if validated else 'train_loss'


def check_epochs(origin: Origin, epochs: range, num_epochs: int) -> bool:
    """Whether all epochs of the run are already done.

    Args:
        origin: the checkpoint.
        epochs: the epochs to train, counted from 0.
        num_epochs: length of the schedule.

    Raises:
        UsageError: `--start-epoch` is not where the run stands, the schedule is shorter than what is done, or there is
            nothing to train for a new folder.
    """
    start = epochs.start
    if origin.in_place and start != origin.state['epoch'] + 1:
        raise UsageError(
            f'--start-epoch {start}: {origin.state["epoch"] + 1} epochs of this run are done: leave the option out, or '
            'choose another --experiment'
        )
    if epochs:
        return False
    if not origin:
        raise UsageError(f'--start-epoch {start}: the schedule has only {num_epochs} epochs')
    if start > num_epochs:
        raise UsageError(
            f'--resume {origin.path}: {start} epochs are done, but the schedule has only {num_epochs}: raise --epochs '
            '(the schedule then is that of the longer run)'
        )
    if not origin.in_place:
        raise UsageError(f'--resume {origin.path}: {start} epochs are done: raise --epochs or --stop-epoch to train on')
    if origin.partial:
        raise UsageError(
            f'--resume {origin.path}: saved in the middle of epoch {start}, the last one: train that epoch again with '
            '--resume auto, or raise --epochs or --stop-epoch to go on without it'
        )
    return True


# Options that may change from one start to the next without a word: where and how, not what.
PLACES = {
    'arch_file', 'checkpoint_hist', 'config', 'data', 'data_dir', 'dataset_download', 'device', 'device_modules',
    'distributed', 'experiment', 'initial_checkpoint', 'list_recipes', 'local_rank', 'log_interval', 'log_tensorboard',
    'log_wandb', 'model', 'no_resume_opt', 'output', 'pin_mem', 'pretrained', 'pretrained_path', 'rank', 'recipe',
    'recovery_interval', 'resume', 'save_epochs', 'save_images', 'start_epoch', 'stop_epoch', 'validation_batch_size',
    'wandb_project', 'wandb_resume_id', 'wandb_tags', 'workers', 'world_size',
}


def log_changes(origin: Origin, options: Mapping[str, Any]) -> None:
    """Log the options with which a run goes on that differ from those of its checkpoint."""
    before = options_in(origin.state)
    changed = [
        f'--{name.replace("_", "-")} {_shown(before[name])} -> {_shown(value)}'
        for name, value in options.items()
        if name not in PLACES and name in before and _plain(before[name]) != _plain(value)
    ]
    if changed:
        _logger.warning(f'This run goes on with other options than those of {origin.path}: {", ".join(changed)}')


def _plain(value: Any) -> Any:
    """Lists and tuples are alike."""
    return [_plain(v) for v in value] if isinstance(value, (list, tuple)) else value


def _shown(value: Any) -> str:
    return ' '.join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
