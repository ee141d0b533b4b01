"""The search on a second table, which no setting was chosen on: NAS-Bench-Graph, 26,206 graph neural networks.

https://github.com/THUMNLab/NAS-Bench-Graph (Qin et al., NeurIPS 2022, Apache-2.0); `pip install nas-bench-graph`, whose
files are pickles. An architecture is one of nine wirings of four layers, with one of nine operations in each: 59,049
strings, many of which are the same network. Everything else is as in `tabular.py`: the settings, and evaluations that
are as noisy as the outcome on a batch of 128 images.

    python benchmarks/search/graph_table.py cora computers arxiv
"""
import argparse
import itertools

import torch
from tabular import OURS, PAPER, Benchmark, baseline, search

from fpnas_timm.spaces import SearchSpace

OPERATIONS = WIRINGS = 9
SPACE = SearchSpace('nas-bench-graph', (
    {'wiring': tuple(range(WIRINGS))}, *({'op': tuple(range(OPERATIONS))} for _ in range(4)),
))


def read(dataset: str) -> dict[str, dict[str, float]]:
    """Rows as in `tabular.py`, by string of choices: test accuracy in %, the least for one that is not in the table.

    Their cost is 0: there is no budget here.
    """
    from nas_bench_graph import Arch, gnn_list, light_read, link_list

    table, rows = light_read(dataset), {}
    least = min(row['perf'] for row in table.values())
    for choices in itertools.product(range(WIRINGS), *[range(OPERATIONS)] * 4):
        arch = Arch(link_list[choices[0]], [gnn_list[i] for i in choices[1:]])
        row = table.get(arch.valid_hash())
        rows[''.join(map(str, choices))] = {'flops': 0, 'mean_acc': 100 * (least if row is None else row['perf'])}
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('datasets', nargs='+', help='such as cora, computers, arxiv')
    parser.add_argument('--seeds', type=int, default=24)
    parser.add_argument('--evaluations', type=int, default=2000)
    args = parser.parse_args()
    torch.set_num_threads(1)
    for dataset in args.datasets:
        benchmark = Benchmark(read(dataset), args.seeds, args.evaluations)
        print(f'\n{dataset}: {args.evaluations} evaluations, {args.seeds} seeds; best {benchmark.ordered[-1]:.2f} %\n')
        print('| method | true accuracy, % | rank, % | worst rank | evaluations |\n|---|---|---|---|---|')
        for name, settings in (
            ('this search', OURS), ('as printed', PAPER), ('fixed K = 8', {**OURS, 'num_samples': 8}),
        ):
            found = [search(benchmark.rows, SPACE, s, args.evaluations, **settings) for s in benchmark.seeds]
            evaluated = max(f.evaluator.evaluated for f in found)
            benchmark.line(name, [f.distribution.most_probable() for f in found], f'{evaluated}')
        for name in ('random', 'evolution'):
            results = [baseline(benchmark.rows, SPACE, s, args.evaluations, name) for s in benchmark.seeds]
            benchmark.line(name, results, f'{args.evaluations}')


if __name__ == '__main__':
    main()
