"""The search on a table of measured accuracies, beside random search and regularised evolution.

NAS-Bench-Macro (6,561 networks trained on CIFAR-10, https://github.com/xiusu/NAS-Bench-Macro, Apache-2.0): 8 layers
with 3 choices each. Evaluations are as noisy as in a real search (`table_search.py`), and every method gets the same
number of them.

    python benchmarks/search/tabular.py --table ../shared/data/nas-bench-macro_cifar10.json
    python benchmarks/search/tabular.py show    # the table with targets again, from benchmarks/results/tabular.json
"""

import argparse
import bisect
import itertools
import json
import statistics
import time
from pathlib import Path

import torch
from table_search import IMAGES, OURS, PAPER, Table, baseline, measured, search, settings_for

from fpnas_timm.spaces import SearchSpace
from fpnas_timm.spaces.costs import AdditiveCost, tabulated

FORMS = (  # of the cost, with beta and temperature; the multiplier has the command line's learning rate of alpha
    ('multiplier', 0.0, IMAGES), ('relative', 0.3, 1), ('relative', 1.0, 1), ('absolute', 1.0, IMAGES),
    ('absolute', 2.0, IMAGES), ('expected', 0.3, IMAGES), ('two-sided', 1.0, IMAGES),
)
TABLE = Path(__file__).parents[3] / 'shared' / 'data' / 'nas-bench-macro_cifar10.json'
RESULTS = Path(__file__).parents[1] / 'results' / 'tabular.json'
TABLES = ['methods', 'lengths', 'sampling', 'coarse_to_fine', 'targets', 'finalists', 'quartiles']


def macro_cost(rows: dict) -> AdditiveCost:
    """The multiply-adds of the table, which are additive along its layers."""
    return tabulated(Benchmark.space, Table(rows, 0).cost, 'macs', 'multiply-adds')


def spread(values) -> str:
    return f'{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f}'


