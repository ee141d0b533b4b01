"""Checkpoints that do not fit, that cannot be written, and updates that a kill interrupted."""
import json
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from fpnas_timm.cli.runs import train_main

from .common import ARCH, BASE, OTHER, ROOT, TRAIN, at, fails, state


def test_a_checkpoint_of_another_architecture(
    capsys: pytest.CaptureFixture[str], tiny_images: Path, tmp_path: Path
) -> None:
    where = ['--data-dir', str(tiny_images), '--output', str(tmp_path)]
    assert train_main([*TRAIN, *where, '--experiment', 'run', '--epochs', '1']) == 0
    capsys.readouterr()
    last = str(tmp_path / 'run' / 'last.pth.tar')
    other = [*BASE, '--model-kwargs', f'arch={OTHER}', *where]
    said = fails(capsys, [*other, '--resume', last])
    assert said == f'{last} belongs to a different architecture: it has {ARCH}, this model is {OTHER}'
    said = fails(capsys, [*other, '--initial-checkpoint', last])
    assert said.startswith(f'{last}: These weights are of another architecture')
    assert said.endswith(f'the file belongs to {ARCH}')
    vit = ['--model', 'test_vit', '--num-classes', '3', '--device', 'cpu', '-b', '8', '-j', '0']
    said = fails(capsys, [*vit, *where, '--resume', last])
    assert re.match(f'{last} does not match this model \\(it was saved from fpnas\\)', said)
    said = fails(capsys, [*TRAIN, *where, '--resume', last, '--opt', 'sgd', '--layer-decay', '0.5'])
    assert re.match(f'{last}: its optimizer state does not match .*--no-resume-opt', said)


def test_a_full_disk(tiny_images: Path, tmp_path: Path) -> None:
    """The second epoch cannot be saved (no file may grow beyond half a checkpoint): the first stays, and goes on."""
    argv = [*TRAIN, '--data-dir', str(tiny_images), '--output', str(tmp_path), '--experiment', 'run', '--epochs', '2']
    assert train_main([*argv, '--stop-epoch', '1']) == 0
    last = tmp_path / 'run' / 'last.pth.tar'
    before = last.read_bytes()
    limit = len(before) // 2
    done = subprocess.run(
        [sys.executable, '-m', 'fpnas_timm', 'train', *argv, '--resume', 'auto'],
        capture_output=True, text=True, check=False, env={'PYTHONPATH': str(ROOT), 'PATH': '/usr/bin:/bin'},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert done.returncode == 1
    error = [line for line in done.stderr.splitlines() if line.startswith('error: ')]
    assert len(error) == 1
    named = rf'error: {tmp_path}/run/\S+: cannot be written \(.*\); the .*checkpoints? (is|are) kept$'
    assert re.match(named, error[0])
    assert last.read_bytes() == before
    assert not list((tmp_path / 'run').glob('.*'))
    assert train_main([*argv, '--resume', 'auto']) == 0
    rows = [json.loads(line) for line in (tmp_path / 'run' / 'history.jsonl').read_text().splitlines()]
    assert [row['epoch'] for row in rows] == [0, 1]


def test_an_interrupted_update_of_the_best_checkpoint_is_repaired(tiny_images: Path, tmp_path: Path) -> None:
    """`last` is written before `model_best`: a kill between the two leaves the best checkpoint of an earlier epoch."""
    argv = [*TRAIN, '--data-dir', str(tiny_images), '--eval-metric', 'loss', *at(tmp_path)]
    assert train_main([*argv, '--stop-epoch', '1']) == 0
    best = tmp_path / 'run' / 'model_best.pth.tar'
    first = best.read_bytes()
    assert train_main([*argv, '--resume', 'auto']) == 0
    history = [json.loads(line) for line in (tmp_path / 'run' / 'history.jsonl').read_text().splitlines()]
    assert history[1]['eval_loss'] < history[0]['eval_loss']
    best.unlink()
    best.write_bytes(first)
    assert state(tmp_path / 'run', best.name)['epoch'] == 0
    assert train_main([*argv, '--resume', 'auto']) == 0
    assert state(tmp_path / 'run', best.name)['epoch'] == 1
    config = json.loads((tmp_path / 'run' / 'export' / 'config.json').read_text())
    assert (config['training']['epoch'], config['training']['loss']) == (2, history[1]['eval_loss'])
