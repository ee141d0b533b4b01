"""Checkpoints that fall back to the one before, and the random state in them."""
import logging
import os
import random
import resource
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
        f.write(b'half')
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(checkpoints.torch, 'save', full)
    with pytest.raises(RunError, match=r'No space left.*last good checkpoint is kept'):
        save_checkpoint(path, {'epoch': 1})
    assert load_checkpoint(path) == {'epoch': 0}
    assert os.listdir(tmp_path) == ['last.pt']


def test_a_full_disk_before_there_is_a_checkpoint(tmp_path) -> None:
    with pytest.raises(RunError) as raised:
        save_checkpoint(tmp_path / 'nowhere' / 'last.pt', {'epoch': 0})
    assert str(raised.value).startswith(f'{tmp_path}/nowhere/last.pt: cannot be written (')
    assert 'is kept' not in str(raised.value)


def test_a_disk_that_fills_up_while_torch_writes(tmp_path) -> None:
    """A limit on the size of files is as good as a full disk; torch itself says 'enforce fail at inline_container'."""
    path = tmp_path / 'last.pt'
    save_checkpoint(path, {'epoch': 0})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        with pytest.raises(RunError) as raised:
            save_checkpoint(path, {'weights': torch.zeros(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert str(raised.value) == f'{path}: cannot be written (File too large); the last good checkpoint is kept'
    assert load_checkpoint(path) == {'epoch': 0}
    assert os.listdir(tmp_path) == ['last.pt']


STATE = {'epoch': 1, 'weights': torch.arange(7.0)}


def unchanged(state: dict) -> bool:
    return state.keys() == STATE.keys() and state['epoch'] == 1 and torch.equal(state['weights'], STATE['weights'])


def flipped(path: Path, at: int, call: Callable[[Path], Any]) -> Any:
    """`call(path)` while the bit `at` of the file is flipped."""
    with path.open('r+b', buffering=0) as f:
        byte = os.pread(f.fileno(), 1, at // 8)
        os.pwrite(f.fileno(), bytes([byte[0] ^ 1 << at % 8]), at // 8)
        try:
            return call(path)
        finally:
            os.pwrite(f.fileno(), byte, at // 8)


def test_any_flipped_bit_of_a_checkpoint_is_noticed(tmp_path) -> None:
    path = tmp_path / 'last.pt'
    save_checkpoint(path, STATE)
    good = path.read_bytes()
    assert unchanged(torch.load(path, weights_only=True))  # by torch and timm too
    assert torch.load(path, weights_only=True, mmap=True)['epoch'] == 1
    bits = range(8 * len(good))
    assert [at for at in bits if flipped(path, at, checkpoints._is_intact)] == []
    for size in reversed(range(len(good))):
        os.truncate(path, size)
        assert not checkpoints._is_intact(path), size


def test_a_flipped_bit_in_the_headers_of_a_file_of_torch(tmp_path) -> None:
    """Files of timm and of earlier versions have no hash of their own: what loads is what was saved."""
    path = tmp_path / 'last.pt'
    torch.save(STATE, path)
    good = path.read_bytes()
    assert unchanged(load_checkpoint(path))
    record = good.rindex(b'PK\1\2', 0, good.rindex(b'/data/0'))  # of the tensor, in the directory of the archive
    local = good.index(b'/data/0') - 40
    places = [*range(local, local + 64), *range(record, record + 56), *range(len(good) - 22, len(good))]
    damaged = 0
    for at in (8 * place + bit for place in places for bit in range(8)):
        try:
            state = flipped(path, at, load_checkpoint)
        except RunError as e:
            assert 'no good checkpoint is left' in str(e)
            damaged += 1
        else:
            assert unchanged(state), at
    assert damaged > len(places)


def test_a_damaged_checkpoint_is_replaced(tmp_path) -> None:
    """Damage that zipfile meets with exceptions of other kinds: encryption, compression, an attribute of a folder."""
    path = tmp_path / 'last.pt'
    for place, bit in ((8, 1), (10, 8), (38, 16)):
        save_checkpoint(path, STATE)
        content = bytearray(path.read_bytes())
        content[content.rindex(b'PK\1\2', 0, content.rindex(b'/data/0')) + place] ^= bit
        path.write_bytes(content)
        save_checkpoint(path, {'epoch': 2})
        assert load_checkpoint(path) == {'epoch': 2}


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
