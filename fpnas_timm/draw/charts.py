"""The charts of a report: the course of one search or of several, and accuracy against cost."""
import itertools
from collections.abc import Iterable, Sequence

from .markup import json_script, key
from .searched import Searched, standard_error
from .svg import Bar, Chart, Series, escape, finite, thinned

__all__ = ['accuracy_chart', 'course_charts', 'finalists_chart', 'overlaid_charts']

MILLION = 1e6
# Columns of the history with a chart of their own, or without one; any other number that changes gets one too.
KNOWN = {
    'epoch', 'seconds', 'num_samples', 'entropy', 'k', 'cost', 'most_probable_cost', 'best_cost', 'train_loss',
    'log_likelihood', 'score', 'best_score', 'mode_moved',
}
COSTS = {'macs': 'multiply-adds', 'params': 'parameters', 'latency': 'time'}
EXPECTED, MULTIPLIER = 'expected_', 'multiplier_'  # before the name of a budget's cost: what the cost form found


def course_charts(run: Searched) -> str:
    """The losses, entropy, K, multiply-adds, and whatever else the history has, over the epochs."""
    images, exact = run.images_per_step, run.column(f'{EXPECTED}macs', MILLION)
    likelihood = [(x, -y) for x, y in run.column('log_likelihood', images)]
    sampled = 'mean of the samples' if exact else 'expected (mean of the samples)' if run.has_marginals else 'mean'
    macs = [
        Series('expected', exact),
        Series(sampled, run.column('cost', MILLION), 2 if exact else 0, 2 if exact else 0),
        Series('most probable', run.column('most_probable_cost', MILLION), 1, 1),
        Series('best so far', run.column('best_cost', MILLION), 1, 1),
    ]
    level = (run.target / MILLION, 'target') if run.target else None
    params = (run.target_params / MILLION, 'target') if run.target_params else None
    latency = (run.target_latency, 'target') if run.target_latency else None
    charts = [
        ('loss', 'nats per image', [
            Series('training, images of the weights', run.column('train_loss')),
            Series('images of alpha', likelihood, 1, 1),
        ], None),
        ('score of the candidates', 'nats per image', [
            Series('best so far', run.column('best_score'), 1, 1), Series('mean of the round', run.column('score')),
        ], None),
        ('entropy of the distribution', 'nats', [Series('entropy', run.column('entropy'))], None),
        ('multiply-adds', 'millions', macs, level),
        ('K, architectures per step', 'K', [Series('K', run.column('k'))], None),
        ('expected parameters', 'millions', [Series('expected', run.column(f'{EXPECTED}params', MILLION))], params),
        ('expected time of a call', 'ms', [Series('expected', run.column(f'{EXPECTED}latency'))], latency),
        ('multiplier of the budget', 'nats per target', _multipliers(run), None),
    ]
    charts += [(name, name, [Series(name, run.column(name))], None) for name in _other_columns([run])]
    return _grid(
        _over_epochs(f'course-{i}', name, unit, series, run.epochs, line, _phases(run))
        for i, (name, unit, series, line) in enumerate(charts) if any(s.points for s in series)
    )


def _multipliers(run: Searched) -> list[Series]:
    """A line for the multiplier of each budget."""
    names = dict.fromkeys(k.removeprefix(MULTIPLIER) for row in run.history for k in row if k.startswith(MULTIPLIER))
    return [Series(COSTS.get(k, k), run.column(f'{MULTIPLIER}{k}'), i, i % 3) for i, k in enumerate(names)]


def overlaid_charts(runs: Sequence[Searched], names: Sequence[str]) -> str:
    """The same quantities of several searches in the same charts."""
    epochs = max(run.epochs for run in runs)
    columns = [
        ('training loss', 'nats per image', 'train_loss', 1.0), ('entropy of the distribution', 'nats', 'entropy', 1.0),
        ('expected multiply-adds', 'millions', 'cost', MILLION), ('K, architectures per step', 'K', 'k', 1.0),
        ('best score so far', 'nats per image', 'best_score', 1.0),
        ('expected parameters', 'millions', f'{EXPECTED}params', MILLION),
        ('expected time of a call', 'ms', f'{EXPECTED}latency', 1.0),
        *((f'multiplier of the budget of {name}', 'nats per target', f'{MULTIPLIER}{k}', 1.0)
          for k, name in COSTS.items()),
        *((name, name, name, 1.0) for name in _other_columns(runs)),
    ]
    charts = []
    targets = {run.target for run in runs}
    target = targets.pop() if len(targets) == 1 else None
    for i, (title, unit, column, scale) in enumerate(columns):
        exact = [run.column(f'{EXPECTED}macs', scale) if column == 'cost' else [] for run in runs]
        series = [Series(name, found or run.column(column, scale), j, j % 3)
                  for j, (run, name, found) in enumerate(zip(runs, names, exact))]
        level = (target / MILLION, 'target') if target and column == 'cost' else None
        if any(s.points for s in series):
            charts.append(_over_epochs(f'course-{i}', title, unit, series, epochs, level, [], named=True))
    return _grid(charts)


