"""What a training checkpoint holds: checked before a run continues from it, since a file may come from anywhere."""
import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from timm.scheduler import PlateauLRScheduler
from torch import Tensor

from ..errors import UsageError, one_line
from ..runs.checkpoints import random_state, set_random_state

__all__ = [
    'OPTIONAL', 'PLATEAU', 'REQUIRED', 'changed_entries', 'check_state', 'load_optimizer', 'load_scaler',
    'plateau_state',
]


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _is_weights(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in value.items())


def _is_optimizer(value: Any) -> bool:
    if not isinstance(value, Mapping) or not isinstance(value.get('state'), Mapping):
        return False
    groups = value.get('param_groups')
    return isinstance(groups, list) and all(
        isinstance(group, Mapping) and isinstance(group.get('params'), list) for group in groups
    )


def _is_options(value: Any) -> bool:
    options = vars(value) if isinstance(value, argparse.Namespace) else value
    return options is None or (isinstance(options, Mapping) and isinstance(options.get('model_kwargs', {}), Mapping))


def _is_saver(value: Any) -> bool:
    if not isinstance(value, Mapping):
        return False
    files, pending = value.get('checkpoint_files'), value.get('pending')
    pairs: list[Any] = [*files, pending] if isinstance(files, list) else [None]
    return (
        all(isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in pairs)
        and all(isinstance(name, str) and Path(name).name == name for name, _ in pairs[:-1])
        and all(metric is None or _is_number(metric) for _, metric in [*pairs, (0, value.get('best_metric'))])
        and all(epoch is None or _is_count(epoch) for epoch in (pairs[-1][0], value.get('best_epoch')))
    )


def _is_random(value: Any) -> bool:
    processes = value.get('processes', []) if isinstance(value, Mapping) else None
    if not isinstance(processes, list) or not all(isinstance(own, Mapping) for own in processes):
        return False
    before = random_state()
    try:
        for own in processes:
            if own['workers'].ndim != 2 or own.get('cuda', torch.empty(0, dtype=torch.uint8)).dtype != torch.uint8:
                return False
            if own['workers'].shape[1] != len(before):
                return False
            for state in (own['main'], *(row for row in own['workers'] if row.any())):  # zeros: it had no batch
                set_random_state(state)
    except Exception:  # the generators check what they are given, each in its own way
        return False
    finally:
        set_random_state(before)
    return True


PLATEAU = ('best', 'num_bad_epochs', 'cooldown_counter', 'last_epoch')  # attributes of torch's ReduceLROnPlateau


def plateau_state(scheduler: PlateauLRScheduler) -> dict[str, Any]:
    """The state of a plateau schedule before an epoch's metric is known, except for the optimizer's learning rates."""
    counts = {name: getattr(scheduler.lr_scheduler, name) for name in PLATEAU}
    return {**counts, 'restore_lr': scheduler.restore_lr}


def _is_plateau(value: Any) -> bool:
    if not isinstance(value, Mapping) or not all(_is_number(value.get(name)) for name in PLATEAU):
        return False
    rates = value.get('restore_lr')
    return rates is None or (isinstance(rates, list) and all(map(_is_number, rates)))


Check = tuple[Callable[[Any], bool], str]

REQUIRED: dict[str, Check] = {
    'epoch': (_is_count, 'a whole number'),
    'state_dict': (_is_weights, 'names and tensors'),
}
OPTIONAL: dict[str, Check] = {
    'state_dict_ema': (lambda value: value is None or _is_weights(value), 'names and tensors'),
    'optimizer': (_is_optimizer, 'the state of a torch optimizer'),
    'amp_scaler': (
        lambda value: isinstance(value, Mapping) and all(map(_is_number, value.values())),
        'the numbers of a gradient scaler',
    ),
    'task_state': (lambda value: value is None or isinstance(value, Mapping), 'a dict'),
    'task_state_ema': (lambda value: value is None or isinstance(value, Mapping), 'a dict'),
    'args': (_is_options, 'options and their values'),
    'arch': (lambda value: isinstance(value, str), 'the name of a model'),
    'arch_string': (lambda value: isinstance(value, str), 'an architecture string'),
    'images': (lambda value: isinstance(value, str), 'a fingerprint of the images'),
    'metric': (lambda value: value is None or _is_number(value), 'a number'),
    'saver': (_is_saver, 'the list of the best checkpoints'),
    'plateau': (_is_plateau, 'the state of a plateau schedule'),
    'random': (_is_random, 'states of random generators'),
}


