"""Log-probabilities of choices, checked and in one form. Needs NumPy, as `decode` does."""
from collections.abc import Mapping

import numpy as np

from .mbconv import MBConvSpace
from .space import LogProbs

__all__ = ['joint_log_probs']


def joint_log_probs(space: MBConvSpace, log_probs: LogProbs) -> list[np.ndarray]:
    """For each group, the log-probability of every combination of choices: an array with one axis per variable.

    Raises:
        ValueError: groups, variables or shapes do not match the space, or a value is NaN or +inf.
    """
    if len(log_probs) != len(space.groups):
        raise ValueError(f'space {space.name!r} has {len(space.groups)} groups, not {len(log_probs)}')
    out = []
    for i, (group, given) in enumerate(zip(space.groups, log_probs)):
        shape = tuple(len(choices) for choices in group.values())
        if isinstance(given, Mapping):
            if set(given) != set(group):
                raise ValueError(f'group {i}: expected log-probabilities of {", ".join(group)}, got {", ".join(given)}')
            joint = np.zeros(shape)
            for axis, variable in enumerate(group):
                values = np.asarray(given[variable], dtype=float)
                if values.shape != (shape[axis],):
                    raise ValueError(f'group {i}, {variable}: expected {shape[axis]} values, got shape {values.shape}')
                joint = joint + values.reshape([-1 if a == axis else 1 for a in range(len(shape))])
        else:
            joint = np.asarray(given, dtype=float)
            if joint.shape != shape:
                raise ValueError(f'group {i}: expected log-probabilities of shape {shape}, got {joint.shape}')
        if np.isnan(joint).any() or (joint == np.inf).any():
            raise ValueError(f'group {i}: a log-probability is not a number or infinite')
        if (joint == -np.inf).all():
            raise ValueError(f'group {i}: every choice has probability 0')
        out.append(joint)
    return out
