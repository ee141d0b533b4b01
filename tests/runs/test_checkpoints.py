"""Files that are whole or not there."""

import logging
import os

import pytest
import torch

from fpnas_timm.errors import RunError
from fpnas_timm.runs import checkpoints
from fpnas_timm.runs.checkpoints import load_checkpoint, previous, save_checkpoint
from fpnas_timm.runs.files import replacing, write_jsonl, write_text


def test_an_error_leaves_the_old_file(tmp_path) -> None:
    path = tmp_path / 'f.txt'
    write_text(path, 'old')
    with pytest.raises(KeyError), replacing(path) as temporary:
        temporary.write_text('half')
        raise KeyError
    assert path.read_text() == 'old'
    assert os.listdir(tmp_path) == ['f.txt']
    write_jsonl(path, [{'a': 1}, {'b': 2}])
    assert path.read_text() == '{"a": 1}\n{"b": 2}\n'


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
