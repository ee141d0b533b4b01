"""What the toggles of Table C.2 and distillation do to a small network on Fashion-MNIST, beside the paper's figures.

6,000 training images and 5,000 of the test images, a few epochs each: minutes, not the paper's days. Reads Debian's
`dataset-fashion-mnist` (`apt-get install dataset-fashion-mnist`). Finished runs are not repeated.

    python benchmarks/training_toggles.py            # all runs, about half an hour on one core, then the table
    python benchmarks/training_toggles.py --table    # only the table, of the finished runs
"""
import argparse
import gzip
import json
import statistics
import time
from pathlib import Path

import numpy as np
from PIL import Image

from fpnas_timm.cli.runs import train_main as train
from fpnas_timm.paper import TABLE_C2

SOURCE = Path('/usr/share/datasets/fashion-mnist')
CLASSES = 'top trouser pullover dress coat sandal shirt sneaker bag boot'.split()
STUDENT = (
    'i28-cn_r1_k3_s2_c8_nsw-ir_r1_k3_s1_e1_c8_nre-ir_r2_k3_s2_e3_c24_nre_sp1-ir_r2_k5_s2_e3_c40_nsw_sp2-'
    'cn_r1_k1_s1_c192_nsw'
)
TEACHER = (
    'i28-cn_r1_k3_s2_c24_nsw-ir_r1_k3_s1_e1_c24_nre-ir_r2_k3_s2_e3_c40_nre_sp1-ir_r2_k5_s1_e3_c48_nsw_sp2-'
    'ir_r2_k5_s2_e3_c80_nsw_sp2-cn_r1_k1_s1_c512_nsw'
)
BASE = [
    '--model', 'fpnas', '--num-classes', '10', '--device', 'cpu', '-j', '0', '-b', '128', '-vb', '500',
    '--opt', 'adamw', '--lr', '4e-3', '--weight-decay', '0.02', '--warmup-epochs', '1', '--scale', '0.7', '1.0',
    '--ratio', '0.9', '1.1', '--color-jitter', '0', '--crop-pct', '1', '--smoothing', '0.1', '--sched-on-updates',
    '--checkpoint-hist', '1', '--log-interval', '1000', '--val-interval', '1000',  # validated once, at the end
]
TOGGLES = {
    'aa': ['--aa', 'original'],
    'ema': ['--model-ema', '--model-ema-decay', '0.99', '--model-ema-warmup'],
    'sd': ['--drop-path', '0.2'],
    'distillation': ['--kd-temperature', '3', '--task-loss-weight', '0.5'],
}
ROWS = ('ls', 'ls+ema', 'ls+aa', 'ls+aa+ema', 'ls+aa+ema+sd', 'ls+aa+ema+distillation')


def write_images(root: Path, per_class: int = 600) -> None:
    """Fashion-MNIST as `root/{train,validation}/<class>/*.png`."""
    if (root / 'complete').exists():
        return
    for split, name, count in (('train', 'train', per_class), ('validation', 't10k', 500)):
        images, labels = (
            np.frombuffer(gzip.decompress((SOURCE / f'{name}-{kind}-ubyte.gz').read_bytes()), np.uint8, offset=offset)
            for kind, offset in (('images-idx3', 16), ('labels-idx1', 8))
        )
        images = images.reshape(-1, 28, 28)
        for label, word in enumerate(CLASSES):
            folder = root / split / word
            folder.mkdir(parents=True, exist_ok=True)
            for i in np.flatnonzero(labels == label)[:count]:
                Image.fromarray(images[i]).convert('RGB').save(folder / f'{i:05d}.png')
    (root / 'complete').touch()


def run(out: Path, name: str, arch: str, seed: int, epochs: int, options: list[str]) -> dict[str, float]:
    """Train, unless the run is finished; returns its last row and its seconds."""
    result = out / name / 'result.json'
    if not result.exists():
        start = time.monotonic()
        argv = [*BASE, '--model-kwargs', f'arch={arch}', '--seed', str(seed), '--epochs', str(epochs), *options]
        status = train([*argv, '--data-dir', str(out / 'data'), '--output', str(out), '--experiment', name,
                        '--resume', 'auto'])
        if status:
            raise SystemExit(status)
        last = json.loads((out / name / 'history.jsonl').read_text().splitlines()[-1])
        result.write_text(json.dumps({**last, 'seconds': time.monotonic() - start}))
    return json.loads(result.read_text())


def options_of(row: str, out: Path) -> list[str]:
    options = [o for toggle in row.split('+')[1:] for o in TOGGLES[toggle]]
    return [*options, *(['--kd-model-name', f'local-dir:{out / "teacher" / "export"}'] if 'distil' in row else [])]


def table(out: Path) -> None:
    """Top-1 after the last epoch, mean and standard deviation over the seeds, and the paper's four models."""
    teacher = json.loads((out / 'teacher' / 'result.json').read_text())
    print(f'teacher: {teacher["eval_top1"]:.2f} %')
    print(f'| toggles | here, top-1 (%) | seeds | s a run | {" | ".join(TABLE_C2)} |')
    print('|---|---|---|---|' + '---|' * len(TABLE_C2))
    printed = ('ls+ema', 'ls+aa', 'ls+aa+ema', 'ls+aa+ema+sd')
    for row in ROWS:
        results = [json.loads(p.read_text()) for p in sorted(out.glob(f'{row} */result.json'))]
        if not results:
            continue
        top1 = [r['eval_top1'] for r in results]
        spread = f' ± {statistics.stdev(top1):.2f}' if len(top1) > 1 else ''
        paper = [f'{TABLE_C2[m][printed.index(row)]}' if row in printed else '-' for m in TABLE_C2]
        seconds = statistics.mean(r['seconds'] for r in results)
        print(f'| {row} | {statistics.mean(top1):.2f}{spread} | {len(top1)} | {seconds:.0f} | {" | ".join(paper)} |')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--output', type=Path, default=Path('output/toggles'))
    parser.add_argument('--seeds', type=int, default=3)
    parser.add_argument('--epochs', type=int, default=10)
    parser.add_argument('--table', action='store_true', help='only print the table')
    args = parser.parse_args()
    if not args.table:
        write_images(args.output / 'data')
        run(args.output, 'teacher', TEACHER, 100, args.epochs, options_of('ls+aa+ema', args.output))
        for seed in range(args.seeds):
            for row in ROWS:
                run(args.output, f'{row} {seed}', STUDENT, seed, args.epochs, options_of(row, args.output))
    table(args.output)


if __name__ == '__main__':
    main()
