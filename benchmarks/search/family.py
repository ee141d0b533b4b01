"""Is each member of a family from one search as good as the result of a search for its own budget?

NAS-Bench-Macro (see tabular.py): targets are five quantiles of the table's multiply-adds. Each search has 2,000
evaluations; the most probable network within 98 to 100 % of each target is decoded from it, with the budget's share
given back and as it is, and compared with the best network of the table within the same window:

    python benchmarks/search/family.py table    # 24 seeds, into benchmarks/results/family.json
    python benchmarks/search/family.py show     # the table of the docs
"""

import argparse
import json
import statistics
from collections.abc import Callable
from pathlib import Path

import torch
from table_search import OURS, STEPS, search, settings_for
from tabular import TABLE, Benchmark, macro_cost

from fpnas_timm.search.alpha_settings import fitting_alpha_lr
from fpnas_timm.search.distribution import Distribution
from fpnas_timm.search.likeliest import first_within
from fpnas_timm.search.multiplier import without_budget

RESULTS = Path(__file__).parents[1] / 'results' / 'family.json'
QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
EVALUATIONS, TOLERANCE = 2000, 0.02
OWN = 'a search for each target'


def on_table(path: Path, seeds: int) -> None:
    rows = json.loads(path.read_text())
    benchmark, cost = Benchmark(rows, seeds, EVALUATIONS), macro_cost(rows)
    ordered = sorted(r['flops'] for r in rows.values())
    targets = [ordered[int(q * len(ordered))] for q in QUANTILES]
    best = [max(r['mean_acc'] for r in rows.values() if t * (1 - TOLERANCE) <= r['flops'] <= t) for t in targets]
    free = {**OURS, 'alpha_lr': fitting_alpha_lr(STEPS)}
    free_long = {**OURS, 'alpha_lr': fitting_alpha_lr(STEPS * len(targets))}
    below: dict[str, list[list[float]]] = {}

    def decoded(distribution: Distribution) -> list[float]:
        """By how many points the network of each target is below the best one there."""
        out = []
        for target, most in zip(targets, best):
            allowed: Callable = lambda arch, t=target: t * (1 - TOLERANCE) <= cost(arch) <= t  # noqa: E731
            [arch] = first_within(distribution, allowed, f'{target}', 1)
            out.append(round(most - benchmark.table.accuracy(arch), 4))
        return out

    def note(name: str, found: list[float]) -> None:
        below.setdefault(name, []).append(found)

    for seed in benchmark.seeds:
        own = [
            search(rows, benchmark.space, seed, EVALUATIONS, costs=[cost], fixed=True, **settings_for('multiplier', t))
            for t in targets
        ]
        note(OWN, [decoded(found.distribution)[i] for i, found in enumerate(own)])
        for q, found in zip(QUANTILES, own):
            given_back = without_budget(found.distribution, found.budgets.multiplier.taken)
            note(f'one for the {100 * q:.0f} % target, its share given back', decoded(given_back))
            note(f'one for the {100 * q:.0f} % target, as it is', decoded(found.distribution))
        one = search(rows, benchmark.space, seed, EVALUATIONS, fixed=True, **free)
        note('one without a budget', decoded(one.distribution))
        long = search(rows, benchmark.space, seed, EVALUATIONS * len(targets), fixed=True, **free_long)
        note(f'one without a budget, {EVALUATIONS * len(targets):,} evaluations', decoded(long.distribution))
        print(f'seed {seed}: own {below[OWN][-1]}', flush=True)
        RESULTS.write_text(json.dumps({
            'table': 'nas-bench-macro', 'targets': targets, 'best': best, 'evaluations': EVALUATIONS,
            'torch': torch.__version__, 'below_best': below,
        }, indent=1) + '\n')


def show() -> None:
    found = json.loads(RESULTS.read_text())
    names = [f'{t / 1e6:.1f} M' for t in found['targets']]
    print(f'| decoded from | {" | ".join(names)} | mean |')
    print('|---' * (len(names) + 2) + '|')
    for name, rows in found['below_best'].items():
        columns = [*zip(*rows), [statistics.mean(row) for row in rows]]
        cells = [
            f'{statistics.mean(c):.2f} ± {statistics.stdev(c) / len(c) ** 0.5:.2f}' for c in map(list, columns)
        ]
        print(f'| {name} | {" | ".join(cells)} |')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('what', choices=['table', 'show'])
    parser.add_argument('--table', type=Path, default=TABLE)
    parser.add_argument('--seeds', type=int, default=24)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.what == 'show':
        show()
    else:
        on_table(args.table, args.seeds)


if __name__ == '__main__':
    main()
