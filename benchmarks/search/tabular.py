"""The search on a table of measured accuracies, beside random search and regularised evolution.

NAS-Bench-Macro (6,561 networks trained on CIFAR-10, https://github.com/xiusu/NAS-Bench-Macro, Apache-2.0): 8 layers
with 3 choices each. What an evaluation tells is as noisy as in a real search: the outcome on one batch of 128 images,
the same images for all architectures of a step. Every method gets the same number of evaluated architectures.

    python benchmarks/search/tabular.py --table ../shared/data/nas-bench-macro_cifar10.json
"""

import argparse
import bisect
import itertools
import json
import math
import random
import statistics
import time
from collections import deque
from pathlib import Path

import torch

from fpnas_timm.search.loop import Search, SearchConfig
from fpnas_timm.spaces import SearchSpace

IMAGES = 128
SHARED = 0.5  # share of an image's difficulty that is the same for all architectures
RIGHT, WRONG = math.log(0.97), math.log(0.1)  # log-probability of the right class where the network is right or wrong


class Table:
    """The evaluator: noisy log-likelihoods from the measured accuracies."""

    steps_per_epoch = 1

    def __init__(self, rows: dict, seed: int) -> None:
        self.rows = rows
        self.generator = torch.Generator().manual_seed(seed)
        self.evaluated = 0

    @staticmethod
    def key(arch) -> str:
        return ''.join(str(k) for group in arch for k in group)

    def accuracy(self, arch) -> float:
        """True accuracy in %."""
        return self.rows[self.key(arch)]['mean_acc']

    def cost(self, arch) -> int:
        return self.rows[self.key(arch)]['flops']

    def log_likelihoods(self, archs, alpha=None) -> torch.Tensor:
        """Each image is right with the architecture's accuracy, correlated between architectures."""
        self.evaluated += len(archs)
        common, own = (
            torch.randn(n, IMAGES, generator=self.generator, dtype=torch.float64) for n in (1, len(archs))
        )
        accuracy = torch.tensor([[self.accuracy(a) / 100] for a in archs], dtype=torch.float64)
        right = math.sqrt(SHARED) * common + math.sqrt(1 - SHARED) * own < torch.special.ndtri(accuracy)
        return (right * RIGHT + ~right * WRONG).sum(1)

    def start_epoch(self, epoch: int, step: int) -> None:
        """There is nothing to get ready."""

    def train_step(self, archs) -> float:
        """There are no weights."""
        return 0.0

    def state_dict(self) -> dict:
        return {}


class Budget:
    """Stops the loop once so many architectures have been evaluated, and looks at the mode on the way."""

    def __init__(self, table: Table, evaluations: int | None, steps: int | None = None) -> None:
        self.table, self.evaluations, self.steps, self.taken = table, evaluations, steps, 0

    def __bool__(self) -> bool:
        self.taken += 1
        return self.taken == self.steps or (self.evaluations is not None and self.table.evaluated >= self.evaluations)


def search(rows, space, seed, evaluations=None, steps=None, **settings):
    table = Table(rows, seed)
    table.steps_per_epoch = 10**9  # one endless epoch: the table knows none
    found = Search(space, table, SearchConfig(epochs=1, **settings), seed)
    found.run(stop=Budget(table, evaluations, steps))
    return found


def random_search(rows, space, seed, evaluations) -> tuple:
    """The best of `evaluations` uniform draws, each on a batch of its own."""
    table, rng = Table(rows, seed), random.Random(seed)
    archs = [space.sample(rng) for _ in range(evaluations)]
    return max(archs, key=lambda a: table.log_likelihoods([a]).item())


def regularised_evolution(rows, space, seed, evaluations, population=100, sample=10) -> tuple:
    """Real et al. 2019 (arXiv:1802.01548): mutate the best of a random sample, drop the oldest."""
    table, rng = Table(rows, seed), random.Random(seed)

    def scored(arch):
        return table.log_likelihoods([arch]).item(), arch

    alive = deque(scored(space.sample(rng)) for _ in range(population))
    best = max(alive)
    while table.evaluated < evaluations:
        parent = max(rng.sample(list(alive), sample))[1]
        places = [(g, v) for g, group in enumerate(parent) for v in range(len(group))]
        g, v = rng.choice(places)
        size = len(list(space.groups[g].values())[v])
        value = rng.choice([k for k in range(size) if k != parent[g][v]])
        group = (*parent[g][:v], value, *parent[g][v + 1 :])
        alive.append(scored((*parent[:g], group, *parent[g + 1 :])))
        alive.popleft()
        best = max(best, alive[-1])
    return best[1]