def _other_columns(runs: Sequence[Searched]) -> list[str]:
    """The names of the numbers in the histories that are not in `KNOWN` and change."""
    values: dict[str, set[float]] = {}
    for run in runs:
        for row in run.history:
            for name, value in row.items():
                if name not in KNOWN and not name.startswith((EXPECTED, MULTIPLIER)) and finite(value):
                    values.setdefault(name, set()).add(value)
    return [name for name, found in values.items() if len(found) > 1]


def _phases(run: Searched) -> list[tuple[float, str]]:
    return [
        (row['epoch'] + 0.5, str(row.get('phase'))) for before, row in itertools.pairwise(run.history)
        if row.get('phase') != before.get('phase')
    ]


def _grid(charts: Iterable[str]) -> str:
    return f'<div class="charts">{"".join(charts)}</div>'


def _over_epochs(
        name: str, title: str, unit: str, series: Sequence[Series], epochs: int, level: tuple[float, str] | None,
        phases: Sequence[tuple[float, str]], named: bool = False,
) -> str:
    """A chart; `named`: with a legend even if there is one line only."""
    shown = [s for s in series if s.points]
    values = [y for s in shown for _, y in s.points] + ([level[0]] if level else [])
    low, high = min(0.0, *values), max(0.0, *values)
    if high <= 0:  # scores: log-likelihoods, of which the differences count
        low, high = min(values) - 0.05 * (max(values) - min(values)), max(values)
    last = max(epochs, 2)
    says = '; '.join(f'{s.name} from {s.points[0][1]:.4g} to {s.points[-1][1]:.4g}' for s in shown)
    span = low, high + 0.05 * (high - low)
    chart = Chart(f'{title} over the epochs: {says}', (1, last), span, 'epochs', unit, whole_x=True)
    for x, phase in phases:
        chart.upright(x, phase, 'phase')
    if level:
        chart.level(*level)
    for s in shown:
        chart.line(s)
    data = {'first': 1, 'last': last, 'series': [[s.name, thinned(list(s.points), 400)] for s in shown]}
    legend = key([(s.name, s.color, s.dash) for s in shown]) if named or len(shown) > 1 else ''
    return (
        f'<figure><figcaption>{escape(title)}</figcaption>{chart.svg(name)}{legend}'
        f'<output class="readout" aria-hidden="true"></output>{json_script(name, data)}</figure>'
    )


def finalists_chart(run: Searched) -> str:
    """Accuracy with standard errors against multiply-adds; '' without finalists that have both."""
    chosen = (run.result or {}).get('arch')
    bars = []
    for i, f in enumerate(run.finalists, 1):
        if finite(f.get('macs')) and finite(f.get('top1')):
            error = f['top1_se'] if finite(f.get('top1_se')) else 0.0
            label = f'finalist {i}: {f["top1"]:.2f} % +- {error:.2f}, {f["macs"]:,} multiply-adds'
            best = f.get('arch') == chosen
            bars.append(Bar(f['macs'] / MILLION, f['top1'], error, label, int(best), best))
    return _accuracy_chart('the finalists: top-1 accuracy against multiply-adds', bars, run.target)


def accuracy_chart(runs: Sequence[Searched], names: Sequence[str]) -> str:
    """The results of several searches: accuracy with the supernet's weights against multiply-adds."""
    bars = []
    for i, (run, name) in enumerate(zip(runs, names)):
        top1, images, macs = ((run.result or {}).get(k) for k in ('supernet_top1', 'supernet_top1_images', 'macs'))
        if finite(top1) and finite(macs):
            error = standard_error(top1, images) if type(images) is int else 0.0
            label = f'{name}: {top1:.2f} % +- {error:.2f}, {macs:,} multiply-adds'
            bars.append(Bar(macs / MILLION, top1, error, label, i, True, name))
    return _accuracy_chart("accuracy with the supernet's weights against multiply-adds", bars, None)


def _accuracy_chart(title: str, bars: Sequence[Bar], target: float | None) -> str:
    if not bars:
        return ''
    xs = [b.x for b in bars] + ([target / MILLION] if target else [])
    low, high = min(b.y - b.error for b in bars), max(b.y + b.error for b in bars)
    room_x, room_y = (max(xs) - min(xs)) * 0.06 or 0.02 * max(xs), (high - low) * 0.08 or 0.5
    chart = Chart(
        f'{title}: {"; ".join(b.label for b in thinned(bars, 20))}', (min(xs) - room_x, max(xs) + room_x),
        (low - room_y, high + room_y), 'multiply-adds, millions', 'top-1, %',
    )
    if target:
        chart.upright(target / MILLION, 'target')
    chart.bars(bars)
    return f'<figure><figcaption>{escape(title)}</figcaption>{chart.svg()}</figure>'
