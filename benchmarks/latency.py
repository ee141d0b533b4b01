"""What latency tables are worth: errors on networks that were measured afterwards, and budgets of time that are met.

For each space: a table is measured, then networks that it was not made from are compared with it, half of them uniform,
half biased to small or large ones. Then the most probable network within each of some times is decoded, with random
probabilities of the choices, and measured.

    python benchmarks/latency.py --check 48 -o benchmarks/results/latency.json   # the figures of docs/latency.md
    python benchmarks/latency.py --spaces cifar --minutes 1 --runtime torch
"""
import argparse
import json
import logging
import os
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from fpnas_timm.device import LatencyTable, check_table, measure_latency, measure_network
from fpnas_timm.device.latency_fit import worth
from fpnas_timm.runs.files import write_text
from fpnas_timm.spaces import MBConvSpace, get_space
from fpnas_timm.spaces.decode import decode

sys.path.insert(0, str(Path(__file__).parent / 'search'))
from cifar_parts.problem import cifar_space

CLASSES = {'cifar': 10}
SHARES = (0.25, 0.5, 0.75)  # of the way from the fastest network to the reference's double, of the targets
TOLERANCE = 0.02


def space_of(name: str) -> MBConvSpace:
    return cifar_space() if name == 'cifar' else get_space(name)


def log_probs(space: MBConvSpace, seed: int) -> list[dict[str, np.ndarray]]:
    """Random probabilities of the choices."""
    rng = np.random.default_rng(seed)
    return [{v: np.log(rng.dirichlet(np.ones(len(c)))) for v, c in group.items()} for group in space.groups]


def budgets(table: LatencyTable, num_classes: int) -> list[dict[str, Any]]:
    """Times as budgets: target, predicted and measured."""
    low, _ = table.cost().range()
    rows = []
    for seed, share in enumerate(SHARES):
        target = float(f'{low + share * (2 * table.reference[1] - low):.3g}')
        others = [(table.cost(), (target * (1 - TOLERANCE), target))]
        start = time.perf_counter()
        found = decode(table.space, log_probs(table.space, seed), num_classes=num_classes, others=others)
        seconds = time.perf_counter() - start
        measured = measure_network(table, found.arch)
        rows.append({
            'target': target, 'predicted': round(table.predict(found.arch), 5), **asdict(measured),
            'error': round(measured.milliseconds / target - 1, 4), 'log_prob': found.log_prob, 'bound': found.bound,
            'decode_seconds': round(seconds, 2), 'macs': found.cost.macs, 'arch': str(found.arch),
        })
        print(f'  target {target:g} ms: predicted {rows[-1]["predicted"]:.4g}, measured {measured.milliseconds:.4g}, '
              f'by the clock {measured.now:.4g}; {found.cost.macs:,} multiply-adds', flush=True)
    return rows


def measured(name: str, args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The figures of a space."""
    space, classes, start = space_of(name), CLASSES.get(name, 1000), time.perf_counter()
    path = folder / f'{name}.json'
    before = os.getloadavg()
    table = measure_latency(space, args.runtime, 'cpu', args.threads, args.batch_size, classes, output=path,
                            minutes=args.minutes)
    minutes = (time.perf_counter() - start) / 60
    low, high = table.cost().range()
    print(f'{name}: {table.setting}; {minutes:.1f} minutes; {table.worth}; {low:.4g} to {high:.4g} ms', flush=True)
    found = check_table(LatencyTable.load(path), args.check)
    print(f'  checked: {found.worth}; uniform ones: {worth(found.predicted[::2], found.measured[::2])}; '
          f'{found.slower:.2f} times as slow', flush=True)
    return {
        'space': name, 'setting': asdict(table.setting), 'minutes': round(minutes, 2), 'held_out': table.worth,
        'checked': found.worth._asdict(), 'checked_uniform': worth(found.predicted[::2], found.measured[::2])._asdict(),
        'slower': round(found.slower, 3), 'spread': round(found.spread, 4), 'range_ms': [low, high],
        'reference_ms': table.reference[1], 'bytes': path.stat().st_size,
        'predicted': [round(p, 5) for p in found.predicted], 'measured': [round(m, 5) for m in found.measured],
        'budgets': budgets(table, classes), 'load': [before, os.getloadavg()],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--spaces', nargs='+', default=['fpnas_l0', 'cifar'], metavar='SPACE')
    parser.add_argument('--minutes', type=float, default=10.0, help='for each table')
    parser.add_argument('--check', type=int, default=40, help='number of networks that are measured afterwards')
    parser.add_argument('--runtime', default='onnxruntime')
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--batch-size', type=int, default=1)
    parser.add_argument('-o', '--output', type=Path, help='JSON file; results of other spaces and runtimes in it stay')
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    rows: list[dict[str, Any]] = []
    if args.output and args.output.exists():
        rows = json.loads(args.output.read_text())
    with tempfile.TemporaryDirectory() as folder:
        for name in args.spaces:
            row = measured(name, args, Path(folder))
            key = (name, row['setting']['runtime'], args.batch_size, args.threads)
            rows = [r for r in rows if (r['space'], r['setting']['runtime'], r['setting']['batch_size'],
                                        r['setting']['threads']) != key] + [row]
            if args.output:
                write_text(args.output, json.dumps(rows, indent=1) + '\n')
    sys.stdout.flush()


if __name__ == '__main__':
    main()
