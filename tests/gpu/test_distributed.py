"""nccl: a training of one process in its group, and the commands under torchrun with the GPUs that are there."""
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from fpnas_timm.cli.runs import train_main
from fpnas_timm.runs.device import Process
from fpnas_timm.runs.processes import SharedStop, StopRequest, check_same_on_all, from_primary

from .common import DEVICE, ON_GPU, TRAIN, at, python


@pytest.mark.timeout(200)
@pytest.mark.parametrize('command', ['train', 'search'])
def test_torchrun(space_file: Path, tiny_images: Path, tmp_path: Path, command: str) -> None:
    """First, since it takes longest: two more starts of Python and torch."""
    count = min(torch.cuda.device_count(), 2) if ON_GPU else 1
    argv = ['-m', 'torch.distributed.run', '--standalone', '--nproc-per-node', str(count), f'{command}.py']
    if command == 'train':
        argv += [*TRAIN, '--data-dir', str(tiny_images), '--epochs', '2', *at(tmp_path)]
    else:
        argv += ['--space', str(space_file), '--data-dir', str(tiny_images), '--epochs', '2', '--warmup-epochs', '1']
        argv += ['--batch-size', '4', '--workers', '0', '--device', DEVICE, '--amp', '--amp-dtype', 'bfloat16']
        argv += ['--output', str(tmp_path / 'run')]
    run = python(*argv)
    said = run.communicate(timeout=150)[0]
    assert run.returncode == 0, said
    result = tmp_path / 'run' / ('export/config.json' if command == 'train' else 'arch.txt')
    assert result.exists()


@pytest.fixture
def process(gpu: torch.device) -> Iterator[Process]:
    """The only process of a group."""
    device = torch.device('cuda', 0) if ON_GPU else gpu
    dist.init_process_group('nccl' if ON_GPU else 'gloo', store=dist.HashStore(), rank=0, world_size=1)
    yield Process(device, distributed=True)
    if dist.is_initialized():
        dist.destroy_process_group()


@pytest.mark.parametrize('options', [['--model-ema'], ['--amp', '--channels-last', '--grad-accum-steps', '2']],
                         ids=['float32', 'float16'])
def test_training_in_a_process_group(
        process: Process, tiny_images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    """DistributedDataParallel, shared statistics and checkpoints; torchrun makes no group of one process."""
    monkeypatch.setattr('fpnas_timm.train.setup.start_device', lambda name: process)
    argv = [*TRAIN, '--data-dir', str(tiny_images), '--epochs', '10', *options, '-b', '4', *at(tmp_path)]
    assert train_main([*argv, *(['--sync-bn'] if ON_GPU else [])]) == 0
    history = [json.loads(line) for line in (tmp_path / 'run' / 'history.jsonl').read_text().splitlines()]
    assert history[-1]['train_loss'] < 0.8 * history[0]['train_loss']
    assert not dist.is_initialized()


def test_what_processes_tell_each_other(process: Process) -> None:
    check_same_on_all({'number': 1, 'names': ['a']})
    assert from_primary(lambda: {'x': torch.ones(2)}, 0, 2)['x'].tolist() == [1, 1]  # as if there were another one
    request = StopRequest()
    stop = SharedStop(request, process.device)
    assert not stop
    request.signal = 15
    assert stop
