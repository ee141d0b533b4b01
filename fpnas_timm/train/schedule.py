"""The learning rate of a run, from its options: timm's schedule and its scaling with the batch."""
import argparse

from timm.scheduler import create_scheduler_v2, scheduler_kwargs
from timm.scheduler.scheduler import Scheduler
from torch.optim import Optimizer

from ..errors import UsageError, one_line

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
        args: argparse.Namespace, optimizer: Optimizer, updates: int, metric: str, start: int
) -> tuple[Scheduler | None, int]:
    """timm's schedule, at epoch `start`, and its length in epochs."""
    try:
        schedule = scheduler_kwargs(args, decreasing_metric=metric.endswith('loss'))
        scheduler, num_epochs = create_scheduler_v2(optimizer, **schedule, updates_per_epoch=updates)
    except (AssertionError, TypeError, ValueError) as e:
        raise UsageError(f'--sched {args.sched}: {one_line(e)}') from None
    if scheduler is not None and start > 0:
        if args.sched_on_updates:
            scheduler.step_update(start * updates)
        else:
            scheduler.step(start)
    return scheduler, num_epochs