def spread(values) -> str:
    return f'{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f}'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(__file__).parents[3] / 'shared' / 'data' / 'nas-bench-macro_cifar10.json'
    parser.add_argument('--table', type=Path, default=default)
    parser.add_argument('--seeds', type=int, default=24)
    parser.add_argument('--evaluations', type=int, default=2000)
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = json.loads(args.table.read_text())
    space = SearchSpace('nas-bench-macro', tuple({'op': (0, 1, 2)} for _ in range(8)))
    pairs = SearchSpace('pairs', tuple({'first': (0, 1, 2), 'second': (0, 1, 2)} for _ in range(4)))
    table = Table(rows, 0)
    ordered = sorted(r['mean_acc'] for r in rows.values())

    def rank(arch) -> float:
        return 100 * bisect.bisect_right(ordered, table.accuracy(arch)) / len(ordered)

    def line(name, results, *more) -> None:
        ranks = [rank(a) for a in results]
        accuracies = [table.accuracy(a) for a in results]
        print('|', ' | '.join([name, spread(accuracies), spread(ranks), f'{min(ranks):.1f}', *more]), '|', flush=True)

    seeds = range(args.seeds)
    ours = {'lam': 1.0, 'alpha_lr': 0.03, 'temperature': IMAGES}
    paper = {'lam': 1.0, 'alpha_lr': 0.03}
    print(f'{args.evaluations} evaluated architectures, {args.seeds} seeds; best of the table {ordered[-1]:.2f} %\n')
    print('| method | true accuracy, % | rank, % | worst rank | entropy at the end, nats | s |')
    print('|---|---|---|---|---|---|')
    for name, settings in (
        ('this search: mean log-likelihood, baseline', ours),
        ('as printed: summed log-likelihood, with baseline', paper),
        ('as printed: summed log-likelihood, no baseline', {**paper, 'baseline': False}),
        ('mean log-likelihood, no baseline', {**ours, 'baseline': False}),
        ('fixed K = 8', {**ours, 'num_samples': 8}),
        ('fixed K = 4', {**ours, 'num_samples': 4}),
        ('fixed K = 2', {**ours, 'num_samples': 2}),
    ):
        start = time.perf_counter()
        found = [search(rows, space, s, args.evaluations, **settings) for s in seeds]
        entropy = statistics.mean(float(f.distribution.entropy().detach()) for f in found)
        seconds = (time.perf_counter() - start) / len(found)
        line(name, [f.distribution.most_probable() for f in found], f'{entropy:.2f}', f'{seconds:.2f}')
    for name, method in (('random search', random_search), ('regularised evolution', regularised_evolution)):
        start = time.perf_counter()
        found = [method(rows, space, s, args.evaluations) for s in seeds]
        line(name, found, '-', f'{(time.perf_counter() - start) / len(found):.2f}')

    print('\nSampling at the same number of steps (400), K = 8 at the start\n')
    print('| sampling | true accuracy, % | rank, % | worst rank | samples | s |')
    print('|---|---|---|---|---|---|')
    for name, settings in (
        ('adaptive, lambda 0.92', {'lam': 0.92}),
        ('fixed, K = 8', {'num_samples': 8}),
        ('fixed, K = 4', {'num_samples': 4}),
    ):
        start = time.perf_counter()
        found = [search(rows, space, s, steps=400, **{**ours, **settings, 'alpha_lr': 0.05}) for s in seeds]
        samples = statistics.mean(f.evaluator.evaluated for f in found)
        seconds = (time.perf_counter() - start) / len(found)
        line(name, [f.distribution.most_probable() for f in found], f'{samples:.0f}', f'{seconds:.2f}')

    print('\nCoarse to fine: pairs of layers as groups of two variables\n')
    print('| distribution | true accuracy, % | rank, % | worst rank |')
    print('|---|---|---|---|')
    for name, joint_at in (('factorised', None), ('joint', 0), ('mixed: joint after half of the evaluations', 1)):
        found = []
        for s in seeds:
            if joint_at == 1:
                table_ = Table(rows, s)
                table_.steps_per_epoch = 125  # K is about 8: half of the evaluations
                mixed = Search(pairs, table_, SearchConfig(epochs=100, joint_epoch=1, **ours), s)
                mixed.run(stop=Budget(table_, args.evaluations))
                found.append(mixed)
            else:
                found.append(search(rows, pairs, s, args.evaluations, joint_epoch=joint_at, **ours))
        line(name, [f.distribution.most_probable() for f in found])

    print('\nWith a target: the most probable architecture, and the one decoded within 98 to 100 % of the target\n')
    print('| target | cost | beta | mode: cost / target | decoded | points below the best feasible | worst |')
    print('|---|---|---|---|---|---|---|')
    flops = sorted(r['flops'] for r in rows.values())
    for quantile, (form, beta, temperature) in itertools.product(
        (0.25, 0.5, 0.75),
        (('relative', 0.3, 1), ('relative', 1.0, 1), ('absolute', 1.0, IMAGES), ('absolute', 2.0, IMAGES),
         ('two-sided', 1.0, IMAGES)),
    ):
        target = flops[int(len(flops) * quantile)]
        best = max(r['mean_acc'] for r in rows.values() if r['flops'] <= target)
        settings = {**ours, 'temperature': temperature, 'target': target, 'beta': beta, 'cost_form': form}
        found = [search(rows, space, s, args.evaluations, **settings) for s in seeds]
        modes = [table.cost(f.distribution.most_probable()) / target for f in found]
        results = [f.result() for f in found]
        gaps = [best - table.accuracy(a) for a in results]
        costs = [table.cost(a) / target for a in results]
        print(
            f'| {target / 1e6:.1f} M ({quantile:.0%} of the space) | {form} | {beta:g} | {spread(modes)} '
            f'| {spread(costs)} | {spread(gaps)} | {max(gaps):.2f} |', flush=True,
        )


if __name__ == '__main__':
    main()
