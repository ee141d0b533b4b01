"""Searches on Fashion-MNIST and what their results are worth: trained from scratch beside random architectures.

    apt-get install dataset-fashion-mnist
    python benchmarks/search/fashion.py search mixed --output output/fashion     # one search; also: factorised, ..
    python benchmarks/search/fashion.py random --output output/fashion           # ten architectures of the same budget
    python benchmarks/search/fashion.py train mixed random-0 --seeds 0 1 2 --output output/fashion
    python benchmarks/search/fashion.py report --output output/fashion

Each command can run beside the others, in one thread each. Everything is written below `--output`.
"""

import argparse
import gzip
import json
import os
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path

from fpnas_timm.arch import Arch, Conv
from fpnas_timm.arch.cost import cost
from fpnas_timm.spaces import MBConvSpace, Row

ROOT = Path(__file__).parents[2]
SOURCE = Path('/usr/share/datasets/fashion-mnist')
TARGET = 2_000_000
COST = {'num_classes': 10, 'in_chans': 1}
COMMON = ['--space', 'SPACE', '--dataset', 'torch/fashion_mnist', '--data-dir', 'DATA', '--in-chans', '1',
          '--img-size', '28', '--mean', '0.286', '--std', '0.353', '--scale', '0.7', '1', '--target-macs', str(TARGET),
          '--epochs', '6', '--warmup-epochs', '2', '--batch-size', '64', '--weight-samples', '1', '--opt', 'adamw',
          '--lr', '2e-3', '--weight-decay', '0.02', '--beta', '0.5', '--cost-form', 'two-sided', '--temperature', '64',
          '--alpha-lr', '0.02', '--workers', '0', '--log-interval', '100']
SEARCHES = {
    'mixed': ['--joint-epoch', '4'],
    'factorised': [],
    'joint': ['--joint-epoch', '0'],
    'fixed-K6': ['--joint-epoch', '4', '--num-samples', '6'],
    'no-warmup': ['--joint-epoch', '4', '--warmup-epochs', '0'],
    'paper': ['--joint-epoch', '4', '--temperature', '1', '--cost-form', 'relative', '--beta', '0.3'],
}
RECIPE = ['--dataset', 'torch/fashion_mnist', '--in-chans', '1', '--input-size', '1', '28', '28', '--mean', '0.286',
          '--std', '0.353', '--num-classes', '10', '--model', 'fpnas', '--epochs', '6', '-b', '128', '--opt', 'adamw',
          '--lr', '4e-3', '--weight-decay', '0.02', '--sched', 'cosine', '--sched-on-updates', '--warmup-epochs', '0',
          '--min-lr', '1e-5', '--smoothing', '0', '--no-aug', '--workers', '0',
          '--crop-pct', '1', '--no-prefetcher', '--device', 'cpu']


def fashion_space() -> MBConvSpace:
    """The FP-NAS micro-architecture at 28 pixels: five groups, 4.7e11 architectures."""
    micro = {'kernel': (0, 3, 5), 'act': ('re', 'sw'), 'splits': (0, 1, 2, 4)}
    rows = [
        Row((1.5, 3.0, 4.5), channels, repeat, stride, **micro)
        for channels, repeat, stride in [
            ((8, 16, 24), 1, 1), ((16, 24, 32), 2, 2), ((24, 32, 48), 2, 1), ((48, 64, 80), 2, 2), ((64, 80, 96), 1, 1)
        ]
    ]
    return MBConvSpace.from_rows('fashion', Conv(3, 2, 16, 'sw'), rows, Conv(1, 1, 256, 'sw'), 28)


def prepare(out: Path) -> None:
    """Unpack Debian's files where torchvision looks for them, and write the space."""
    raw = out / 'data' / 'FashionMNIST' / 'raw'
    raw.mkdir(parents=True, exist_ok=True)
    for packed in SOURCE.glob('*.gz'):
        plain = raw / packed.stem
        if not plain.exists():
            plain.write_bytes(gzip.decompress(packed.read_bytes()))
    (out / 'space.json').write_text(json.dumps(fashion_space().to_dict()))


def run(script: str, *args: str) -> float:
    """Seconds that a script of the project's took, in one thread."""
    start = time.monotonic()
    env = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(ROOT)}
    subprocess.run([sys.executable, str(ROOT / script), *args], check=True, env=env)
    return time.monotonic() - start


