"""`fpnas train` and `fpnas validate` on the GPU: precisions, layouts, resume, and what becomes of it on the CPU."""
import json
import signal
from pathlib import Path

import pytest
import torch

from fpnas_timm.cli.runs import train_main, validate_main
from fpnas_timm.train.run import train

from .common import DEVICE, ON_GPU, SMALL_ARCH, TRAIN, at, python, same_weights, weights_of

WAYS = {
    'float32': [],
    'float16, clipped': ['--amp', '--channels-last', '--clip-grad', '1'],
    'float16, accumulated, average': [
        '--amp', '-b', '4', '--grad-accum-steps', '2', '--model-ema', '--model-ema-decay', '0.9'
    ],
    'bfloat16, recomputed': ['--amp', '--amp-dtype', 'bfloat16', '--channels-last', '--grad-checkpointing'],
    'bfloat16 weights': ['--model-dtype', 'bfloat16', '--opt', 'lamb'],
    'mixed and erased on the GPU': ['--mixup', '0.1', '--reprob', '0.1', '--channels-last'],
    'without prefetcher': ['--mixup', '0.1', '--no-prefetcher', '--channels-last'],
    'workers': ['-j', '2', '--class-weights', 'balanced'],
}


@pytest.mark.parametrize('way', WAYS)
def test_learns(tiny_images: Path, tmp_path: Path, way: str) -> None:
    argv = [*TRAIN, '--data-dir', str(tiny_images), '--epochs', '10', *WAYS[way], *at(tmp_path)]
    assert train_main(argv) == 0
    history = [json.loads(line) for line in (tmp_path / 'run' / 'history.jsonl').read_text().splitlines()]
    assert len(history) == 10
    assert history[-1]['train_loss'] < 0.7 * history[0]['train_loss']
    assert history[-1]['eval_top1'] >= 75


def test_trained_on_the_gpu_used_on_the_cpu(trained: Path, tiny_images: Path, tmp_path: Path) -> None:
    """The exported folder and the checkpoint validate alike on both, fused and in another layout too."""
    found = {}
    for name, options in {
        'cpu': ['--device', 'cpu'], 'gpu': ['--device', DEVICE],
        'fused': ['--device', DEVICE, '--reparam', '--channels-last'],
        'half': ['--device', DEVICE, '--amp', '--amp-dtype', 'float16'],
    }.items():
        argv = ['--model', f'local-dir:{trained}', '--pretrained', '--data-dir', str(tiny_images), '-j', '0', '-b', '5']
        assert validate_main([*argv, *options, '--results-file', str(tmp_path / f'{name}.json')]) == 0
        text = json.loads((tmp_path / f'{name}.json').read_text())
        found[name] = text[0] if isinstance(text, list) else text
    assert found['gpu']['loss'] == pytest.approx(found['cpu']['loss'], rel=1e-2, abs=1e-3)  # with TF32
    assert found['fused']['loss'] == pytest.approx(found['cpu']['loss'], rel=1e-2, abs=1e-3)
    assert found['half']['loss'] == pytest.approx(found['cpu']['loss'], rel=5e-2, abs=5e-3)
    assert {row['top1'] for row in found.values()} == {found['cpu']['top1']}


def test_distilled_from_a_teacher_on_the_gpu(trained: Path, tiny_images: Path, tmp_path: Path) -> None:
    argv = [*TRAIN, '--data-dir', str(tiny_images), '--epochs', '2', '--amp', *at(tmp_path)]
    assert train_main([*argv, '--kd-model-name', f'local-dir:{trained}/export']) == 0
    history = [json.loads(line) for line in (tmp_path / 'run' / 'history.jsonl').read_text().splitlines()]
    assert history[1]['train_loss'] < history[0]['train_loss']


@pytest.mark.usefixtures('deterministic')
@pytest.mark.parametrize('options', [[], ['--amp', '--channels-last', '--model-ema']], ids=['float32', 'float16'])
def test_resumed_with_deterministic_algorithms(tiny_images: Path, tmp_path: Path, options: list[str]) -> None:
    """The same weights, to the bit."""
    argv = [*TRAIN, '--data-dir', str(tiny_images), '--epochs', '3', '--drop', '0.2', '--mixup', '0.1', *options]
    assert train_main([*argv, *at(tmp_path, 'whole')]) == 0
    assert train_main([*argv, *at(tmp_path), '--stop-epoch', '1']) == 0
    assert train_main([*argv, *at(tmp_path), '--resume', 'auto']) == 0
    assert not same_weights(weights_of(tmp_path / 'whole'), weights_of(tmp_path / 'run'))


@pytest.mark.usefixtures('deterministic')
def test_killed_and_resumed(tiny_images: Path, tmp_path: Path) -> None:
    """A process of its own; the same weights, to the bit, as without the kill."""
    argv = [*TRAIN, '--data-dir', str(tiny_images), '--epochs', '4', '--amp', '--amp-dtype', 'bfloat16']
    argv += ['--device-modules', 'tests.gpu.deterministic']
    process = python('train.py', *argv, *at(tmp_path))
    lines = []
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line)
        if 'epoch 2/4' in line:
            process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, ''.join(lines)
    assert train_main([*argv, *at(tmp_path), '--resume', 'auto']) == 0
    assert train_main([*argv, *at(tmp_path, 'whole')]) == 0
    assert not same_weights(weights_of(tmp_path / 'whole'), weights_of(tmp_path / 'run'))


def test_the_loss_is_not_finite(
        tiny_images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Read late, but told with its update; nothing of it is saved."""
    argv = [*TRAIN, '--data-dir', str(tiny_images), '--epochs', '2', '--opt', 'sgd', '--sched', 'none']
    assert train_main([*argv, '--lr', '1e30', *at(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert 'the loss is' in said and 'in epoch 1, update 2, at learning rate 1e+30' in said
    assert not (tmp_path / 'run' / 'last.pth.tar').exists()


@pytest.mark.skipif(not ON_GPU, reason='compiles for a GPU')
@pytest.mark.timeout(200)
def test_compiled(tiny_images: Path, tmp_path: Path) -> None:
    """torch.compile with its own backend; the losses are those of eager mode."""
    given = dict(
        arch=SMALL_ARCH, num_classes=3, data_dir=tiny_images, epochs=2, output=tmp_path, device=DEVICE, batch_size=12,
        validation_batch_size=12, workers=0, no_aug=True, opt='adamw', lr=0.005, warmup_epochs=0, amp=True,
        amp_dtype='bfloat16', channels_last=True,
    )
    torch.compiler.reset()
    compiled = train(experiment='compiled', torchcompile='inductor', **given)
    torch.compiler.reset()
    eager = train(experiment='eager', **given)
    for ours, theirs in zip(compiled.history, eager.history):
        assert ours['train_loss'] == pytest.approx(theirs['train_loss'], rel=0.1)
    assert compiled.model()(torch.zeros(1, 3, 16, 16)).shape == (1, 3)
