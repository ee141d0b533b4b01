"""One epoch: accumulation, recomputed activations, and a loss that is not finite."""
import json
import re
from pathlib import Path

import pytest
import torch

from fpnas_timm.cli.runs import train_main
from fpnas_timm.train.epoch import not_finite
from fpnas_timm.train.options import parse_train_args
from fpnas_timm.train.setup import setup

from .common import ARCH, TRAIN, at, fails, state

OPTIONS = [
    '--model', 'fpnas', '--model-kwargs', f'arch={ARCH}', '--num-classes', '3', '--device', 'cpu', '-b', '8',
    '--opt', 'adamw', '--lr', '0.01', '--warmup-epochs', '0', '-j', '0', '--epochs', '3',
]


def run(data: Path, *options: str, expect: int = 0) -> None:
    assert train_main([*OPTIONS, '--data-dir', str(data), *options]) == expect


def test_accumulation_is_a_larger_batch(tiny_images: Path, tmp_path: Path) -> None:
    """Three batches of 12 make the update of one batch of 36, in a network without batch norm."""
    argv = ['--model', 'test_vit', '--img-size', '32', '--no-aug', '--epochs', '1', '--opt', 'sgd', '--lr', '0.1']
    argv += ['--device', 'cpu', '--num-classes', '3', '--data-dir', str(tiny_images), '-j', '0', '--warmup-epochs', '0']
    assert train_main([*argv, '-b', '12', '--grad-accum-steps', '3', *at(tmp_path, 'three')]) == 0
    assert train_main([*argv, '-b', '36', *at(tmp_path, 'one')]) == 0
    three, one = (state(tmp_path / n)['state_dict'] for n in ('three', 'one'))
    assert all(torch.allclose(three[n], one[n], atol=1e-5) for n in one)


def test_the_last_update_has_what_batches_are_left(tiny_images: Path, tmp_path: Path) -> None:
    run(tiny_images, '-b', '5', '--grad-accum-steps', '4', '--epochs', '1', *at(tmp_path, 'run'))  # 7 batches: 4 and 3
    assert state(tmp_path / 'run')['optimizer']['state'][0]['step'].item() == 2


def test_checkpointing_changes_no_loss(tiny_images: Path, tmp_path: Path) -> None:
    run(tiny_images, *at(tmp_path, 'plain'))
    run(tiny_images, *at(tmp_path, 'again'), '--grad-checkpointing')
    plain, again = (
        [json.loads(line)['train_loss'] for line in (tmp_path / name / 'history.jsonl').read_text().splitlines()]
        for name in ('plain', 'again')
    )
    assert plain == again


def test_the_loss_is_not_finite(capsys: pytest.CaptureFixture[str], tiny_images: Path, tmp_path: Path) -> None:
    argv = [*TRAIN, '--data-dir', str(tiny_images), '--output', str(tmp_path), '--experiment', 'run']
    assert train_main([*argv, '--stop-epoch', '1']) == 0
    before = (tmp_path / 'run' / 'last.pth.tar').read_bytes()
    capsys.readouterr()
    # a resumed run keeps its optimizer's learning rates unless a schedule sets them
    said = fails(capsys, [*argv, '--resume', 'auto', '--no-resume-opt', '--opt', 'sgd', '--lr', '1e30'], status=1)
    assert re.match(r'the loss is (nan|inf) in epoch 2, update \d, at learning rate 5e\+29: try a lower --lr', said)
    assert said.endswith(f'the last good checkpoint is {tmp_path / "run" / "last.pth.tar"}')
    assert (tmp_path / 'run' / 'last.pth.tar').read_bytes() == before


@pytest.mark.parametrize(('options', 'advice'), [
    ([], 'a lower --lr, a longer --warmup-epochs or --clip-grad 1; no epoch was finished'),
    (['--amp', '--clip-grad', '0.5'], 'a --clip-grad below 0.5 or --amp-dtype bfloat16; no epoch was finished'),
    (['--model-dtype', 'bfloat16', '--sched', 'none'],
     'try a lower --lr, --clip-grad 1 or full precision (without --amp and --model-dtype); no epoch was finished'),
])
def test_the_advice_is_for_this_run(tiny_images: Path, tmp_path: Path, options: list[str], advice: str) -> None:
    """Not `--amp-dtype` without `--amp`, nor a value that it has already."""
    trainer = setup(parse_train_args([*TRAIN, '--data-dir', str(tiny_images), *at(tmp_path), *options])).trainer
    assert not_finite('the loss is nan', trainer, 0, 0).endswith(advice)