def check_state(state: Any, path: str | Path) -> None:
    """Check the entries of a training checkpoint of this package or of timm.

    Raises:
        UsageError: it is not a training checkpoint, or an entry is not what it should be.
    """
    if not isinstance(state, Mapping) or not all(name in state for name in REQUIRED):
        raise UsageError(f'{path}: not a training checkpoint (to start from weights only, use --initial-checkpoint)')
    for name, (is_good, expected) in (REQUIRED | OPTIONAL).items():
        if name in state and not is_good(state[name]):
            raise UsageError(
                f'{path}: not a training checkpoint, or altered: its {name!r} is {_shown(state[name])}, expected '
                f'{expected}: resume from another checkpoint'
            )


def _shown(value: Any) -> str:
    if value is None or isinstance(value, (bool, int, float, str)):
        return repr(value)[:60]
    return f'a malformed {type(value).__name__}'


# The entries of an optimizer's parameter groups that the options of `fpnas train` set.
HYPERPARAMETERS = {
    'lr': 'lr', 'weight_decay': 'weight_decay', 'momentum': 'momentum', 'opt_betas': 'betas', 'opt_eps': 'eps',
    'layer_decay': 'lr_scale', 'layer_decay_min_scale': 'lr_scale', 'layer_decay_no_opt_scale': 'lr_scale',
}


def changed_entries(before: Mapping[str, Any], now: Mapping[str, Any]) -> set[str]:
    """The entries of an optimizer's parameter groups that options set otherwise than those of a checkpoint.

    >>> sorted(changed_entries({'lr': 0.1, 'opt_betas': [0.9, 0.95]}, {'lr': 0.2, 'opt_betas': (0.9, 0.95)}))
    ['lr']
    """
    def differ(then: Any, value: Any) -> bool:
        return (list(then) if isinstance(then, tuple) else then) != (list(value) if isinstance(value, tuple) else value)

    changed = {
        entry for name, entry in HYPERPARAMETERS.items()
        if name in before and name in now and differ(before[name], now[name])
    }
    then, value = (options.get('opt_kwargs') or {} for options in (before, now))
    if not isinstance(then, Mapping) or not isinstance(value, Mapping):
        return changed
    return changed | {name for name in {*then, *value} if differ(then.get(name), value.get(name))}


# Entries of optimizers' states that have the shape of their parameter; others may be factored, or have any shape.
FULL = ('exp_avg', 'momentum_buffer', 'square_avg', 'grad_avg')


def load_optimizer(
        optimizer: torch.optim.Optimizer, saved: Mapping[str, Any], before: Mapping[str, Any], now: Mapping[str, Any]
) -> None:
    """Load the saved state of an optimizer, but keep what options now set otherwise, such as the learning rate.

    Args:
        optimizer: the optimizer of this run, changed in place.
        saved: its state in the checkpoint.
        before: options of the checkpoint, as far as they are known.
        now: options of this run.

    Raises:
        ValueError: the state is that of another optimizer, or of other parameters.
    """
    then, opt = before.get('opt'), now.get('opt')
    if then and opt and then != opt:
        raise ValueError(f'it was saved with --opt {then}, this run has --opt {opt}')
    wanted = [set(group) for group in optimizer.param_groups]
    changed = changed_entries(before, now)
    anew = [{key: group[key] for key in changed if key in group} for group in optimizer.param_groups]
    try:
        optimizer.load_state_dict(dict(saved))
    except Exception as e:  # KeyError, TypeError, AttributeError, ..: torch does not check what it is given
        raise ValueError(one_line(e)) from None
    for group, keys, values in zip(optimizer.param_groups, wanted, anew):
        group.update(values)
        if 'lr' in values:
            group.pop('initial_lr', None)  # from which the schedule would start instead
        missing = sorted(keys - set(group) - {'initial_lr'})
        if missing:
            raise ValueError(f'it lacks {", ".join(missing)}, as that of another optimizer')
        for parameter in group['params']:
            for key in FULL:
                value = optimizer.state.get(parameter, {}).get(key)
                if value is not None and getattr(value, 'shape', None) != parameter.shape:
                    raise ValueError(f'its {key} does not have the shape of the weights')


def load_scaler(scaler: Any, saved: Mapping[str, Any]) -> None:
    """Load the saved state of timm's gradient scaler; ValueError if it is none."""
    try:
        scaler.load_state_dict(dict(saved))
    except Exception as e:
        raise ValueError(f'gradient scaler: {one_line(e)}') from None
