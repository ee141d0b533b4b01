"""From options to a run: the device, the folder, the learning rate, the options that a checkpoint keeps."""
import re
from pathlib import Path

import pytest
import torch

from fpnas_timm.errors import UsageError
from fpnas_timm.runs.device import Process
from fpnas_timm.train.options import parse_train_args
from fpnas_timm.train.setup import setup

from .common import ARCH, TRAIN, at, fails


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU here')
def test_no_such_device(capsys: pytest.CaptureFixture[str], tiny_images: Path) -> None:
    said = fails(capsys, [*TRAIN, '--data-dir', str(tiny_images), '--device', 'cuda'])
    assert said == '--device cuda: torch has no such device on this machine; use --device cpu'


def test_a_folder_that_cannot_be_written(capsys: pytest.CaptureFixture[str], tiny_images: Path, tmp_path: Path) -> None:
    (tmp_path / 'file').write_text('')
    said = fails(capsys, [*TRAIN, '--data-dir', str(tiny_images), '--output', str(tmp_path / 'file')])
    assert re.search(r'cannot be written \(Not a directory\): choose another --output', said)


@pytest.mark.parametrize(('options', 'expected'), [
    (['--opt', 'sgd', '--lr-base', '0.1'], 0.1 * 24 / 256),
    (['--opt', 'adamw', '--lr-base', '0.1'], 0.1 * (24 / 256) ** 0.5),
    (['--opt', 'adamw', '--lr-base', '0.1', '--lr-base-scale', 'linear', '--lr-base-size', '48'], 0.05),
    (['--lr', '0.25'], 0.25),
])
def test_learning_rate(tiny_images: Path, tmp_path: Path, options: list[str], expected: float) -> None:
    """Three batches of 8 make an update."""
    plain = [a for a in TRAIN if a not in ('--opt', 'adamw', '--lr', '0.01')]
    argv = [*plain, '--data-dir', str(tiny_images), '--grad-accum-steps', '3', '--sched', 'none', *at(tmp_path)]
    args = parse_train_args([*argv, *options])
    run = setup(args)
    assert run.trainer.learning_rate == pytest.approx(expected)
    assert args.lr == pytest.approx(expected)


def test_what_a_run_is(tiny_images: Path, tmp_path: Path) -> None:
    argv = [*TRAIN, '--data-dir', str(tiny_images), '-b', '5', '--grad-accum-steps', '3', '--stop-epoch', '1']
    args = parse_train_args([*argv, '--freeze', '1', *at(tmp_path)])
    run = setup(args)
    trainer = run.trainer
    assert trainer.process == Process(torch.device('cpu'))
    assert (list(run.epochs), run.num_epochs) == ([0], 2)
    assert trainer.updates_per_epoch == 3  # 7 batches of 5, without the last image
    assert run.metric == 'eval_top1'
    assert run.classes == ['blue', 'green', 'red']
    assert run.data_config['input_size'] == (3, 16, 16)
    assert trainer.frozen is not None
    assert str(trainer.task.get_eval_model().arch) == ARCH
    assert (args.num_classes, args.device, args.rank, args.distributed) == (3, 'cpu', 0, False)


def test_nothing_is_written_before_all_options_are_checked(tiny_images: Path, tmp_path: Path) -> None:
    argv = [*TRAIN, '--data-dir', str(tiny_images), *at(tmp_path)]
    for wrong in (['--sched', 'polly'], ['--freeze', '99'], ['--mean', '1', '2'], ['--resume', 'nowhere.pth.tar']):
        with pytest.raises(UsageError):
            setup(parse_train_args([*argv, *wrong]))
    assert not list(tmp_path.iterdir())
