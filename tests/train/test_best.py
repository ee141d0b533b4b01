"""Which checkpoints are kept as the best, and that a kill at any file operation loses none of them."""
import argparse
import itertools
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from timm.task import ClassificationTask
from torch import nn

from fpnas_timm.cli.runs import train_main
from fpnas_timm.train.checkpoints import RunCheckpoints, read_training_checkpoint

from .common import TRAIN, at, state

# (accuracy, loss) of each epoch, which only two different pairs share: ties of either kind, and an outright best
EPOCHS = [(50.0, 2.0), (75.0, 1.0), (75.0, 3.0), (75.0, 0.5), (50.0, 0.1), (75.0, 0.5), (25.0, 0.2)]


def saver_in(folder: Path, kept: int = 3) -> RunCheckpoints:
    model = nn.Linear(1, 1)
    task = ClassificationTask(model, nn.CrossEntropyLoss(), verbose=False)
    return RunCheckpoints(
        model=model, optimizer=torch.optim.SGD(model.parameters(), 0.1), args=argparse.Namespace(model='linear'),
        checkpoint_dir=str(folder), recovery_dir=str(folder), max_history=kept, task=task,
    )


def save(saver: RunCheckpoints, epoch: int) -> None:
    top1, saver.losses[epoch] = EPOCHS[epoch]
    with torch.no_grad():
        saver.model.weight.fill_(float(epoch))  # type: ignore[union-attr]
    saver.save_checkpoint(epoch, top1)


def best_of(epochs: int, kept: int = 3) -> list[int]:
    """By hand: higher accuracy, then lower loss, then later."""
    return sorted(range(epochs), key=lambda e: (-EPOCHS[e][0], EPOCHS[e][1], -e))[:kept]


def check(folder: Path, epochs: int) -> None:
    """The folder holds what it should after so many epochs, and nothing else."""
    names = {f'checkpoint-{e}.pth.tar' for e in best_of(epochs)} | {'last.pth.tar', 'model_best.pth.tar'}
    assert {p.name for p in folder.iterdir()} - {'last.pth.previous.tar'} == names
    wanted = {f'checkpoint-{e}.pth.tar': e for e in best_of(epochs)}
    for name, epoch in (wanted | {'model_best.pth.tar': best_of(epochs)[0], 'last.pth.tar': epochs - 1}).items():
        found = read_training_checkpoint(folder / name)
        assert (found['epoch'], found['state_dict']['weight'].item()) == (epoch, epoch), name


def test_at_a_tie_the_lower_loss_then_the_later_epoch(tmp_path: Path) -> None:
    saver = saver_in(tmp_path)
    for epoch in range(len(EPOCHS)):
        save(saver, epoch)
        check(tmp_path, epoch + 1)
        assert saver.best_epoch == best_of(epoch + 1)[0]
    assert [best_of(n)[0] for n in (1, 2, 3, 4, 5, 6)] == [0, 1, 1, 3, 3, 5]


class Killed(BaseException):
    pass


def test_a_kill_at_any_file_operation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then a resumed run has the same files as if nothing had happened."""
    count = itertools.count()
    limit: float = 0

    def killing(operation: Callable) -> Callable:
        def run(*args: Any, **kwargs: Any) -> Any:
            if next(count) >= limit:  # from here on the process is dead: what would tidy up cannot do so
                raise Killed
            return operation(*args, **kwargs)
        return run

    for where, name in ((os, 'replace'), (os, 'link'), (Path, 'unlink'), (os, 'fsync')):
        monkeypatch.setattr(where, name, killing(getattr(where, name)))
    kills = 0
    for epoch in (3, 5):
        for after in itertools.count():
            folder = tmp_path / f'{epoch}-{after}'
            folder.mkdir()
            limit = float('inf')
            saver = saver_in(folder)
            for e in range(epoch):
                save(saver, e)
            count, limit = itertools.count(), after
            killed = False
            try:
                save(saver, epoch)
            except Killed:
                killed = True
            limit = float('inf')
            for left in folder.glob('.*.tmp'):  # as the folder's lock does at the start
                left.unlink()
            resumed = saver_in(folder)
            found = read_training_checkpoint(folder / 'last.pth.tar')
            resumed.resume(found, {e: EPOCHS[e][1] for e in range(found['epoch'] + 1)})
            check(folder, found['epoch'] + 1)
            for e in range(found['epoch'] + 1, epoch + 2):
                save(resumed, e)
            check(folder, epoch + 2)
            shutil.rmtree(folder)
            if not killed:
                break
            kills += 1
    assert kills > 15


@pytest.mark.parametrize('harm', ['missing', 'damaged', 'all gone'])
def test_the_best_checkpoint_is_restored(tmp_path: Path, caplog: pytest.LogCaptureFixture, harm: str) -> None:
    saver = saver_in(tmp_path)
    for epoch in range(5):
        save(saver, epoch)
    best = tmp_path / 'model_best.pth.tar'
    best.unlink()
    if harm == 'damaged':
        best.write_bytes(b'damaged')
    if harm == 'all gone':
        for path in tmp_path.glob('checkpoint-*'):
            path.unlink()
    resumed = saver_in(tmp_path)
    resumed.resume(read_training_checkpoint(tmp_path / 'last.pth.tar'), {e: EPOCHS[e][1] for e in range(5)})
    assert 'model_best.pth.tar was missing or damaged' in caplog.text
    if harm != 'all gone':
        check(tmp_path, 5)


def test_a_milestone_that_a_kill_left_out(tiny_images: Path, tmp_path: Path) -> None:
    argv = [*TRAIN, '--data-dir', str(tiny_images), '--save-epochs', '1', *at(tmp_path)]
    assert train_main([*argv, '--stop-epoch', '1']) == 0
    milestone = tmp_path / 'run' / 'milestone-1.pth.tar'
    milestone.unlink()
    assert train_main([*argv, '--resume', 'auto']) == 0
    assert state(tmp_path / 'run', milestone.name)['epoch'] == 0


def test_the_export_is_that_of_the_lower_loss(tiny_images: Path, tmp_path: Path) -> None:
    """Easy images: the accuracy is 100 % long before the loss is at its lowest."""
    argv = [*TRAIN, '--data-dir', str(tiny_images), '--epochs', '8', *at(tmp_path)]
    assert train_main(argv) == 0
    history = [json.loads(line) for line in (tmp_path / 'run' / 'history.jsonl').read_text().splitlines()]
    top = max(row['eval_top1'] for row in history)
    tied = [row for row in history if row['eval_top1'] == top]
    assert len(tied) > 1
    lowest = min(tied, key=lambda row: row['eval_loss'])
    config = json.loads((tmp_path / 'run' / 'export' / 'config.json').read_text())
    assert (config['training']['epoch'], config['training']['loss']) == (lowest['epoch'] + 1, lowest['eval_loss'])
    assert state(tmp_path / 'run', 'model_best.pth.tar')['epoch'] == lowest['epoch']
