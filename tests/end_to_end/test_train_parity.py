"""Our loop against timm's own `train.py`, in separate processes: an epoch's loss and accuracy are the same.

Opt-in: timm's script is not in its wheel and not copied in here. `TIMM_TRAIN` names the script or a checkout of timm.

    TIMM_TRAIN=../pytorch-image-models python -m pytest tests/end_to_end/test_train_parity.py
"""
import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
import yaml
from timm.models import save_for_hf

from fpnas_timm.cli.demo import digits_folder

TIMM_TRAIN = Path(os.environ.get('TIMM_TRAIN', 'not given'))
SCRIPT = TIMM_TRAIN / 'train.py' if TIMM_TRAIN.is_dir() else TIMM_TRAIN
ROOT = Path(__file__).parents[2]
ARCH = 'i32-cn_r1_k3_s2_c8_nsw-ir_r1_k3_s1_e2_c8_nre_sp1-ir_r2_k3_s2_e2_c16_nsw_sp2-cn_r1_k1_s1_c32_nsw'
BASE = {
    'device_modules': ['fpnas_timm'],
    'model': 'fpnas',
    'model_kwargs': {'arch': ARCH},
    'num_classes': 10,
    'device': 'cpu',
    'batch_size': 32,
    'epochs': 2,
    'warmup_epochs': 1,
    'opt': 'rmsproptf',
    'lr': 0.002,
    'workers': 0,
}
TABLE_C2 = {'smoothing': 0.1, 'aa': 'original', 'model_ema': True, 'model_ema_decay': 0.9, 'drop_path': 0.2}
CASES = {
    'plain': {'smoothing': 0.0, 'no_aug': True},
    'ls+aa+ema+sd': TABLE_C2,
    'one worker': {**TABLE_C2, 'workers': 1},
    'distillation': {**TABLE_C2, 'kd_model_name': 'local-dir:TEACHER', 'kd_temperature': 3.0, 'task_loss_weight': 0.5},
    'features': {'kd_model_name': 'local-dir:TEACHER', 'kd_distill_type': 'feature', 'distill_loss_weight': 2.0},
    'mixup': {'mixup': 0.2, 'cutmix': 1.0, 'reprob': 0.3, 'mixup_off_epoch': 1},
    'mixup, one by one': {'mixup': 0.2, 'bce_loss': True, 'no_prefetcher': True},
    'accumulation': {'grad_accum_steps': 3, 'clip_grad': 1.0, 'drop': 0.2},  # 45 batches
    'layer decay': {'opt': 'adamw', 'layer_decay': 0.7, 'sched_on_updates': True, 'channels_last': True},
    'bfloat16': {'amp': True, 'amp_dtype': 'bfloat16', 'sched': 'step', 'decay_epochs': 0.5},
    'splits': {'aug_splits': 3, 'jsd_loss': True, 'aa': 'augmix-m5-w4-d2', 'split_bn': True, 'batch_size': 16},
    'sizes': {'train_img_sizes': [24, 32], 'train_batch_sizes': [40, 24], 'variable_batch_loss_scale': 'sqrt'},
}

pytestmark = pytest.mark.skipif(not SCRIPT.is_file(), reason='TIMM_TRAIN names no script or checkout of timm')


@pytest.fixture(scope='module')
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('parity')
    digits_folder(folder / 'digits')
    torch.manual_seed(0)
    teacher = timm.create_model('fpnas', arch=ARCH.replace('c32', 'c48'), num_classes=10)
    config = {'label_names': list('0123456789')}
    cfg = {'input_size': (3, 32, 32), 'mean': (0.5, 0.5, 0.5), 'std': (0.5, 0.5, 0.5)}
    save_for_hf(teacher, str(folder / 'teacher'), model_config=config, safe_serialization=True, data_config=cfg)
    return folder


def run(command: list[str], folder: Path, name: str, options: dict, data: Path) -> list[dict[str, float]]:
    """Train in a process of its own; the rows of `summary.csv`."""
    config = folder / f'{name}.yaml'
    config.write_text(yaml.safe_dump(options).replace('TEACHER', str(data / 'teacher')))
    argv = [*command, '-c', str(config), '--data-dir', str(data / 'digits'), '--output', str(folder)]
    env = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}
    done = subprocess.run([*argv, '--experiment', name], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    with (folder / name / 'summary.csv').open(newline='') as f:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(f)]


TIMM = [sys.executable, '-m', 'fpnas_timm', 'run', str(SCRIPT)]
OURS = [sys.executable, '-m', 'fpnas_timm', 'train']


@pytest.mark.parametrize('case', CASES)
def test_same_losses(case: str, data: Path, tmp_path: Path) -> None:
    options = {**BASE, **CASES[case]}
    theirs = run(TIMM, tmp_path, 'timm', options, data)
    ours = run(OURS, tmp_path, 'ours', options, data)
    assert len(theirs) == len(ours) == 2
    for a, b in zip(theirs, ours):
        assert a.keys() == b.keys()
        assert b == pytest.approx(a, rel=1e-4)


def test_resumed(data: Path, tmp_path: Path) -> None:
    """Both go on from timm's checkpoint of the first epoch; timm goes on from ours."""
    options = {**BASE, **TABLE_C2}
    run(TIMM, tmp_path, 'first', {**options, 'checkpoint_hist': 3}, data)
    first = tmp_path / 'first' / 'checkpoint-0.pth.tar'
    resumed = {**options, 'resume': str(first)}
    theirs = run(TIMM, tmp_path, 'timm', resumed, data)
    ours = run(OURS, tmp_path, 'ours', resumed, data)
    assert len(theirs) == len(ours) == 1
    assert ours[0] == pytest.approx(theirs[0], rel=1e-4)
    run(OURS, tmp_path, 'from ours', options, data)
    shutil.copy(tmp_path / 'from ours' / 'checkpoint-0.pth.tar', tmp_path / 'ours.pth.tar')
    again = run(TIMM, tmp_path, 'again', {**options, 'resume': str(tmp_path / 'ours.pth.tar')}, data)
    assert again[0] == pytest.approx(theirs[0], rel=1e-4)
