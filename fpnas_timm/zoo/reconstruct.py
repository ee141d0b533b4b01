"""The reconstructions: derives an architecture for each row of Table B.1 from the information in the paper.

The paper prints budgets and tendencies, not encodings. A reconstruction is the most probable architecture of the row's
search space under `section_b_prior` whose multiply-adds and parameters round to every digit that Table B.1 prints.
"""
from collections.abc import Sequence

import numpy as np

from ..paper import TABLE_B1
from ..spaces import MBConvSpace, get_space
from ..spaces.decode import Decoded, Window, decode

__all__ = ['budget_windows', 'reconstruct', 'section_b_prior']

# Strength of each tendency in the prior, in nats.
SKIP = -4.0  # bypassing a group: allowed by the search spaces, not mentioned in section B
KERNEL = 4.0
ACT = 4.0
SPLITS = 1.0
EXPANSION = 1.0
CHANNELS = 1.0
LATE_KERNEL = 0.48  # from this depth (in L0, the first group at 14 x 14) kernel 5 is more probable than 3
LATE_ACT = 0.52  # from this depth (in L0, the group after it) swish is more probable than ReLU


def section_b_prior(space: MBConvSpace) -> list[dict[str, np.ndarray]]:
    """A prior after the observations in section B of the supplement: log-probabilities (nats) per group and variable.

    With t the depth of a group from 0 (first) to 1 (last), before normalisation:

    * kernel: "small kernel size 3 is more favored in the early blocks while large kernel size 5 is more often chosen in
      the later blocks": 5 against 3 by `KERNEL * (t - LATE_KERNEL)`, the bypass by `SKIP`.
    * splits: "large choices of the number of splits [..] such as 2 and 4 are more often used in the later blocks": the
      splits' rank (0, 1, 2, 4 -> 0..3) near 3 t**2, by `-SPLITS * (rank - 3 t**2)**2`.
    * non-linearity: "non-uniform choices"; ReLU early and swish late, as in MobileNetV3 and FBNetV2, from which the
      spaces come: swish against ReLU by `ACT * (t - LATE_ACT)`.
    * expansion: a weak preference for middle ones, smaller if the maps are large, where a wide block is expensive (the
      reason that section B gives for small kernels early): with x the position of a choice between the smallest (0) and
      the largest (1), x near 0.1 + t / 2.
    * channels: growing with depth, x near t.

    The weights of the last two increase with depth, so that no two groups are interchangeable and the optimum is unique
    (proved by `runner_up_gap`).
    """
    ranks = {0: 0, 1: 1, 2: 2, 4: 3}
    prior = []
    for i, group in enumerate(space.groups):
        t = i / max(len(space.groups) - 1, 1)
        scores = {
            'kernel': [
                SKIP if k == 0 else (KERNEL if k > 3 else -KERNEL) * (t - LATE_KERNEL) / 2 for k in group['kernel']
            ],
            'act': [(ACT if act != 're' else -ACT) * (t - LATE_ACT) / 2 for act in group['act']],
            'splits': [-SPLITS * (ranks[s] - 3 * t**2) ** 2 for s in group['splits']],
            'expansion': [-EXPANSION * (1 + t) * (x - 0.1 - 0.5 * t) ** 2 for x in _position(group['expansion'])],
            'channels': [-CHANNELS * (1 + t / 2) * (x - t) ** 2 for x in _position(group['channels'])],
        }
        prior.append({v: np.array(s) - np.log(np.exp(s).sum()) for v, s in scores.items()})
    return prior


def _position(choices: Sequence[float]) -> list[float]:
    """The position of each choice between the smallest (0) and the largest (1)."""
    low, high = min(choices), max(choices)
    return [(c - low) / (high - low) if high > low else 0.0 for c in choices]


def budget_windows(name: str) -> tuple[Window, Window]:
    """The windows (minimum, maximum) of multiply-adds and parameters that round to the values in Table B.1.

    >>> budget_windows('fpnas_l2')  # 997 M multiply-adds, 20.7 M parameters
    ((996500000, 997499999), (20650000, 20749999))
    """
    row = TABLE_B1[name]
    tenth = 100_000
    params = round(row.params * 10) * tenth
    million = 1_000_000
    return (
        (row.macs * million - million // 2, row.macs * million + million // 2 - 1),
        (params - tenth // 2, params + tenth // 2 - 1),
    )


def reconstruct(name: str) -> Decoded:
    """Reconstruct the architecture of a model of Table B.1; the result includes the solver's proven bound.

    Args:
        name: one of the seven models, such as `fpnas_l0`.

    Raises:
        ValueError: an unknown model.
    """
    if name not in TABLE_B1:
        raise ValueError(f'unknown model {name!r}: expected one of {", ".join(TABLE_B1)}')
    space = get_space(name)
    return decode(space, section_b_prior(space), *budget_windows(name))
