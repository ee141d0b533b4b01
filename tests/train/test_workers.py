"""The random state of a run: what is saved is drawn again, Gaussian leftovers included."""
import random

import numpy as np
import torch

from fpnas_timm.runs.checkpoints import random_state, set_random_state


def draw() -> list[float]:
    return [random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn(), torch.rand(1).item(),
            *torch.randn(3).tolist()]


def test_round_trip() -> None:
    random.seed(1)
    np.random.seed(2)
    torch.manual_seed(3)
    for skipped in range(3):  # with and without the second number of a Gaussian pair in store
        for _ in range(skipped):
            draw()
        state = random_state()
        first = draw()
        assert draw() != first
        set_random_state(state)
        assert draw() == first
        assert torch.equal(random_state(), random_state())
