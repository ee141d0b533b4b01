"""The training loop: it learns, resumes exactly, and what it writes is what timm loads."""
import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import timm
import torch
from timm.data import create_dataset, create_loader
from timm.utils import AverageMeter, accuracy

from fpnas_timm.arch import Arch
from fpnas_timm.cli.runs import train_main
from fpnas_timm.train.options import parse_train_args
from fpnas_timm.train.run import run_training

ROOT = Path(__file__).parents[2]
ARCH = 'i16-cn_r1_k3_s2_c8_nsw-ir_r1_k3_s1_e2_c8_nre_sp1-ir_r2_k3_s2_e2_c16_nsw_sp2-cn_r1_k1_s1_c32_nsw'
TRAIN = [
    '--model', 'fpnas', '--model-kwargs', f'arch={ARCH}', '--num-classes', '3', '--device', 'cpu', '-b', '8',
    '--opt', 'adamw', '--lr', '0.01', '--warmup-epochs', '0', '-j', '0', '--epochs', '3',
]
EVERYTHING_RANDOM = ['--aa', 'original', '--drop', '0.2', '--drop-path', '0.2', '--mixup', '0.2', '--reprob', '0.3']


def run(data: Path, *options: str, expect: int = 0) -> None:
    assert train_main([*TRAIN, '--data-dir', str(data), *options]) == expect


def at(folder: Path, name: str) -> list[str]:
    return ['--output', str(folder), '--experiment', name]


def state(folder: Path, name: str = 'last.pth.tar') -> dict:
    return torch.load(folder / name, weights_only=True)


def assert_same_weights(a: Path, b: Path) -> None:
    for key in ('state_dict', 'state_dict_ema'):
        one, other = state(a).get(key, {}), state(b).get(key, {})
        assert one.keys() == other.keys()
        assert all(torch.equal(one[n], other[n]) for n in one), key


