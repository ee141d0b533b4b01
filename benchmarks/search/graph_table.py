"""The search on a second table, which no setting was chosen on: NAS-Bench-Graph, 26,206 graph neural networks.

https://github.com/THUMNLab/NAS-Bench-Graph (Qin et al., NeurIPS 2022, Apache-2.0); `pip install nas-bench-graph`, whose
files are pickles. An architecture is one of nine wirings of four layers, with one of nine operations in each: 59,049
strings, many of which are the same network. Everything else is that of `tabular.py methods`.

    python benchmarks/search/graph_table.py cora computers arxiv
    python benchmarks/search/graph_table.py show    # the table of the docs, from benchmarks/results/graph_table.json
"""
import argparse
import itertools
import json
import statistics
from pathlib import Path

import torch
from tabular import Benchmark, spread

from fpnas_timm.spaces import SearchSpace

RESULTS = Path(__file__).parents[1] / 'results' / 'graph_table.json'
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


def show() -> None:
    """Ranks, %: mean and standard deviation over the seeds, and the worst."""
    found = json.loads(RESULTS.read_text())
    print('| method |', ' | '.join(found), '| mean |\n|---|' + '---|' * len(found) + '---:|')
    for method in next(iter(found.values())):
        ranks = [rows[method]['rank'] for rows in found.values()]
        cells = [f'{spread(own)} ({min(own):.0f})' for own in ranks]
        print('|', ' | '.join([method, *cells]), f'| {statistics.mean(map(statistics.mean, ranks)):.1f} |')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('datasets', nargs='+', help='such as cora, computers, arxiv; or show')
    parser.add_argument('--seeds', type=int, default=24)
    parser.add_argument('--evaluations', type=int, default=2000)
    args = parser.parse_args()
    if args.datasets == ['show']:
        show()
        return
    torch.set_num_threads(1)
    for dataset in args.datasets:
        print(f'\n{dataset}: ', end='')
        benchmark = Benchmark(read(dataset), args.seeds, args.evaluations, SPACE)
        benchmark.methods()
        known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        RESULTS.write_text(json.dumps({**known, dataset: benchmark.lines}) + '\n')


if __name__ == '__main__':
    main()
