"""How fast a network trains beside its timm peer, and how fast our loop is beside timm's own script. One thread each.

`step` times forward, backward and update on random images. Ours and the peer take turns in one process, the table
shows medians; `ratio` is ours over the peer's, in time per multiply-add: below 1, ours does more multiply-adds in the
same time. Peak memory is the growth of a separate process over three steps (Linux), or what torch allocates on the GPU.

`loop` trains the same small network on the same images with both scripts in turn. An epoch's time is the time between
two lines of `summary.csv`, which both scripts write after training, validation and checkpoint.

    python benchmarks/training.py step                  # the table of docs/training.md
    python benchmarks/training.py step --device cuda --batch 128
    python benchmarks/training.py loop TIMM/train.py    # needs timm's script, and the images of training_toggles.py
"""
import argparse
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import timm
import torch
from inference import FORMATS, PEERS, as_the_commands, describe, interleaved, macs
from timm.optim import create_optimizer_v2
from training_toggles import BASE, STUDENT, TOGGLES, write_images

import fpnas_timm  # noqa: F401  (registers the models)

ROOT = Path(__file__).parents[1]
BATCH = 32


def step_of(name: str, dtype: str, memory_format: str, batch: int, device: str = 'cpu') -> Callable[[], object]:
    """One training step of a model: cross-entropy, SGD with momentum; bfloat16 by autocast."""
    torch.manual_seed(0)
    model = timm.create_model(name).to(device, memory_format=FORMATS[memory_format]).train()
    size = model.default_cfg['input_size'][-1]
    images = torch.randn(batch, 3, size, size).to(device, memory_format=FORMATS[memory_format])
    target = torch.randint(0, 1000, (batch,)).to(device)
    optimizer = create_optimizer_v2(model, opt='sgd', lr=0.01)

    def step() -> None:
        with torch.autocast(images.device.type, torch.bfloat16, enabled=dtype == 'bfloat16'):
            loss = torch.nn.functional.cross_entropy(model(images), target)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def peak_memory(argv: list[str]) -> None:
    """Print by how many bytes three steps make this process grow."""
    name, dtype, memory_format, batch = argv
    step = step_of(name, dtype, memory_format, int(batch))
    Path('/proc/self/clear_refs').write_text('5')  # the peak counts from here
    before = int(Path('/proc/self/statm').read_text().split()[1]) * os.sysconf('SC_PAGE_SIZE')
    for _ in range(3):
        step()
    peak = next(line for line in Path('/proc/self/status').read_text().splitlines() if line.startswith('VmHWM'))
    print(int(peak.split()[1]) * 1024 - before)


def measured_memory(*argv: object) -> float:
    """MiB of a step on a CPU."""
    command = [sys.executable, __file__, 'memory', *map(str, argv)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout) / 2**20


def gpu_memory(step: Callable[[], object]) -> float:
    """MiB that torch allocates on the GPU for a step, beyond weights, images and optimizer."""
    step()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    step()
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before) / 2**20


def measure_steps(
        names: Sequence[str], dtypes: Sequence[str], formats: Sequence[str], rounds: int, batch: int,
        device: str = 'cpu',
) -> Iterator[dict[str, Any]]:
    """The rows of the table of `step`."""
    for name in names:
        peer = PEERS[name]
        work, peer_work = macs(name), macs(peer)
        for dtype in dtypes:
            for label in formats:
                steps = [step_of(n, dtype, label, batch, device) for n in (name, peer)]
                ours, theirs = interleaved(steps, rounds, device)
                if torch.device(device).type == 'cuda':
                    memory, peer_memory = map(gpu_memory, steps)
                else:
                    memory, peer_memory = (measured_memory(n, dtype, label, batch) for n in (name, peer))
                yield {
                    'model': name, 'peer': peer, 'batch': batch, 'dtype': dtype, 'memory format': label,
                    'ms': ours * 1e3, 'peer ms': theirs * 1e3, 'ratio': ours / work / (theirs / peer_work),
                    'MiB': memory, 'peer MiB': peer_memory,
                }


def step_table(args: argparse.Namespace) -> None:
    print(f'{describe(args.device)}; batch {args.batch}; ratio per multiply-add')
    print('| model | peer | precision | memory format | ms a step | peer ms | ratio | MiB | peer MiB |')
    print('|---|---|---|---|---|---|---|---|---|')
    for row in measure_steps(args.models, args.dtypes, list(FORMATS), args.rounds, args.batch, args.device):
        print(
            f"| {row['model']} | {row['peer']} | {row['dtype']} | {row['memory format']} | {row['ms']:.0f} "
            f"| {row['peer ms']:.0f} | {row['ratio']:.2f} | {row['MiB']:.0f} | {row['peer MiB']:.0f} |",
            flush=True,
        )


def epoch_seconds(command: list[str], folder: Path, epochs: int) -> list[float]:
    """Run a training script; seconds between the lines of its `summary.csv`."""
    env = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    times: list[float] = []
    summary = folder / 'summary.csv'
    while process.poll() is None:
        lines = len(summary.read_text().splitlines()) - 1 if summary.exists() else 0
        if lines > len(times):
            times.append(time.perf_counter())
        time.sleep(0.005)
    if process.returncode or len(times) != epochs:
        raise SystemExit(f'{" ".join(command)} failed ({process.returncode}), {len(times)} of {epochs} epochs seen')
    return [b - a for a, b in pairwise(times)]


def loop_ratio(script: Path, images: Path, rounds: int, epochs: int) -> None:
    write_images(images)
    options = [*BASE, '--val-interval', '1', *TOGGLES['aa'], *TOGGLES['ema'], '--epochs', str(epochs)]
    options += ['--data-dir', str(images), '--model-kwargs', f'arch={STUDENT}']
    scripts = {'ours': ['-m', 'fpnas_timm', 'train'], 'timm': ['-m', 'fpnas_timm', 'run', str(script)]}
    seconds: dict[str, list[float]] = {name: [] for name in scripts}
    with tempfile.TemporaryDirectory() as out:
        for r in range(rounds):
            for name, module in scripts.items():
                argv = [sys.executable, *module, *options, '--output', out, '--experiment', f'{name}{r}']
                seconds[name] += epoch_seconds(argv, Path(out) / f'{name}{r}', epochs)
    ours, theirs = (statistics.median(seconds[name]) for name in scripts)
    print(f'an epoch, median of {len(seconds["ours"])}: ours {ours:.3f} s, timm {theirs:.3f} s: {theirs / ours:.3f}x')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest='command', required=True)
    step = commands.add_parser('step')
    step.add_argument('models', nargs='*', default=list(PEERS), metavar='MODEL', help=', '.join(PEERS))
    step.add_argument('--dtypes', nargs='+', default=['float32', 'bfloat16'])
    step.add_argument('--rounds', type=int, default=7)
    step.add_argument('--batch', type=int, default=BATCH)
    step.add_argument('--device', default='cpu')
    loop = commands.add_parser('loop')
    loop.add_argument('script', type=Path, help="timm's train.py")
    loop.add_argument('--images', type=Path, default=Path('output/toggles/data'))
    loop.add_argument('--rounds', type=int, default=3)
    loop.add_argument('--epochs', type=int, default=4)
    commands.add_parser('memory').add_argument('argv', nargs=4)
    args = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    if args.command == 'memory':
        peak_memory(args.argv)
    elif args.command == 'step':
        as_the_commands(args.device)
        step_table(args)
    else:
        loop_ratio(args.script, args.images, args.rounds, args.epochs)


if __name__ == '__main__':
    main()
