"""The message of a search whose losses or scores are not finite."""
import math
from collections.abc import Sequence

from ..errors import NonFiniteError
from ..spaces import Choices, SearchSpace

__all__ = ['not_finite']


def not_finite(e: NonFiniteError, archs: Sequence[Choices], space: SearchSpace, epoch: int, step: int) -> str:
    """The message about values that are not finite: one of each architecture, or one of all of them together.

    `archs` are those that were asked about; the error may be of others.
    """
    archs = list(e.archs or archs)
    at = [i for i, value in enumerate(e.values) if not math.isfinite(value)]
    bad = [archs[i] for i in at] if len(e.values) > 1 else archs  # a single value belongs to all of them together
    return (
        f'{e.what} is {e.values[at[0]]} at epoch {epoch + 1}, step {step + 1}, for '
        f'{" or ".join(space.describe(a) for a in bad[:2])}{" or others" if len(bad) > 2 else ""}: '
        'start again with a lower learning rate (lr), the gradient clipped (clip_grad 5), more epochs of '
        'learning-rate warm-up (warmup_lr_epochs), or without mixed precision (amp)'
    )
