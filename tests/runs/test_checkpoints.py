"""Checkpoints that fall back to the one before, and the random state in them."""
import logging
import os
import random

import numpy as np
import pytest
import torch

from fpnas_timm.errors import RunError
from fpnas_timm.runs import checkpoints
from fpnas_timm.runs.checkpoints import load_checkpoint, previous, random_state, save_checkpoint, set_random_state


@pytest.mark.parametrize('damage', ['truncate', 'flip', 'empty', 'text'])
def test_a_damaged_checkpoint_falls_back(tmp_path, damage: str, caplog) -> None:
    path = tmp_path / 'last.pt'
    for epoch in range(3):
        save_checkpoint(path, {'epoch': epoch, 'weights': torch.arange(1000.0) + epoch})
    assert load_checkpoint(path)['epoch'] == 2
    content = bytearray(path.read_bytes())
    if damage == 'truncate':
        content = content[: len(content) // 2]
    elif damage == 'flip':
        content[len(content) // 2] ^= 1
    elif damage == 'empty':
        content = bytearray()
    else:
        content = bytearray(b'not a checkpoint')
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        state = load_checkpoint(path)
    assert state['epoch'] == 1
    assert torch.equal(state['weights'], torch.arange(1000.0) + 1)
    assert 'is damaged' in caplog.text
    assert str(previous(path)) in caplog.text
    save_checkpoint(path, {'epoch': 7})  # the damaged one does not push out the good one
    assert load_checkpoint(path)['epoch'] == 7
    assert load_checkpoint(previous(path))['epoch'] == 1
    path.write_bytes(content)
    previous(path).write_bytes(b'')
    with pytest.raises(RunError, match='no good checkpoint is left'):
        load_checkpoint(path)
    path.unlink(), previous(path).unlink()
    with pytest.raises(FileNotFoundError):
        load_checkpoint(path)


def test_a_full_disk_keeps_the_last_checkpoint(tmp_path, monkeypatch) -> None:
    path = tmp_path / 'last.pt'
    save_checkpoint(path, {'epoch': 0})

    def full(state, f) -> None:
        with open(f, 'wb') as out:
            out.write(b'half')
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(checkpoints.torch, 'save', full)
    with pytest.raises(RunError, match=r'No space left.*last good checkpoint is kept'):
        save_checkpoint(path, {'epoch': 1})
    assert load_checkpoint(path) == {'epoch': 0}
    assert os.listdir(tmp_path) == ['last.pt']


def draw() -> list[float]:
    return [random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn(), torch.rand(1).item(),
            *torch.randn(3).tolist()]


def test_random_state() -> None:
    """What is saved is drawn again, Gaussian leftovers included."""
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
