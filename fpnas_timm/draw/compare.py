"""A page that compares several searches: results, courses and networks side by side, and how their settings differ."""
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

from .charts import accuracy_chart, overlaid_charts
from .markup import Cell, code, details, page, table
from .report import networks, option
from .searched import Searched, standard_error
from .svg import escape, finite

__all__ = ['compare_page', 'short_names']

SKIPPED = {'output', 'log_interval', 'log_tensorboard', 'log_wandb', 'wandb_project', 'wandb_tags', 'wandb_resume_id'}


def compare_page(runs: Sequence[Searched]) -> str:
    """The file, as text; of two searches or more."""
    names = short_names([run.folder for run in runs])
    done = sum(run.result is not None for run in runs)
    so_far = '; of the others, the most probable or best networks so far' if done < len(runs) else ''
    intro = f'<p class="faint">{len(runs)} searches, {done} of them finished{so_far}</p>{_results(runs, names)}'
    strings = ''.join(
        f'<h3>{escape(name)}</h3>{code(str(run.arch), f"the string of {name}")}'
        for run, name in zip(runs, names) if run.arch is not None
    )
    chart = accuracy_chart(runs, names)
    return page('Searches compared', intro, {
        'Differences': _differences(runs, names),
        'Course': overlaid_charts(runs, names),
        'Accuracy and cost': f'<div class="charts wide">{chart}</div>' if chart else '',
        'Networks': networks(list(runs), names),
        'Strings': strings,
    })


def short_names(folders: Sequence[str]) -> list[str]:
    """The last parts of the paths, as few as tell them apart.

    >>> short_names(['out/a/seed0', 'out/b/seed0']), short_names(['out/a', 'out/b'])
    (['a/seed0', 'b/seed0'], ['a', 'b'])
    """
    paths = [PurePath(folder).parts for folder in folders]
    for length in range(1, max(map(len, paths)) + 1):
        names = ['/'.join(parts[-length:]) for parts in paths]
        if len(set(names)) == len(names):
            return names
    return list(folders)


def _results(runs: Sequence[Searched], names: Sequence[str]) -> str:
    rows = []
    for run, name in zip(runs, names):
        result, last = run.result or {}, run.history[-1]
        macs = run.macs
        top1, images = result.get('supernet_top1'), result.get('supernet_top1_images')
        accuracy = '-'
        if finite(top1) and type(images) is int:
            accuracy = f'{top1:.2f}\u00a0\u00b1\u00a0{standard_error(top1, images):.2f}'
        best = [f['top1'] for f in run.finalists if finite(f.get('top1'))]
        rows.append([
            name, run.strategy, run.progress, _number(macs),
            f'{100 * macs / run.target:.1f} %' if run.target and finite(macs) else '-', _number(result.get('params')),
            accuracy, *([f'{max(best):.2f}' if best else '-'] if any(r.finalists for r in runs) else []),
            f'{last["entropy"]:.2f}' if finite(last.get('entropy')) else '-', _number(last.get('num_samples')),
            f'{sum(row["seconds"] for row in run.history if finite(row.get("seconds"))):,.0f}',
        ])
    head = [
        'search', 'strategy', 'state', 'multiply-adds', 'of the target', 'parameters', 'accuracy, inherited weights, %',
        *(['best finalist, %'] if any(r.finalists for r in runs) else []), 'entropy, nats', 'sampled', 'seconds',
    ]
    return table(head, rows, 'results')


def _number(value: Any) -> str:
    return f'{value:,}' if finite(value) else '-'


def _differences(runs: Sequence[Searched], names: Sequence[str]) -> str:
    """Settings, data and spaces: what differs, with every value that is not the first one's marked; then the rest."""
    lines = {option(k): [run.settings.get(k, run.defaults.get(k)) for run in runs]
             for k in dict.fromkeys(k for run in runs for k in run.settings) if k not in SKIPPED}
    lines['search space'] = [_space_name(run, runs) for run in runs]
    lines['images'] = [run.record.get('images') for run in runs]
    lines['classes'] = [len(run.classes) for run in runs]
    lines['images for the weights, for alpha'] = [_halves(run) for run in runs]
    lines['processes'] = [run.record.get('processes') for run in runs]
    different = {k: v for k, v in lines.items() if any(value != v[0] for value in v)}
    rows = [[k, *(_marked(value, value != v[0]) for value in v)] for k, v in different.items()]
    same = [[k, _text(v[0])] for k, v in lines.items() if k not in different]
    shown = table(['', *names], rows, 'differences') if rows else '<p>Settings and data are the same.</p>'
    return shown + details('the same in all', table(['', 'all'], same, 'what is the same'))


def _space_name(run: Searched, runs: Sequence[Searched]) -> str:
    """The name of its space, with a number if other searches have other spaces of this name."""
    alike: list[Any] = []
    for other in runs:
        if other.space.name == run.space.name and other.space not in alike:
            alike.append(other.space)
    return run.space.name if len(alike) == 1 else f'{run.space.name} ({alike.index(run.space) + 1})'


def _halves(run: Searched) -> str:
    return ', '.join(f'{len(half):,}' if isinstance(half, list) else '?' for half in (
        run.record.get('train'), run.record.get('val')))


def _marked(value: Any, differs: bool) -> Cell:
    return Cell(f'<mark>{escape(_text(value))}</mark>' if differs else escape(_text(value)))


def _text(value: Any) -> str:
    if value is None or value in ('', []):
        return 'none'
    return ' '.join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
