"""Tables, a picture and small JSON files from the file of results."""
import json
import math
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .problem import RECIPE, TARGET, macs_of, random_archs, results

IMAGES = 45_000  # of a training's epoch


def trained(out: Path) -> dict[str, list[dict[str, Any]]]:
    """The trainings by name, a row a seed."""
    by_name: dict[str, list[dict[str, Any]]] = {}
    for row in sorted(results(out, 'trained'), key=lambda row: (row['name'], row['seed'])):
        by_name.setdefault(row['name'], []).append(row)
    return by_name


def mean_of(rows: list[dict[str, Any]], key: str = 'test') -> float:
    return statistics.mean(row[key] for row in rows)


def expected_best(values: list[float], count: float) -> float:
    """The expected maximum of `count` of the values, drawn without replacement; linear between whole numbers."""
    ordered, total = sorted(values), len(values)

    def whole(n: int) -> float:
        ways = math.comb(total, n)
        return sum(v * math.comb(i, n - 1) for i, v in enumerate(ordered)) / ways

    low = min(total, max(1, math.floor(count)))
    high = min(total, low + 1)
    return whole(low) + (count - low) * (whole(high) - whole(low)) if high > low else whole(low)


def in_trainings(row: dict[str, Any]) -> float:
    """The cost of a search in trainings of a network of the target's size, by multiply-adds."""
    return row['spent_macs'] / (3 * TARGET * RECIPE.batch * RECIPE.steps(IMAGES))


def kendall(first: list[float], second: list[float]) -> float:
    from scipy.stats import kendalltau

    return float(kendalltau(first, second).statistic)


def report(out: Path, folder: Path, picture: Path) -> None:
    """Print the tables; write each as a JSON file into `folder`, and the picture.

    Rows of the files in `folder` that `out` has no results for stay as they are, and are named: so a few new results
    can be added to those of other machines.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tables = {}
    for name, make, key, order in TABLES:
        file = folder / f'cifar_{name}.json'
        rows = make(out)
        known = json.loads(file.read_text()) if file.exists() else []
        kept = [row for row in known if _key(row, key) not in {_key(own, key) for own in rows}]
        if kept:
            print(f'{file}: kept, not in {out}: {", ".join(_key(row, key) for row in kept)}')
        rows = tables[name] = sorted([*kept, *rows], key=order)
        if rows:
            print(f'\n{name}\n')
            show(rows)
            file.write_text('[\n' + ',\n'.join(map(json.dumps, rows)) + '\n]\n')
    summary(tables['networks'], tables['searches'])
    if tables['networks']:
        draw(tables['networks'], picture)


def _key(row: dict[str, Any], columns: tuple[str, ...]) -> str:
    return ' '.join(row[column] for column in columns)


def show(rows: list[dict[str, Any]]) -> None:
    """Rows as a Markdown table; strings of architectures are left out."""
    keys = [k for k in rows[0] if k not in ('arch', 'group')]
    print('|', ' | '.join(keys), '|')
    print('|' + '---|' * len(keys))
    for row in rows:
        cells = [' '.join(f'{v:.2f}' for v in c) if isinstance(c, list) else str(c) for c in (row[k] for k in keys)]
        print('|', ' | '.join(cells), '|')


def networks(out: Path) -> list[dict[str, Any]]:
    """Every trained network."""
    rows = [
        {
            'name': name, 'group': rows[0]['group'], 'M multiply-adds': round(rows[0]['macs'] / 1e6, 3),
            'K params': round(rows[0]['params'] / 1e3), 'seeds': len(rows),
            'test top-1, %': [row['test'] for row in rows], 'mean': round(mean_of(rows), 2),
            'held out, mean': round(mean_of(rows, 'held'), 2), 'arch': rows[0].get('arch'),
        }
        for name, rows in trained(out).items()
    ]
    return rows


def search_table(out: Path) -> list[dict[str, Any]]:
    """A row a kind of search: means over its seeds."""
    by_name: dict[str, list[dict[str, Any]]] = {}
    for row in results(out, 'search'):
        by_name.setdefault(row['name'], []).append(row)
    accuracies = trained(out)
    table = []
    for name, rows in by_name.items():
        top1 = [mean_of(accuracies[key]) for row in rows if (key := f'{name}-s{row["seed"]}') in accuracies]
        table.append({
            'search': name, 'seeds': len(rows), 'finished': sum(row['finished'] for row in rows),
            'results, mean test top-1, %': top1, 'mean': round(statistics.mean(top1), 2) if top1 else None,
            'mode: multiply-adds / target': [row['mode_macs'] / TARGET for row in rows],
            'samples': round(mean_of(rows, 'samples')), 'seconds': round(mean_of(rows, 'seconds')),
            'cost in trainings': round(statistics.mean(map(in_trainings, rows)), 2),
        })
    return table


def ranking_table(out: Path) -> list[dict[str, Any]]:
    """A row a setting and way of scoring: Kendall's tau with the trained accuracies, after each third."""
    accuracies = trained(out)
    truth = {rows[0]['arch']: mean_of(rows) for name, rows in accuracies.items() if name.startswith('random-')}
    table: dict[tuple[str, str, str], dict[str, Any]] = {}
    for row in results(out, 'ranking'):
        known = [i for i, arch in enumerate(row['archs']) if arch in truth]
        if len(known) < 5:
            continue
        for how, scores in row['scores'].items():
            for measure, values in scores.items():
                line = table.setdefault((row['name'], how, measure), {
                    'setting': row['name'], 'scored with': how, 'measure': measure, 'networks': len(known), 'tau': {},
                })
                tau = kendall([values[i] for i in known], [truth[row['archs'][i]] for i in known])
                line['tau'][row['part']] = round(tau, 3)
                line.update({'passes': row['passes'], 'seconds': row['seconds'],
                             'mean score': round(statistics.mean(values), 3)})
    return list(table.values())


