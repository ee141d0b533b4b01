"""What the tests of training share: a small network, the options of a short run, and how an error is checked."""
from pathlib import Path

import pytest
import torch

from fpnas_timm.cli.runs import train_main

ROOT = Path(__file__).parents[2]
ARCH = 'i16-cn_r1_k3_s2_c8_nsw-ir_r1_k3_s1_e2_c8_nre_sp1-ir_r2_k3_s2_e2_c16_nsw_sp2-cn_r1_k1_s1_c32_nsw'
OTHER = ARCH.replace('c16', 'c24')
BASE = [
    '--model', 'fpnas', '--num-classes', '3', '--device', 'cpu', '-b', '8', '-j', '0', '--epochs', '2', '--no-aug',
    '--opt', 'adamw', '--lr', '0.01', '--warmup-epochs', '0',
]
TRAIN = [*BASE, '--model-kwargs', f'arch={ARCH}']


def fails(capsys: pytest.CaptureFixture[str], argv: list[str], status: int = 2) -> str:
    """The one sentence on stderr."""
    assert train_main(argv) == status
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith('error: ')]
    assert len(lines) == 1
    assert 'Traceback' not in lines[0]
    return lines[0].removeprefix('error: ')


def at(folder: Path, name: str = 'run') -> list[str]:
    """The options that write a run into `folder/name`."""
    return ['--output', str(folder), '--experiment', name]


def state(folder: Path, name: str = 'last.pth.tar') -> dict:
    """A checkpoint of a run."""
    return torch.load(folder / name, weights_only=True)