@pytest.fixture(scope='module')
def trained(tiny_images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with a moving average."""
    out = tmp_path_factory.mktemp('runs')
    run(tiny_images, '--model-ema', '--model-ema-decay', '0.8', '--no-aug', *at(out, 'run'), '--epochs', '6')
    return out / 'run'


def test_what_a_run_writes(trained: Path) -> None:
    history = [json.loads(line) for line in (trained / 'history.jsonl').read_text().splitlines()]
    assert [row['epoch'] for row in history] == list(range(6))
    assert history[-1]['train_loss'] < 0.8 * history[0]['train_loss']
    with (trained / 'summary.csv').open(newline='') as f:
        rows = list(csv.DictReader(f))
    assert list(rows[0]) == ['epoch', 'train_loss', 'eval_loss', 'eval_top1', 'eval_top5', 'lr']
    assert [float(r['eval_top1']) for r in rows] == [r['eval_top1'] for r in history]
    assert (trained / 'curves.png').read_bytes()[:4] == b'\x89PNG'
    best = max(history, key=lambda r: (r['eval_top1'], -r['eval_loss'], r['epoch']))
    assert state(trained, 'model_best.pth.tar')['epoch'] == best['epoch']


def test_export(trained: Path, tiny_images: Path) -> None:
    """The folder is the best weights: timm loads it, and they have the accuracy that it says."""
    config = json.loads((trained / 'export' / 'config.json').read_text())
    assert config['architecture'] == 'fpnas'
    assert config['model_args']['arch'] == ARCH
    assert config['label_names'] == ['blue', 'green', 'red']
    assert config['training']['ema'] is True
    model = timm.create_model(f'local-dir:{trained / "export"}', pretrained=True).eval()
    ema = state(trained, 'model_best.pth.tar')['state_dict_ema']
    assert all(torch.equal(v, ema[k]) for k, v in model.state_dict().items())
    dataset = create_dataset('', root=tiny_images, split='validation')
    loader = create_loader(dataset, (3, 16, 16), 4, interpolation='bicubic', use_prefetcher=False, num_workers=0)
    meter = AverageMeter()
    with torch.inference_mode():
        for images, target in loader:
            meter.update(accuracy(model(images), target)[0].item(), len(target))
    assert meter.avg == pytest.approx(config['training']['top1'], abs=1e-3)


def test_a_named_model_is_exported_as_its_string(tiny_images: Path, tmp_path: Path) -> None:
    argv = ['--data-dir', str(tiny_images), '--recipe', 'fpnas_s1pp/ls+aa', '--num-classes', '3', '--device', 'cpu']
    sizes = ['--img-size', '32', '-b', '12', '-j', '0', '--epochs', '1', '--warmup-epochs', '0']
    assert train_main([*argv, *sizes, *at(tmp_path, 'run')]) == 0
    config = json.loads((tmp_path / 'run' / 'export' / 'config.json').read_text())
    from fpnas_timm.zoo import ARCHS

    assert (config['architecture'], config['model_args']['arch']) == ('fpnas', ARCHS['fpnas_s1pp'])
    assert config['training']['recipe'] == 'fpnas_s1pp/ls+aa'
    loaded = timm.create_model(f'local-dir:{tmp_path / "run" / "export"}', pretrained=True)
    assert loaded.pretrained_cfg['input_size'] == (3, 32, 32)


@pytest.mark.parametrize('options', [
    ['-j', '0', '--model-ema', '--model-ema-decay', '0.8', *EVERYTHING_RANDOM],
    ['-j', '2', '--mixup-off-epoch', '2', *EVERYTHING_RANDOM],
    ['-j', '1', '--no-prefetcher', '--amp', '--sched-on-updates', *EVERYTHING_RANDOM],
], ids=['no workers', 'two workers', 'float16'])
def test_a_resumed_run_is_the_same_run(tiny_images: Path, tmp_path: Path, options: list[str]) -> None:
    whole, parts = tmp_path / 'whole', tmp_path / 'parts'
    run(tiny_images, *options, *at(tmp_path, 'whole'))
    for epoch in ('1', '2', '3'):
        run(tiny_images, *options, *at(tmp_path, 'parts'), '--stop-epoch', epoch, '--resume', 'auto')
    assert_same_weights(whole, parts)
    assert (whole / 'summary.csv').read_text() == (parts / 'summary.csv').read_text()
    best = [state(p, 'model_best.pth.tar')['epoch'] for p in (whole, parts)]
    assert best[0] == best[1]
    assert sorted(p.name for p in whole.glob('checkpoint*')) == sorted(p.name for p in parts.glob('checkpoint*'))


def test_killed_and_resumed(tiny_images: Path, tmp_path: Path) -> None:
    """kill -9 while the first epoch is being saved, and in the middle of a later one."""
    options = [*EVERYTHING_RANDOM, '-j', '1', '--epochs', '8', '--resume', 'auto', '--log-interval', '1']
    run(tiny_images, *options, *at(tmp_path, 'whole'))
    argv = [sys.executable, '-m', 'fpnas_timm', 'train', *TRAIN, '--data-dir', str(tiny_images), *options]
    env = {**os.environ, 'PYTHONPATH': str(ROOT)}
    history = tmp_path / 'killed' / 'history.jsonl'

    def first_row_is_written(process: subprocess.Popen) -> None:  # right before the checkpoint
        while not history.exists():
            assert process.poll() is None
            time.sleep(0.001)

    def fifth_epoch_is_half_done(process: subprocess.Popen) -> None:
        assert process.stderr is not None
        assert any('epoch 5 [2/4]' in line for line in process.stderr)

    for happens in (first_row_is_written, fifth_epoch_is_half_done):
        process = subprocess.Popen(
            [*argv, *at(tmp_path, 'killed')], env=env, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        happens(process)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    assert state(tmp_path / 'killed')['epoch'] == 3
    run(tiny_images, *options, *at(tmp_path, 'killed'))
    assert_same_weights(tmp_path / 'whole', tmp_path / 'killed')


def test_a_damaged_checkpoint_falls_back(
    tiny_images: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(tiny_images, *at(tmp_path, 'whole'))
    run(tiny_images, *at(tmp_path, 'run'), '--stop-epoch', '2')
    last = tmp_path / 'run' / 'last.pth.tar'
    data = bytearray(last.read_bytes())
    middle = len(data) // 2
    data[middle:middle + 2000] = bytes(2000)
    last.unlink()  # the numbered checkpoint is a link to the same bytes
    last.write_bytes(data)
    run(tiny_images, *at(tmp_path, 'run'), '--resume', 'auto')
    assert 'last.pth.tar is damaged' in caplog.text
    assert 'continuing from' in caplog.text
    assert_same_weights(tmp_path / 'whole', tmp_path / 'run')


def test_ctrl_c_ends_after_a_step(tiny_images: Path, tmp_path: Path) -> None:
    class AfterFirstEpoch:
        def __bool__(self) -> bool:
            return (tmp_path / 'run' / 'last.pth.tar').exists()

    args = parse_train_args([*TRAIN, '--data-dir', str(tiny_images), *at(tmp_path, 'run')])
    run_training(args, AfterFirstEpoch())
    assert state(tmp_path / 'run')['epoch'] == 0
    assert (tmp_path / 'run' / 'export' / 'config.json').exists()
    run(tiny_images, *at(tmp_path, 'whole'))
    run(tiny_images, *at(tmp_path, 'run'), '--resume', 'auto')
    assert_same_weights(tmp_path / 'whole', tmp_path / 'run')


@pytest.mark.parametrize('options', [
    ['--amp', '--amp-dtype', 'bfloat16', '--channels-last'],
    ['--grad-checkpointing', '--clip-grad', '1', '--layer-decay', '0.8'],
    ['--torchcompile', 'eager', '--model-ema', '--model-ema-decay', '0.8'],
    ['--recovery-interval', '2', '--save-epochs', '1', '--save-images', '--log-interval', '2'],
    ['--val-split', '', '--sched', 'none'],
    ['--model-dtype', 'bfloat16', '--lr-noise', '0.5', '0.9', '--model-ema', '--model-ema-force-cpu'],
], ids=lambda options: options[0])
def test_options(tiny_images: Path, tmp_path: Path, options: list[str]) -> None:
    run(tiny_images, *options, '--no-aug', '--epochs', '4', *at(tmp_path, 'run'))
    history = [json.loads(line) for line in (tmp_path / 'run' / 'history.jsonl').read_text().splitlines()]
    assert history[-1]['train_loss'] < history[0]['train_loss']
    assert (tmp_path / 'run' / 'export' / 'model.safetensors').exists()
    if '--recovery-interval' in options:
        assert (tmp_path / 'run' / 'milestone-1.pth.tar').exists()
        assert list((tmp_path / 'run').glob('recovery-*'))
        assert list((tmp_path / 'run').glob('train-batch-*.jpg'))


def test_from_a_search_to_a_fine_tuned_model(trained: Path, tiny_images: Path, tmp_path: Path) -> None:
    """`arch.txt`, then other classes and channels from the exported folder, frozen and not."""
    (tmp_path / 'arch.txt').write_text(f'{ARCH}\n')
    argv = ['--arch-file', str(tmp_path / 'arch.txt'), '--num-classes', '3', '--data-dir', str(tiny_images)]
    rest = ['--device', 'cpu', '-j', '0', '-b', '12', '--epochs', '1', '--warmup-epochs', '0']
    assert train_main([*argv, *rest, '--initial-checkpoint', str(trained / 'last.pth.tar'), *at(tmp_path, 'a')]) == 0
    assert str(Arch.parse(state(tmp_path / 'a')['arch_string'])) == ARCH

    two = tmp_path / 'two'
    for split in ('train', 'validation'):
        for name in ('red', 'blue'):
            (two / split).mkdir(parents=True, exist_ok=True)
            (two / split / name).symlink_to(tiny_images / split / name)
    argv = ['--recipe', 'finetune/layer_decay', '--model', f'local-dir:{trained / "export"}', '--pretrained']
    more = ['--num-classes', '2', '--in-chans', '1', '--data-dir', str(two), '--freeze', 'all']
    assert train_main([*argv, *more, *rest, *at(tmp_path, 'b')]) == 0
    before, after = state(trained, 'model_best.pth.tar')['state_dict_ema'], state(tmp_path / 'b')['state_dict']
    body = [n for n in before if n.startswith('blocks.')]
    assert body
    assert all(torch.equal(before[n], after[n]) for n in body)
    assert tuple(after['classifier.weight'].shape) == (2, 32)
    assert after['stem.conv.weight'].shape[1] == 1
    config = json.loads((tmp_path / 'b' / 'export' / 'config.json').read_text())
    assert config['pretrained_cfg']['input_size'] == [1, 16, 16]

    argv = ['--model', 'fpnas', '--model-kwargs', f'arch={ARCH}']
    argv += ['--pretrained-path', str(trained / 'model_best.pth.tar')]
    more = ['--num-classes', '2', '--data-dir', str(two), '--freeze', '2', '--lr', '0.01']
    assert train_main([*argv, *more, *rest, *at(tmp_path, 'c')]) == 0
    after = state(tmp_path / 'c')['state_dict']
    same = {n for n in before if n in after and torch.equal(before[n], after[n]) and n.endswith('weight')}
    assert {n.split('.')[0] for n in same} == {'stem', 'blocks'}
    assert {n.split('.')[1] for n in same if n.startswith('blocks')} == {'0'}
