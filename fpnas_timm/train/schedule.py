"""The learning rate of a run, from its options: timm's schedule and its scaling with the batch."""
import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from timm.scheduler import PlateauLRScheduler, create_scheduler_v2, scheduler_kwargs
from timm.scheduler.scheduler import Scheduler
from torch.optim import Optimizer

from ..errors import UsageError, one_line
from .checkpoints import options_in
from .resume import metric_of
from .state import PLATEAU

__all__ = ['base_learning_rate', 'create_schedule']


def base_learning_rate(base: float, base_size: int, scale: str, opt: str, global_batch: float) -> float:
    """`--lr-base` scaled to the global batch size by timm's rule.

    Args:
        base: learning rate at a global batch size of `base_size`.
        base_size: reference global batch size.
        scale: 'linear' or 'sqrt'; '': 'sqrt' for Ada* and LAMB optimizers, else 'linear'.
        opt: timm's name of the optimizer.
        global_batch: images per update over all processes.

    >>> base_learning_rate(0.1, 256, '', 'sgd', 1024), base_learning_rate(0.1, 256, '', 'adamw', 1024)
    (0.4, 0.2)
    """
    ratio = global_batch / base_size
    scale = scale or ('sqrt' if any(o in opt.lower() for o in ('ada', 'lamb')) else 'linear')
    return base * (ratio**0.5 if scale == 'sqrt' else ratio)


def create_schedule(
        args: argparse.Namespace, optimizer: Optimizer, updates: int, metric: str, start: int, saved: Mapping[str, Any]
) -> tuple[Scheduler | None, int]:
    """timm's schedule, at epoch `start`, and its length in epochs.

    Args:
        args: the options.
        optimizer: its learning rates are set; in a resumed run, it has its saved state.
        updates: updates per epoch.
        metric: by which the run ranks its epochs, for plateau.
        start: epoch to start at, counted from 0.
        saved: the checkpoint of the epoch before; empty without one.
    """
    rates = [group['lr'] if 'initial_lr' in group else None for group in optimizer.param_groups]
    try:
        schedule = scheduler_kwargs(args, decreasing_metric=metric.endswith('loss'))
        scheduler, num_epochs = create_scheduler_v2(optimizer, **schedule, updates_per_epoch=updates)
    except (AssertionError, TypeError, ValueError) as e:
        raise UsageError(f'--sched {args.sched}: {one_line(e)}') from None
    if isinstance(scheduler, PlateauLRScheduler) and start > 0:
        _resume_plateau(scheduler, rates, metric, start, saved)
    elif scheduler is not None and start > 0:
        if args.sched_on_updates:
            scheduler.step_update(start * updates)
        else:
            scheduler.step(start)
    return scheduler, num_epochs


def _resume_plateau(
        scheduler: PlateauLRScheduler, rates: Sequence[float | None], metric: str, start: int, saved: Mapping[str, Any]
) -> None:
    """Bring a plateau schedule, whose learning rates follow from the metrics so far, to epoch `start`.

    Without the learning rates of the checkpoint (another `--lr`, `--no-resume-opt`), it starts anew.

    Args:
        scheduler: a new one, which has set all learning rates to those of the first epoch.
        rates: the saved learning rate of each parameter group; None where there is none, or another one is asked for.
        metric: as in `create_schedule`.
        start: as in `create_schedule`.
        saved: as in `create_schedule`.

    Raises:
        UsageError: the saved state is for other parameter groups.
    """
    options, groups = options_in(saved), scheduler.optimizer.param_groups
    warmup = options.get('warmup_epochs')
    warm = not isinstance(warmup, (int, float)) or saved['epoch'] >= warmup
    goes_on = None not in rates and options.get('sched') == 'plateau' and warm
    for group, rate in zip(groups, rates):
        group['lr'] = rate if goes_on else group['initial_lr'] * group.get('lr_scale', 1.0)
    comparable = metric_of(options) == metric
    if goes_on and (state := saved.get('plateau')):
        if state['restore_lr'] is not None and len(state['restore_lr']) != len(groups):
            raise UsageError('--resume: the saved state of --sched plateau does not match: use --no-resume-opt')
        scheduler.restore_lr = state['restore_lr']
        if comparable:
            vars(scheduler.lr_scheduler).update({name: state[name] for name in PLATEAU})
    scheduler.step(start, saved.get('metric') if comparable else None)
