"""What may go on in a run's folder, and what may not: nothing is overwritten, mixed or dropped without a word."""
import json
import logging
import shutil
from pathlib import Path

import pytest
import torch

from fpnas_timm.cli.runs import train_main
from fpnas_timm.runs.folder import lock_folder

from .common import ARCH, TRAIN, at, fails, state


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob('*') if p.is_file()}


@pytest.fixture(scope='module')
def done(tiny_images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two epochs with a moving average."""
    out = tmp_path_factory.mktemp('done')
    argv = [*TRAIN, '--data-dir', str(tiny_images), '--model-ema', '--model-ema-decay', '0.5']
    assert train_main([*argv, *at(out)]) == 0
    return out / 'run'


@pytest.fixture
def run(done: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(done, tmp_path / 'run'))


@pytest.fixture
def argv(tiny_images: Path, tmp_path: Path) -> list[str]:
    return [*TRAIN, '--data-dir', str(tiny_images), '--model-ema', '--model-ema-decay', '0.5', *at(tmp_path)]


def test_the_same_experiment_twice(capsys: pytest.CaptureFixture[str], run: Path, argv: list[str]) -> None:
    before = contents(run)
    expected = f'--experiment run: {run} already holds a run: continue it with --resume auto, or choose another ' \
        '--experiment'
    assert fails(capsys, argv) == expected
    other = run.parent / 'elsewhere.pth.tar'
    shutil.copy(run / 'last.pth.tar', other)
    assert fails(capsys, [*argv, '--resume', str(other), '--epochs', '3']) == expected
    assert contents(run) == before
    for name in before:  # a run that was killed before its first checkpoint
        if name != 'args.yaml':
            (run / name).unlink()
    assert fails(capsys, argv) == expected


def test_a_finished_run(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str], run: Path, argv: list[str]
) -> None:
    before = contents(run)
    shutil.rmtree(run / 'export')  # a kill may have come before it was written
    with caplog.at_level(logging.INFO, 'train'):
        assert train_main([*argv, '--resume', 'auto']) == 0
        assert train_main([*argv, '--resume', 'auto', '--stop-epoch', '1']) == 0
    assert f'{run}: finished: all 2 epochs are done, there is nothing left to train' in caplog.text
    assert 'to 2 of' not in caplog.text
    after = contents(run)
    after.pop('curves.png')
    assert after == {name: data for name, data in before.items() if name != 'curves.png'}
    said = fails(capsys, [*argv, '--resume', 'auto', '--epochs', '1'])
    assert '2 epochs are done, but the schedule has only 1: raise --epochs' in said
    said = fails(capsys, [*argv, *at(run.parent, 'new'), '--resume', str(run / 'last.pth.tar')])
    assert '2 epochs are done: raise --epochs' in said
    assert not (run.parent / 'new').exists()


def test_a_moving_average_is_not_dropped(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str], run: Path, argv: list[str]
) -> None:
    plain = [a for a in argv if a not in ('--model-ema', '--model-ema-decay', '0.5')]
    last = run / 'last.pth.tar'
    said = fails(capsys, [*plain, '--resume', 'auto', '--epochs', '3'])
    assert said.startswith(f'--resume {last}: this run keeps a moving average of the weights (EMA): add --model-ema '
                           '--model-ema-decay 0.5, or choose')
    assert train_main([*plain, *at(run.parent, 'new'), '--resume', str(last), '--epochs', '3']) == 0
    assert f'The moving average of the weights in {last} is left out' in caplog.text
    caplog.clear()
    argv = [*argv, *at(run.parent, 'back'), '--resume', str(run.parent / 'new' / 'last.pth.tar'), '--epochs', '4']
    assert train_main(argv) == 0
    assert 'has no moving average of the weights: it starts from the weights' in caplog.text


def test_what_must_be_the_same(capsys: pytest.CaptureFixture[str], run: Path, argv: list[str]) -> None:
    before = contents(run)
    on = [*argv, '--resume', 'auto', '--epochs', '3']
    assert 'is chosen by eval_top1, not by eval_loss: resume with --eval-metric top1' in fails(
        capsys, [*on, '--eval-metric', 'loss'])
    assert 'its optimizer state does not match (it was saved with --opt adamw, this run has --opt sgd): use ' \
        '--no-resume-opt' in fails(capsys, [*on, '--opt', 'sgd'])
    assert '--start-epoch 1: 2 epochs of this run are done' in fails(capsys, [*on, '--start-epoch', '1'])
    first = str(run / 'checkpoint-0.pth.tar')
    assert f'--resume {first}: this run has gone on to epoch 2' in fails(capsys, [*on, '--resume', first])
    with lock_folder(run):
        assert f'--output {run}: another run is using this folder' in fails(capsys, on)
    assert contents(run) == before
    for name in ('last.pth.tar', 'last.pth.previous.tar'):
        (run / name).unlink()
    said = fails(capsys, on)
    assert said.startswith(f'--resume auto: {run} holds checkpoints but no last.pth.tar: continue with --resume {run}/')
    assert train_main([*on, '--resume', str(run / 'checkpoint-1.pth.tar')]) == 0  # then it may be any
    assert state(run)['epoch'] == 2


def test_what_changed_is_logged(caplog: pytest.LogCaptureFixture, run: Path, argv: list[str]) -> None:
    """And nothing, if nothing did."""
    assert train_main([*argv, '--resume', 'auto', '--epochs', '3', '--lr', '0.02', '--log-interval', '1']) == 0
    last = run / 'last.pth.tar'
    assert f'This run goes on with other options than those of {last}: ' in caplog.text
    assert '--lr 0.01 -> 0.02' in caplog.text
    assert '--epochs 2 -> 3' in caplog.text
    assert 'log-interval' not in caplog.text
    caplog.clear()
    assert train_main([*argv, '--resume', 'auto', '--epochs', '3', '--lr', '0.02']) == 0
    assert 'other options' not in caplog.text


def test_a_damaged_history(capsys: pytest.CaptureFixture[str], run: Path, argv: list[str]) -> None:
    path = run / 'history.jsonl'
    good = path.read_text()
    for bad in ('{"epoch": 0', '[1]\n', '{"epoch": "x"}\n'):
        path.write_text(good + bad)
        assert fails(capsys, [*argv, '--resume', 'auto', '--epochs', '3']).startswith(f'{path}: ')


def test_an_old_run_goes_on(run: Path, argv: list[str]) -> None:
    """Of a version whose checkpoints had no seal, no images and no list of the best ones."""
    old = state(run)
    for name in ('images', 'saver'):
        old.pop(name, None)
    for file in run.glob('*.pth*'):
        file.unlink()
    torch.save(old, run / 'last.pth.tar')
    assert train_main([*argv, '--resume', 'auto', '--epochs', '3']) == 0
    assert state(run)['epoch'] == 2
    assert state(run)['arch_string'] == ARCH


def test_held_out_images_without_a_validation_split(tiny_images: Path, tmp_path: Path) -> None:
    """Such a run is ranked by its validation too."""
    argv = [*TRAIN, '--data-dir', str(tiny_images), '--val-fraction', '0.25', '--val-split', '', *at(tmp_path)]
    assert train_main([*argv, '--stop-epoch', '1']) == 0
    assert train_main([*argv, '--resume', 'auto']) == 0
    assert state(tmp_path / 'run')['epoch'] == 1


def test_images_that_were_trained_on_are_not_held_out(
    capsys: pytest.CaptureFixture[str], run: Path, argv: list[str]
) -> None:
    last = run / 'last.pth.tar'
    on = [*argv, *at(run.parent, 'new'), '--resume', str(last), '--epochs', '3', '--val-split', '']
    said = fails(capsys, [*on, '--val-fraction', '0.25'])
    assert said.startswith(f'--val-fraction 0.25: it is 0 in {last}: with other images held out, the network would be')
    assert not (run.parent / 'new').exists()


def test_in_the_middle_of_an_epoch(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, tiny_images: Path, tmp_path: Path
) -> None:
    """A recovery checkpoint of an epoch that was finished is refused; one of a later epoch is none of the best."""
    run = tmp_path / 'run'
    argv = [*TRAIN, '--data-dir', str(tiny_images), '--recovery-interval', '3', '--epochs', '3', *at(tmp_path)]
    assert train_main([*argv, '--stop-epoch', '2']) == 0
    before = contents(run)
    recovery = run / 'recovery-1-2.pth.tar'
    renamed = shutil.copy(recovery, run / 'checkpoint-1-2.pth.tar')
    for path in (recovery, Path(renamed)):
        said = fails(capsys, [*argv, '--resume', str(path)])
        assert said == f'--resume {path}: this run has gone on to epoch 2: continue it with --resume auto, or choose ' \
            'another --experiment to branch off in the middle of epoch 2'
    Path(renamed).unlink()
    assert contents(run) == before
    for path in run.glob('last*'):  # as a run that ended in its second epoch
        path.unlink()
    for path in ('model_best.pth.tar', 'last.pth.tar'):
        shutil.copy(run / 'checkpoint-0.pth.tar', run / path)
    (run / 'checkpoint-1.pth.tar').unlink()
    (run / 'history.jsonl').write_text((run / 'history.jsonl').read_text().splitlines()[0] + '\n')
    said = fails(capsys, [*argv, '--resume', str(recovery), '--stop-epoch', '2'])
    assert f'--resume {recovery}: saved in the middle of epoch 2, the last one: train that epoch again' in said
    assert train_main([*argv, '--resume', str(recovery)]) == 0
    assert f'{recovery} was saved in the middle of epoch 2: the rest of that epoch is left out' in caplog.text
    rows = [json.loads(line) for line in (run / 'history.jsonl').read_text().splitlines()]
    assert [row['epoch'] for row in rows] == [0, 2]
    saved = state(run)['saver']
    assert [name for name, _ in saved['checkpoint_files']] == ['checkpoint-0.pth.tar']
    assert not (run / 'checkpoint-1.pth.tar').exists()
    best = max(rows, key=lambda row: (row['eval_top1'], -row['eval_loss']))
    assert state(run, 'model_best.pth.tar')['epoch'] == best['epoch']
    assert 'missing or damaged' not in caplog.text