# file, rows, the columns that name a row, the order of the rows
TABLES: list[tuple[str, Callable[[Path], list[dict[str, Any]]], tuple[str, ...], Callable[[dict[str, Any]], float]]] = [
    ('networks', networks, ('name',), lambda row: -row['mean']),
    ('searches', search_table, ('search',), lambda row: 0.0),
    ('ranking', ranking_table, ('setting', 'scored with', 'measure'), lambda row: -max(row['tau'].values())),
]


def summary(networks: list[dict[str, Any]], searches: list[dict[str, Any]]) -> None:
    """The sentences that the aims are about."""
    chance = [row['mean'] for row in networks if row['group'] == 'random']
    if not chance:
        return
    print(f'\n{len(chance)} random architectures: best {max(chance):.2f}, mean {statistics.mean(chance):.2f}, '
          f'standard deviation {statistics.stdev(chance) if chance[1:] else 0:.2f}')
    sizes = [macs_of(a) / TARGET for a in random_archs()]
    print(f'their multiply-adds: {min(sizes):.3f} to {max(sizes):.3f} of the target')
    for row in searches:
        means, cost = row['results, mean test top-1, %'], row['cost in trainings']
        if not means:
            continue
        print(
            f'{row["search"]}: mean {statistics.mean(means):.2f} of {len(means)} ({min(means):.2f} to '
            f'{max(means):.2f}); {statistics.mean(means) - max(chance):+.2f} against the best of {len(chance)}, '
            f'{statistics.mean(means) - statistics.mean(chance):+.2f} against their mean; costs {cost:.2f} trainings; '
            f'random search for that price and the training of its result: {expected_best(chance, 1 + cost):.2f}'
        )


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """One dot a network: random architectures, peers, and what each kind of search found."""
    from matplotlib.figure import Figure

    def kind(row: dict[str, Any]) -> str:
        return row['group'] if row['group'] != 'search' else row['name'].rpartition('-s')[0]

    kinds = sorted({kind(row) for row in rows}, key=lambda k: -max(r['mean'] for r in rows if kind(r) == k))
    figure = Figure(figsize=(7, 0.9 + 0.34 * len(kinds)), layout='constrained')
    axes = figure.subplots()
    for at, name in enumerate(reversed(kinds)):
        color = {'random': '#999999', 'peer': '#D55E00'}.get(name, '#0072B2')
        means = [row['mean'] for row in rows if kind(row) == name]
        axes.plot(means, [at] * len(means), 'o', color=color, alpha=0.6)
        axes.plot([statistics.mean(means)] * 2, [at - 0.35, at + 0.35], color=color, linewidth=2)
        for row in rows:
            if name == 'peer' and kind(row) == name:
                axes.annotate(row['name'], (row['mean'], at), (0, 6), textcoords='offset points', fontsize=7,
                              ha='center')
    axes.set_yticks(range(len(kinds)), list(reversed(kinds)))
    axes.set_xlabel('test top-1 after training from scratch, %; one dot a network, mean of its seeds')
    axes.grid(alpha=0.25, axis='x')
    figure.savefig(path, dpi=110)