class Benchmark:
    """What the tables below have in common: the rows, the seeds and how results are written."""

    space = SearchSpace('nas-bench-macro', tuple({'op': (0, 1, 2)} for _ in range(8)))
    pairs = SearchSpace('pairs', tuple({'first': (0, 1, 2), 'second': (0, 1, 2)} for _ in range(4)))

    def __init__(self, rows: dict, seeds: int, evaluations: int, space: SearchSpace | None = None) -> None:
        self.rows, self.seeds, self.evaluations = rows, range(seeds), evaluations
        self.space = space or self.space
        self.table = Table(rows, 0)
        self.lines: dict[str, dict[str, list[float]]] = {}  # what was printed, by name: a figure for each seed
        self.ordered = sorted(r['mean_acc'] for r in rows.values())

    def rank(self, arch) -> float:
        """Share of the table that is not better, %."""
        return 100 * bisect.bisect_right(self.ordered, self.table.accuracy(arch)) / len(self.ordered)

    def line(self, name, results, *more) -> None:
        ranks = [self.rank(a) for a in results]
        accuracies = [self.table.accuracy(a) for a in results]
        self.lines[name] = {'accuracy': [round(a, 4) for a in accuracies], 'rank': [round(r, 3) for r in ranks]}
        print('|', ' | '.join([name, spread(accuracies), spread(ranks), f'{min(ranks):.1f}', *more]), '|', flush=True)

    def methods(self) -> None:
        """Everyone with the same number of evaluated architectures."""
        print(f'{self.evaluations} evaluated architectures, {len(self.seeds)} seeds; best {self.ordered[-1]:.2f} %\n')
        print('| method | true accuracy, % | rank, % | worst rank | entropy at the end, nats | s |')
        print('|---|---|---|---|---|---|')
        for name, settings in (
            ('this search: mean log-likelihood, baseline', OURS),
            ('summed log-likelihood, with baseline', PAPER),
            ('as printed: summed log-likelihood, no baseline', {**PAPER, 'baseline': False}),
            ('mean log-likelihood, no baseline', {**OURS, 'baseline': False}),
            ('fixed K = 8', {**OURS, 'num_samples': 8}),
            ('fixed K = 4', {**OURS, 'num_samples': 4}),
            ('fixed K = 2', {**OURS, 'num_samples': 2}),
        ):
            start = time.perf_counter()
            found = [search(self.rows, self.space, s, self.evaluations, **settings) for s in self.seeds]
            entropy = statistics.mean(float(f.distribution.entropy().detach()) for f in found)
            seconds = (time.perf_counter() - start) / len(found)
            self.line(name, [f.distribution.most_probable() for f in found], f'{entropy:.2f}', f'{seconds:.2f}')
        for name, strategy in (('random search', 'random'), ('regularised evolution', 'evolution')):
            start = time.perf_counter()
            found = [baseline(self.rows, self.space, s, self.evaluations, strategy) for s in self.seeds]
            self.line(name, found, '-', f'{(time.perf_counter() - start) / len(found):.2f}')

    def lengths(self) -> None:
        """Learning rates of alpha in short searches, and log-likelihoods that are sums or means."""
        rates = (0.01, 0.02, 0.05, 0.1, 0.2)
        print('\nRank, % (entropy at the end, nats) by number of steps and learning rate of alpha\n')
        print('| steps | temperature |', ' | '.join(f'{rate:g}' for rate in rates), '|')
        print('|---|---|' + '---|' * len(rates))
        for steps, temperature in itertools.product((50, 115, 250), (1, IMAGES)):
            cells = []
            for rate in rates:
                settings = {**PAPER, 'alpha_lr': rate, 'temperature': temperature}
                found = [search(self.rows, self.space, s, steps=steps, **settings) for s in self.seeds]
                rank = statistics.mean(self.rank(f.distribution.most_probable()) for f in found)
                entropy = statistics.mean(float(f.distribution.entropy().detach()) for f in found)
                cells.append(f'{rank:.1f} ({entropy:.1f})')
            print(f'| {steps} | {temperature} |', ' | '.join(cells), '|', flush=True)

    def sampling(self, steps: int = 400, every: int = 10) -> None:
        """Adaptive and fixed K: at equal steps, and how much each needs until it is as good as the others."""
        print(f'\nSampling at the same number of steps ({steps}), K = 8 at the start\n')
        print('| sampling | true accuracy, % | rank, % | worst rank | samples | s |')
        print('|---|---|---|---|---|---|')
        courses = {}
        for name, settings in (
            ('adaptive, lambda 0.92', {'lam': 0.92}),
            ('fixed, K = 8', {'num_samples': 8}),
            ('fixed, K = 4', {'num_samples': 4}),
        ):
            start = time.perf_counter()
            found, courses[name] = [], []
            for seed in self.seeds:
                course = []

                def look(running, _, course=course) -> None:
                    if running.step % every == every - 1:
                        course.append((running.num_samples, self.rank(running.distribution.most_probable())))

                settings = {**OURS, 'alpha_lr': 0.05, **settings}
                found.append(search(self.rows, self.space, seed, steps=steps, on_step=look, **settings))
                courses[name].append(course)
            samples = statistics.mean(f.evaluator.evaluated for f in found)
            seconds = (time.perf_counter() - start) / len(found)
            self.line(name, [f.distribution.most_probable() for f in found], f'{samples:.0f}', f'{seconds:.2f}')
        goals = (90, 95, 99, 99.5)
        print('\nSamples (and steps) until the mean rank over the seeds stays above\n')
        print('| sampling |', ' | '.join(f'{g} %' for g in goals), '|')
        print('|---|' + '---|' * len(goals))
        for name, runs in courses.items():
            means = [tuple(map(statistics.mean, zip(*at))) for at in zip(*runs)]
            cells = []
            for goal in goals:
                below = [i for i, (_, rank) in enumerate(means) if rank < goal]
                first = below[-1] + 1 if below else 0
                cells.append(f'{means[first][0]:.0f} ({(first + 1) * every})' if first < len(means) else 'never')
            print('|', ' | '.join([name, *cells]), '|', flush=True)

    def coarse_to_fine(self) -> None:
        """Forms of the distribution, where groups have two variables."""
        print('\nCoarse to fine: pairs of layers as groups of two variables\n')
        print('| distribution | true accuracy, % | rank, % | worst rank |')
        print('|---|---|---|---|')
        for name, settings in (
            ('factorised', {}),
            ('joint', {'joint_epoch': 0}),
            # K is about 8: half of the evaluations
            ('mixed: joint after half of the evaluations', {'joint_epoch': 1, 'steps_per_epoch': 125, 'epochs': 100}),
        ):
            settings = {**OURS, **settings}
            found = [search(self.rows, self.pairs, s, self.evaluations, **settings) for s in self.seeds]
            self.line(name, [f.distribution.most_probable() for f in found])

    def targets(self) -> None:
        """With a budget, at the quartiles of the table's multiply-adds."""
        flops, cost = sorted(r['flops'] for r in self.rows.values()), macro_cost(self.rows)
        for (form, beta, temperature), quantile in itertools.product(FORMS, (0.25, 0.5, 0.75)):
            target = flops[int(len(flops) * quantile)]
            best = max(r['mean_acc'] for r in self.rows.values() if r['flops'] <= target)
            settings = settings_for(form, target, beta, temperature)
            found = [
                search(self.rows, self.space, s, self.evaluations, costs=[cost], fixed=form == 'multiplier', **settings)
                for s in self.seeds
            ]
            results = [f.result() for f in found]
            row = {
                'target': target, 'quantile': quantile, 'form': form, 'beta': beta, 'temperature': temperature,
                'alpha_lr': settings['alpha_lr'],
                'mode': [round(self.table.cost(f.distribution.most_probable()) / target, 4) for f in found],
                'decoded': [round(self.table.cost(a) / target, 4) for a in results],
                'below_best': [round(best - self.table.accuracy(a), 4) for a in results],
                'evaluations': statistics.mean(f.evaluator.evaluated for f in found),
            }
            show_targets([row], header=(form, quantile) == (FORMS[0][0], 0.25))
            known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {'targets': {}}
            known['targets'][f'{quantile} {form} {beta:g}'] = row
            RESULTS.write_text(json.dumps({'targets': dict(sorted(known['targets'].items()))}, indent=1) + '\n')

    def finalists(self, images: int = 25_000) -> None:
        """The best of the most probable architectures, each measured on so many images."""
        counts = (1, 4, 8, 16)
        flops = sorted(r['flops'] for r in self.rows.values())
        print('\nFinalists: points below the best feasible architecture, mean (worst)\n')
        print('| evaluations | target |', ' | '.join(map(str, counts)), '|')
        print('|---|---|' + '---|' * len(counts))
        for evaluations, quantile in itertools.product((300, 1000, 2000), (None, 0.5)):
            target = flops[int(len(flops) * quantile)] if quantile else None
            budget = {'target': target, 'beta': 0.3, 'cost_form': 'expected'} if target else {}
            best = max(r['mean_acc'] for r in self.rows.values() if target is None or r['flops'] <= target)
            gaps: list[list[float]] = [[] for _ in counts]
            for seed in self.seeds:
                found = search(self.rows, self.space, seed, evaluations, **OURS, **budget).finalists(max(counts))
                accuracies = [self.table.accuracy(a) for a in found]
                right = measured(accuracies, images, seed)
                for count, own in zip(counts, gaps):
                    own.append(best - accuracies[int(right[:count].argmax())])
            cells = [f'{statistics.mean(own):.2f} ({max(own):.2f})' for own in gaps]
            shown = f'{target / 1e6:.1f} M' if target else 'none'
            print('|', ' | '.join([str(evaluations), shown, *cells]), '|', flush=True)

    def quartiles(self, images: int = 25_000) -> None:
        """Finalists at the quartiles, and what measuring all architectures within the budget would give."""
        counts, cost = (1, 8, 16, 32), macro_cost(self.rows)
        flops = sorted(r['flops'] for r in self.rows.values())
        print('\nPoints below the best feasible architecture, mean: by number of finalists, and of all in the window\n')
        print('| target |', ' | '.join(map(str, counts)), '| all |')
        print('|---|' + '---|' * (len(counts) + 1))
        for quantile in (0.25, 0.5, 0.75):
            target = flops[int(len(flops) * quantile)]
            best = max(r['mean_acc'] for r in self.rows.values() if r['flops'] <= target)
            inside = [r['mean_acc'] for r in self.rows.values() if 0.98 * target <= r['flops'] <= target]
            gaps: list[list[float]] = [[] for _ in (*counts, 0)]
            for seed in self.seeds:
                settings = settings_for('multiplier', target)
                running = search(self.rows, self.space, seed, self.evaluations, costs=[cost], fixed=True, **settings)
                found = [self.table.accuracy(a) for a in running.finalists(max(counts))]
                right = measured(found, images, seed)
                for count, own in zip(counts, gaps):
                    own.append(best - found[int(right[:count].argmax())])
                gaps[-1].append(best - inside[int(measured(inside, images, seed).argmax())])
            cells = [f'{statistics.mean(own):.2f}' for own in gaps]
            cells = [f'{target / 1e6:.1f} M', *cells[:-1], f'{cells[-1]} ({len(inside)})']
            print('|', ' | '.join(cells), '|', flush=True)


