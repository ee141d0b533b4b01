"""The mean loss of an epoch; on a GPU, which reads late, in `tests/gpu/test_syncs.py`."""
import math

import pytest
import torch

from fpnas_timm.train.losses import Losses


def test_mean_and_last() -> None:
    losses = Losses(0, lambda value, update: ValueError(f'{value} in {update}'))
    assert losses.mean == 0 and math.isnan(losses.last)
    for value, factor, images in ((1.5, 1, 4), (0.25, 2, 12)):
        losses.add(torch.tensor(value), factor, images, update=0)
        assert losses.last == value * factor
    losses.read_all()
    assert losses.mean == (1.5 * 4 + 0.5 * 12) / 16


def test_not_finite_in_a_row() -> None:
    losses = Losses(2, lambda value, update: ValueError(f'{value} in {update}'))
    for update, value in enumerate([math.nan, math.inf, 3.0, math.nan, -math.inf]):
        losses.add(torch.tensor(value), 1, 8, update)
    assert losses.mean == 3
    with pytest.raises(ValueError, match=r'^nan in 7$'):
        losses.add(torch.tensor(math.nan), 1, 8, 7)
