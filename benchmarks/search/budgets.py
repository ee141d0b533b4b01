"""Does the most probable architecture meet the budget, before any decode and without touching an option?

Twenty searches each, one seed and one target a search, with targets from the 10th to the 90th percentile of the costs
of architectures drawn uniformly from the space:

    python benchmarks/search/budgets.py table       # NAS-Bench-Macro, see tabular.py
    python benchmarks/search/budgets.py digits      # supernets on scikit-learn's digits, 16 pixels, 6 epochs
    python benchmarks/search/budgets.py params      # the same with a budget of parameters
    python benchmarks/search/budgets.py cifar       # supernets on 2,000 images of CIFAR-10, 32 pixels, 6 epochs
    python benchmarks/search/budgets.py show        # the table of the docs, from benchmarks/results/budgets.json
"""

import argparse
import json
import random
import tempfile
from pathlib import Path
from typing import Any

import torch
from cifar_parts.data import load, prepare
from cifar_parts.problem import cifar_space
from PIL import Image
from table_search import search, settings_for
from tabular import TABLE, Benchmark, macro_cost, spread

from fpnas_timm.arch.cost import cost
from fpnas_timm.cli.demo import IMG_SIZE, digits_folder, digits_space
from fpnas_timm.search import search as search_images
from fpnas_timm.spaces import MBConvSpace

RESULTS = Path(__file__).parents[1] / 'results' / 'budgets.json'
TAR = Path(__file__).parents[3] / 'shared' / 'data' / 'cifar10_jpeg.tar.xz'
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


def on_images(name: str, space: MBConvSpace, option: str, epochs: int, **given: Any) -> None:
    """Searches with a supernet, whose other options have their default values.

    Args:
        name: in the results.
        space: the search space.
        option: 'target_macs' or 'target_params'.
        epochs: of each search.
        given: the images, as `search` takes them.
    """
    which, rng = option.removeprefix('target_'), random.Random(0)
    drawn = [getattr(cost(space.sample_arch(rng), num_classes=10), which) for _ in range(2000)]
    found = []
    for seed, target in enumerate(targets(drawn)):
        with tempfile.TemporaryDirectory() as folder:
            result = search_images(
                space, epochs=epochs, seed=seed, workers=0, device='cpu', weight_samples=1, finalists=1,
                calibration_batches=2, output=f'{folder}/out', **given, **{option: target},
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
        save(name, found, epochs=epochs, cost=which, torch=torch.__version__)


def cifar_images(path: Path) -> list[tuple[Image.Image, int]]:
    """The first 200 training images of each class."""
    with tempfile.TemporaryDirectory() as cache:
        prepare(path, Path(cache), 2)
        train = load(Path(cache))['train']
    chosen = [i for c in range(10) for i in (train.labels == c).nonzero().flatten()[:200].tolist()]
    return [(Image.fromarray(train.pixels[i].numpy()), int(train.labels[i])) for i in chosen]


def show() -> None:
    words = {
        'table': 'NAS-Bench-Macro', 'table-expected': "NAS-Bench-Macro, `expected`, beta 0.3",
        'digits': 'digits, a supernet', 'params': 'digits, a supernet', 'cifar': 'CIFAR-10, a supernet',
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
    parser.add_argument('what', choices=['table', 'digits', 'params', 'cifar', 'show'])
    parser.add_argument('--table', type=Path, default=TABLE)
    parser.add_argument('--images', type=Path, default=TAR, help='`cifar`: the tar file of CIFAR-10')
    parser.add_argument('--epochs', type=int, default=6)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.what == 'show':
        show()
    elif args.what == 'table':
        on_table(args.table)
    elif args.what == 'cifar':
        on_images('cifar', cifar_space(), 'target_macs', args.epochs, dataset=cifar_images(args.images), img_size=32)
    else:
        with tempfile.TemporaryDirectory() as folder:
            digits_folder(Path(folder))
            option = 'target_macs' if args.what == 'digits' else 'target_params'
            on_images(args.what, digits_space(), option, args.epochs, data_dir=folder, img_size=IMG_SIZE)


if __name__ == '__main__':
    main()