def show_targets(rows: list[dict], header: bool = True) -> None:
    """The table with targets of docs/results.md."""
    if header:
        print('| target | cost | beta | mode: cost / target | decoded: cost / target | below the best feasible, points '
              '| worst |')
        print('|---|---|---|---|---|---|---|')
    for row in rows:
        name = f'{row["target"] / 1e6:.1f} M ({row["quantile"]:.0%} of the space)'
        beta = 'found' if row['form'] == 'multiplier' else f'{row["beta"]:g}'
        print(
            f'| {name} | {row["form"]} | {beta} | {spread(row["mode"])} | {spread(row["decoded"])} '
            f'| {spread(row["below_best"])} | {max(row["below_best"]):.2f} |', flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('what', nargs='*', default=TABLES, help=f'of {", ".join(TABLES)}, or show; all without')
    parser.add_argument('--table', type=Path, default=TABLE)
    parser.add_argument('--seeds', type=int, default=24)
    parser.add_argument('--evaluations', type=int, default=2000)
    args = parser.parse_args()
    if args.what == ['show']:
        show_targets(list(json.loads(RESULTS.read_text())['targets'].values()))
        return
    torch.set_num_threads(1)
    benchmark = Benchmark(json.loads(args.table.read_text()), args.seeds, args.evaluations)
    for what in args.what:
        getattr(benchmark, what)()


if __name__ == '__main__':
    main()
