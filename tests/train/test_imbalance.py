"""Training on data with rare classes: class weights and balanced sampling in whole runs."""
import json
import re
from collections import Counter
from pathlib import Path

import pytest
import torch

from fpnas_timm.cli.runs import train_main
from fpnas_timm.errors import UsageError
from fpnas_timm.runs.imbalance import WeightedCrossEntropy
from fpnas_timm.train.options import parse_train_args
from fpnas_timm.train.sampling import BalancedSampler
from fpnas_timm.train.setup import setup

from .common import TRAIN, at, fails, state


@pytest.fixture(scope='module')
def uneven(tiny_images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 blue, 9 green and 3 red images."""
    root = tmp_path_factory.mktemp('uneven')
    for name, count in (('blue', 12), ('green', 9), ('red', 3)):
        (root / 'train' / name).mkdir(parents=True)
        for i in range(count):
            (root / 'train' / name / f'{i}.png').symlink_to(tiny_images / 'train' / name / f'{i}.png')
    (root / 'validation').symlink_to(tiny_images / 'validation')
    return root


def losses(folder: Path) -> list[float]:
    return [json.loads(line)['train_loss'] for line in (folder / 'history.jsonl').read_text().splitlines()]


def test_the_weights_are_those_of_the_training_images(uneven: Path, tmp_path: Path) -> None:
    argv = [*TRAIN, '--data-dir', str(uneven), *at(tmp_path), '--smoothing', '0.1']
    criterion = setup(parse_train_args([*argv, '--class-weights', 'balanced'])).trainer.task.criterion
    assert isinstance(criterion, WeightedCrossEntropy)
    assert criterion.weight.tolist() == pytest.approx([24 / 36, 24 / 27, 24 / 9])  # by hand: N / (C n_c)
    assert criterion.smoothing == 0.1
    path = tmp_path / 'w.yaml'
    path.write_text('red: 10\ngreen: 1\nblue: 1\n')  # by name, in any order
    more = ['--class-weights', str(path), '--mixup', '0.2', *at(tmp_path, 'mixed')]
    mixed = setup(parse_train_args([*argv, *more])).trainer.task.criterion
    assert mixed.weight.tolist() == pytest.approx([w / (21 + 30) * 24 for w in (1, 1, 10)])
    assert mixed.smoothing == 0  # mixup has done it


def test_a_changed_file_is_noticed_on_resume(uneven: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Like any other option that changes: what the weights were is in the checkpoint."""
    path = tmp_path / 'w.csv'
    path.write_text('red,2\ngreen,1\nblue,1\n')
    argv = [*TRAIN, '--data-dir', str(uneven), *at(tmp_path), '--class-weights', str(path)]
    assert train_main([*argv, '--stop-epoch', '1']) == 0
    assert state(tmp_path / 'run')['args']['class_weights'] == pytest.approx(
        {'red': 48 / 27, 'green': 24 / 27, 'blue': 24 / 27}
    )
    caplog.clear()
    assert train_main([*argv, '--stop-epoch', '1', '--resume', 'auto']) == 0
    assert '--class-weights' not in caplog.text
    path.write_text('red,5\ngreen,1\nblue,1\n')
    assert train_main([*argv, '--resume', 'auto']) == 0
    assert re.search(r'goes on with other options .*--class-weights .*1.77.* -> .*3.33', caplog.text)


def test_accumulated_batches_are_one_batch(uneven: Path, tmp_path: Path) -> None:
    """No batch norm, all images in one update: 1 x 24 or 4 x 6, whose classes differ."""
    argv = ['--model', 'test_vit', '--img-size', '32', '--no-aug', '--num-classes', '3', '--device', 'cpu', '-j', '0',
            '--opt', 'adamw', '--lr', '0.01', '--warmup-epochs', '0', '--epochs', '3', '--class-weights', 'balanced']
    argv += ['--data-dir', str(uneven)]
    assert train_main([*argv, '-b', '24', *at(tmp_path, 'one')]) == 0
    assert train_main([*argv, '-b', '6', '--grad-accum-steps', '4', *at(tmp_path, 'four')]) == 0
    one, four = losses(tmp_path / 'one'), losses(tmp_path / 'four')
    assert four == pytest.approx(one, rel=1e-4)
    plain = [a for a in argv if a not in ('--class-weights', 'balanced')]
    assert train_main([*plain, '-b', '24', *at(tmp_path, 'plain')]) == 0
    assert losses(tmp_path / 'plain')[1] != pytest.approx(one[1], rel=1e-3)


@pytest.mark.parametrize('option', [['--balanced-sampling'], ['--class-weights', 'balanced', '--mixup', '0.2']])
def test_resumed_exactly(uneven: Path, tmp_path: Path, option: list[str]) -> None:
    argv = [*TRAIN, '--data-dir', str(uneven), *option]
    assert train_main([*argv, *at(tmp_path, 'whole')]) == 0
    assert train_main([*argv, *at(tmp_path, 'parts'), '--stop-epoch', '1']) == 0
    assert train_main([*argv, *at(tmp_path, 'parts'), '--resume', 'auto']) == 0
    whole, parts = (state(tmp_path / name)['state_dict'] for name in ('whole', 'parts'))
    assert all(torch.equal(whole[n], parts[n]) for n in whole)


@pytest.mark.parametrize('sizes', [[], ['--train-img-sizes', '16', '32']])
def test_batches_are_balanced(uneven: Path, tmp_path: Path, sizes: list[str]) -> None:
    """Three red images of 24 are a third of what is drawn, with other draws in each epoch."""
    argv = [*TRAIN, '--data-dir', str(uneven), *at(tmp_path), '--balanced-sampling', *sizes]
    loaders = setup(parse_train_args(argv)).trainer.loaders
    counts: Counter[int] = Counter()
    seen = set()
    for epoch in range(8):
        loaders.set_epoch(epoch, 0)
        targets = [t for _, batch in loaders.train for t in batch.tolist()]
        assert len(targets) == 24
        seen.add(tuple(targets))
        counts.update(targets)
    assert len(seen) == 8
    assert all(abs(counts[c] - 64) < 4 * (192 * 2 / 9) ** 0.5 for c in range(3))


def test_processes_share_one_sequence_of_draws() -> None:
    targets = [0] * 9 + [1] * 3
    one, *parts = [BalancedSampler(targets, 5), *(BalancedSampler(targets, 5, rank, 2) for rank in range(2))]
    for sampler in (one, *parts):
        sampler.set_epoch(3)
    assert list(one) == [i for pair in zip(*parts) for i in pair]
    assert [len(s) for s in (one, *parts)] == [12, 6, 6]
    odd = [BalancedSampler(targets[1:], 5, rank, 2) for rank in range(2)]
    assert [len(list(s)) for s in odd] == [6, 6]  # as torch's DistributedSampler: rounded up


def test_what_does_not_go_together(capsys: pytest.CaptureFixture[str], uneven: Path, tmp_path: Path) -> None:
    argv = [*TRAIN, '--data-dir', str(uneven), *at(tmp_path)]
    both = fails(capsys, [*argv, '--class-weights', 'balanced', '--balanced-sampling'])
    assert both == '--class-weights and --balanced-sampling correct for the same thing: give one of them'
    assert 'use --balanced-sampling' in fails(capsys, [*argv, '--class-weights', 'balanced', '--bce-loss'])
    assert 'expected \'balanced\', or a file' in fails(capsys, [*argv, '--class-weights', 'inverse'])
    with pytest.raises(UsageError, match='both choose the images of an epoch'):
        parse_train_args([*argv, '--balanced-sampling', '--aug-repeats', '3'])
    assert not list(tmp_path.iterdir())
