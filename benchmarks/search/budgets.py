"""Does the most probable architecture meet the budget, before any decode and without touching an option?

Twenty searches each, one seed and one target a search, with targets from the 10th to the 90th percentile of the costs
of architectures drawn uniformly from the space:

    python benchmarks/search/budgets.py table       # NAS-Bench-Macro, see tabular.py
    python benchmarks/search/budgets.py digits      # supernets on scikit-learn's digits, 16 pixels, 6 epochs
    python benchmarks/search/budgets.py params      # the same with a budget of parameters
    python benchmarks/search/budgets.py show        # the table of the docs, from benchmarks/results/budgets.json
"""

import argparse
import json
import random
import tempfile
from pathlib import Path

import torch
from tabular import TABLE, Benchmark, macro_cost, search, settings_for, spread

from fpnas_timm.arch.cost import cost
from fpnas_timm.cli.demo import IMG_SIZE, digits_folder, digits_space
from fpnas_timm.search import search as search_images

RESULTS = Path(__file__).parents[1] / 'results' / 'budgets.json'
SEARCHES = 20
WINDOW = 0.03


def targets(costs: list[float]) -> list[float]:
    """From the 10th to the 90th percentile of `costs`, one for each search."""
    ordered = sorted(costs)
    return [ordered[int(len(ordered) * (0.1 + 0.8 * i / (SEARCHES - 1)))] for i in range(SEARCHES)]


def save(name: str, rows: list[dict], **about) -> None:
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    known[name] = {**about, 'searches': rows}
    RESULTS.write_text(json.dumps(known, indent=1) + '\n')


def on_table(path: Path) -> None:
    """Beside the multiplier, the form 'expected' with the beta that was best for it (tabular.py)."""
    rows = json.loads(path.read_text())
    benchmark, cost = Benchmark(rows, SEARCHES, 2000), macro_cost(rows)
    for name, form, beta in (('table', 'multiplier', 0.0), ('table-expected', 'expected', 0.3)):
        found = []
        for seed, target in enumerate(targets([r['flops'] for r in rows.values()])):
            settings = settings_for(form, target, beta)
            result = search(rows, benchmark.space, seed, 2000, costs=[cost], fixed=True, **settings)
            mode = benchmark.table.cost(result.distribution.most_probable())
            best = max(r['mean_acc'] for r in rows.values() if 0.98 * target <= r['flops'] <= target)
            below = best - benchmark.table.accuracy(result.result())
            found.append({
                'seed': seed, 'target': target, 'mode': mode, 'below_best': below,
                'evaluations': result.evaluator.evaluated,
            })
            print(f'{form} {target / 1e6:.1f} M  mode {mode / target:.4f}  {below:.3f} below the best', flush=True)
        save(name, found, form=form, evaluations=2000, cost='macs', torch=torch.__version__)


def on_digits(option: str, epochs: int) -> None:
    """`option`: 'target_macs' or 'target_params'; the other options have their default values."""
    space, rng = digits_space(), random.Random(0)
    which = option.removeprefix('target_')
    drawn = [getattr(cost(space.sample_arch(rng), num_classes=10), which) for _ in range(2000)]
    found = []
    with tempfile.TemporaryDirectory() as folder:
        digits_folder(Path(folder) / 'data')
        for seed, target in enumerate(targets(drawn)):
            result = search_images(
                space, data_dir=f'{folder}/data', img_size=IMG_SIZE, epochs=epochs, seed=seed, workers=0, device='cpu',
                weight_samples=1, finalists=1, calibration_batches=2, output=f'{folder}/{seed}', **{option: target},
            )
            assert result.distribution is not None
            arch = space.to_arch(result.distribution.most_probable())
            mode = getattr(cost(arch, num_classes=10), which)
            found.append({
                'seed': seed, 'target': target, 'mode': mode, 'result': getattr(result, which),
                'expected': result.history[-1][f'expected_{which}'], 'entropy': result.history[-1]['entropy'],
                'mode_moved': result.history[-1]['mode_moved'], 'supernet_top1': result.supernet_top1,
            })
            print(f'{target:,.0f}  mode {mode / target:.4f}  top-1 {result.supernet_top1:.1f} %', flush=True)
            save('digits' if which == 'macs' else 'params', found, epochs=epochs, cost=which, torch=torch.__version__)


def show() -> None:
    words = {
        'table': 'NAS-Bench-Macro', 'table-expected': "NAS-Bench-Macro, `expected`, beta 0.3",
        'digits': 'digits, a supernet', 'params': 'digits, a supernet',
    }
    units = {'macs': 'multiply-adds', 'params': 'parameters'}
    print('| searches | budget | targets | mode / target, least and most | within 3 % | within 98 to 100 % '
          '| result below the best, points |')
    print('|---|---|---|---|---|---|---|')
    for name, result in json.loads(RESULTS.read_text()).items():
        rows = result['searches']
        ratios = [r['mode'] / r['target'] for r in rows]
        asked = [r['target'] for r in rows]
        ends = ' to '.join(f'{t / 1e6:.3g} M' if t > 1e6 else f'{t / 1e3:.3g} K' for t in (min(asked), max(asked)))
        near, inside = (sum(low <= r <= high for r in ratios) for low, high in ((1 - WINDOW, 1 + WINDOW), (0.98, 1)))
        print(
            f'| {words[name]} | {units[result["cost"]]} | {ends} | {min(ratios):.3f} to {max(ratios):.3f} '
            f'| {near} of {len(rows)} | {inside} of {len(rows)} '
            f'| {spread([r["below_best"] for r in rows]) if "below_best" in rows[0] else "-"} |'
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('what', choices=['table', 'digits', 'params', 'show'])
    parser.add_argument('--table', type=Path, default=TABLE)
    parser.add_argument('--epochs', type=int, default=6)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.what == 'show':
        show()
    elif args.what == 'table':
        on_table(args.table)
    else:
        on_digits('target_macs' if args.what == 'digits' else 'target_params', args.epochs)


if __name__ == '__main__':
    main()
