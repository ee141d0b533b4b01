"""Two processes (gloo, CPU): under torchrun they give the numbers of one process, and a resumed run is the same run."""
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fpnas_timm.cli.runs import train_main

from ..helpers.together import together

ROOT = Path(__file__).parents[2]
ARCH = 'i16-cn_r1_k3_s2_c8_nsw-ir_r1_k3_s1_e2_c8_nre_sp1-ir_r2_k3_s2_e2_c16_nsw_sp2-cn_r1_k1_s1_c32_nsw'
COMMON = ['--num-classes', '3', '--device', 'cpu', '-j', '0', '--opt', 'adamw', '--lr', '0.01', '--warmup-epochs', '0']


def torchrun(module: list[str]) -> None:
    with socket.socket() as s:
        s.bind(('', 0))
        port = s.getsockname()[1]
    argv = [sys.executable, '-m', 'torch.distributed.run', '--nproc-per-node', '2', '--master-port', str(port), '-m']
    env = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}
    done = subprocess.run([*argv, *module], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def history(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / 'history.jsonl').read_text().splitlines()]


def test_two_processes_are_one_with_their_batches(tiny_images: Path, tmp_path: Path) -> None:
    """All 36 images in one update: 2 x 18 or 1 x 36, in a network without batch norm, with two accumulated batches.

    The classes have other weights, and the batches other numbers of them: the weighted loss is the same in all parts.
    """
    (tmp_path / 'weights.csv').write_text('red,1\ngreen,2\nblue,6\n')
    argv = ['--model', 'test_vit', '--img-size', '32', '--no-aug', '--epochs', '3', *COMMON]
    argv += ['--data-dir', str(tiny_images), '--output', str(tmp_path), '--model-ema', '--model-ema-decay', '0.5']
    argv += ['--class-weights', str(tmp_path / 'weights.csv')]
    assert train_main([*argv, '-b', '36', '--experiment', 'one']) == 0
    script = ['fpnas_timm', 'run', str(ROOT / 'train.py')]  # as any script of timm's
    torchrun([*script, *argv, '-b', '9', '--grad-accum-steps', '2', '--experiment', 'two'])
    for one, two in zip(history(tmp_path / 'one'), history(tmp_path / 'two')):
        for key in ('train_loss', 'eval_loss', 'weights_loss', 'eval_top1'):
            assert two[key] == pytest.approx(one[key], rel=1e-4), key
    assert (tmp_path / 'two' / 'export' / 'config.json').exists()


def train(argv: list[str]) -> None:
    statuses, said = together(argv, argv)
    assert statuses == [0, 0], said


def test_resumed(tiny_images: Path, tmp_path: Path) -> None:
    """With batch norms, whose statistics are averaged over the processes, and all that is random.

    The whole run is under torchrun; its parts are forked, which imports torch less often.
    """
    argv = ['--model', 'fpnas', '--model-kwargs', f'arch={ARCH}', '-b', '8', '--epochs', '2']
    argv += [*COMMON, '--data-dir', str(tiny_images), '--output', str(tmp_path), '--aa', 'original', '--mixup', '0.2']
    argv += ['--drop', '0.2', '--drop-path', '0.2']
    torchrun(['fpnas_timm', 'train', *argv, '--experiment', 'whole'])
    train([*argv, '--experiment', 'parts', '--stop-epoch', '1'])
    train([*argv, '--experiment', 'parts', '--resume', 'auto'])
    whole, parts = (
        torch.load(tmp_path / n / 'last.pth.tar', weights_only=True)['state_dict'] for n in ('whole', 'parts')
    )
    assert all(torch.equal(whole[n], parts[n]) for n in whole)
    assert not any(n.startswith('module.') for n in whole)