def search(out: Path, name: str, seed: int) -> None:
    places = {'SPACE': str(out / 'space.json'), 'DATA': str(out / 'data')}
    folder = out / 'search' / f'{name}-s{seed}'
    args = [places.get(a, a) for a in [*COMMON, *SEARCHES[name]]]
    seconds = run('search.py', *args, '--seed', str(seed), '--output', str(folder))
    (out / f'{name}-s{seed}.txt').write_text((folder / 'arch.txt').read_text())
    (folder / 'seconds.txt').write_text(f'{seconds:.0f}\n')


def draw_random(out: Path, count: int = 10, seed: int = 0) -> None:
    """Architectures drawn uniformly from those within 3 % of the target."""
    space, rng, found = fashion_space(), random.Random(seed), 0
    while found < count:
        arch = space.sample_arch(rng)
        if abs(cost(arch, **COST).macs / TARGET - 1) <= 0.03:
            (out / f'random-{found}.txt').write_text(f'{arch}\n')
            found += 1


def train(out: Path, names: list[str], seeds: list[int]) -> None:
    for seed in seeds:
        for name in names:
            if (out / 'train' / f'{name}_{seed}' / 'export').exists():
                continue
            run('train.py', '--data-dir', str(out / 'data'), *RECIPE, '--arch-file', str(out / f'{name}.txt'),
                '--seed', str(seed), '--output', str(out / 'train'), '--experiment', f'{name}_{seed}')


def trained(out: Path) -> dict[str, list[float]]:
    """Top-1 of the last epoch, %, a seed each, by architecture; the best mean first."""
    by_name: dict[str, list[float]] = {}
    for history in sorted((out / 'train').glob('*/history.jsonl')):
        if not (history.parent / 'export').exists():
            continue  # unfinished
        last = json.loads(history.read_text().splitlines()[-1])
        by_name.setdefault(history.parent.name.rpartition('_')[0], []).append(last['eval_top1'])
    return dict(sorted(by_name.items(), key=lambda item: -statistics.mean(item[1])))


def report(out: Path) -> None:
    """A line an architecture: multiply-adds, search time, test accuracy of the last epoch by seed; and a picture."""
    by_name = trained(out)
    print('| architecture | M multiply-adds | K params | search, samples | search, s | top-1 by seed | mean |')
    print('|---|---|---|---|---|---|---|')
    for name, top1 in by_name.items():
        spent = cost(Arch.parse((out / f'{name}.txt').read_text()), **COST)
        folder = out / 'search' / name
        found = json.loads((folder / 'result.json').read_text()) if folder.exists() else {}
        samples, seconds = found.get('samples', '-'), f'{found["seconds"]:.0f}' if found else '-'
        shown = ' '.join(f'{t:.2f}' for t in top1)
        print(
            f'| {name} | {spent.macs / 1e6:.3f} | {spent.params / 1e3:.0f} | {samples} | {seconds} | {shown} '
            f'| {statistics.mean(top1):.2f} |'
        )
    draw(by_name, out / 'report.png')


def draw(by_name: dict[str, list[float]], path: Path) -> None:
    """A row an architecture, a dot a seed, a line at the mean."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 0.8 + 0.24 * len(by_name)), layout='constrained')
    axes = figure.subplots()
    for row, (name, top1) in enumerate(reversed(by_name.items())):
        color = '#999999' if name.startswith('random') else '#0072B2'
        axes.plot(top1, [row] * len(top1), 'o', color=color, alpha=0.6)
        axes.plot([statistics.mean(top1)] * 2, [row - 0.35, row + 0.35], color=color, linewidth=2)
    axes.set_yticks(range(len(by_name)), list(reversed(by_name)))
    axes.set_xlabel('top-1 of the test images after training from scratch, %')
    axes.grid(alpha=0.25, axis='x')
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('what', choices=('search', 'random', 'train', 'report'))
    parser.add_argument('names', nargs='*', help=f'searches ({", ".join(SEARCHES)}) or architectures to train')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0])
    parser.add_argument('--output', type=Path, default=ROOT / 'output' / 'fashion')
    args = parser.parse_args()
    prepare(args.output)
    if args.what == 'search':
        for name in args.names:
            for seed in args.seeds:
                search(args.output, name, seed)
    elif args.what == 'random':
        draw_random(args.output)
    elif args.what == 'train':
        train(args.output, args.names, args.seeds)
    else:
        report(args.output)


if __name__ == '__main__':
    main()
