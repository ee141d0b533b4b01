"""`report.html`: everything about one search, running or finished, on one page."""
import shlex
from collections.abc import Mapping
from typing import Any

from ..spaces.budgets import shown_ms
from .boxes import arch_figure, average_figure, figures_svg, legend, uniform
from .charts import course_charts, finalists_chart
from .clouds import cloud_chart
from .heatmap import heatmap
from .markup import Cell, card, cards, code, details, page, table
from .searched import Searched, standard_error
from .svg import escape, finite

__all__ = ['networks', 'option', 'report_page']

# Options of the search that its training needs too, if they are not the default.
SHARED = ('dataset', 'train_split', 'class_map', 'img_extensions', 'input_img_mode', 'mean', 'std')
SHOWN_CLASSES = 20
FINALIST = {  # columns of the table of finalists, in this order; others follow
    'top1': 'top-1, %', 'macs': 'multiply-adds', 'params': 'parameters', 'log_prob': 'log-probability, nats',
    'latency': 'time, predicted, ms', 'log_likelihood': 'log-likelihood, nats per image',
    'inherited_top1': 'with inherited weights, %',
}


def report_page(run: Searched) -> str:
    """The file, as text."""
    when = f', {run.result["date"]}' if run.result and run.result.get('date') else ''
    so_far = 'most probable so far' if run.has_marginals else 'best so far'
    intro = (
        f'<p class="faint">{escape(run.folder)}: search in the space {escape(run.space.name)} '
        f'({run.space.num_archs:.1e} combinations of choices), strategy {escape(run.strategy)}, '
        f'{escape(run.progress + when)}</p>'
        f'{_numbers(run)}'
    )
    if run.arch is not None:
        what = 'architecture string' if run.result else so_far
        intro += f'<h2 class="small">{what}</h2>{code(str(run.arch), "the string")}'
    accuracy = _side_by_side(finalists_chart(run), cloud_chart(run))
    return page(f'Search {run.space.name}', intro, {
        'Course': course_charts(run) + details('numbers of every epoch', _history_table(run)),
        'Network': networks([run], ['the result' if run.result else so_far]),
        'Distribution': heatmap(run.space, run.history, run.arch) if run.has_marginals else '',
        'Finalists': _finalists(run),
        'Accuracy and cost': accuracy,
        'Go on': _go_on(run),
        'Settings and data': _data(run) + _settings(run),
    })


def _side_by_side(*figures: str) -> str:
    return f'<div class="charts wide">{"".join(figures)}</div>' if any(figures) else ''


def _numbers(run: Searched) -> str:
    last, result = run.history[-1], run.result or {}
    macs, shown = run.macs, []
    if finite(macs):
        shown.append(card('multiply-adds', f'{macs:,}', _of_target(macs, run.target) or 'no target'))
    if finite(result.get('params')):
        shown.append(card('parameters', f'{result["params"]:,}', _of_target(result['params'], run.target_params)))
    shown += _time(run)
    top1, images = result.get('supernet_top1'), result.get('supernet_top1_images')
    if finite(top1) and type(images) is int:
        error = standard_error(top1, images)
        shown.append(card('accuracy, inherited weights', f'{top1:.2f} %',
                          f'\u00b1 {error:.2f} (standard error), {images:,} images{" of alpha" * run.has_marginals}'))
    shown += _trained(run)
    if finite(last.get('entropy')):
        first = run.history[0]['entropy'] if finite(run.history[0].get('entropy')) else last['entropy']
        shown.append(card('entropy', f'{result.get("entropy", last["entropy"]):.2f} nats', f'{first:.2f} at first'))
    if finite(last.get('num_samples')):
        what = ('architectures sampled', 'for alpha') if run.has_marginals else ('architectures scored', '')
        shown.append(card(what[0], f'{last["num_samples"]:,}', what[1]))
    seconds = sum(row['seconds'] for row in run.history if finite(row.get('seconds')))
    final = f', final {_duration(result["final_seconds"])}' if finite(result.get('final_seconds')) else ''
    shown.append(card('time', _duration(seconds), f'{len(run.history)} epochs{final}'))
    return cards(shown)


def _trained(run: Searched) -> list[str]:
    """The accuracy of the result with the weights of `extract/`, if they were trained on after the search."""
    found = [f for f in run.finalists if f.get('arch') == (run.result or {}).get('arch')]
    if not found or not found[0].get('rounds') or not finite(found[0].get('top1')):
        return []
    top1, error = found[0]['top1'], found[0].get('top1_se')
    margin = f'\u00b1 {error:.2f} (standard error), ' if finite(error) else ''
    return [card('accuracy, trained weights', f'{top1:.2f} %', f'{margin}those of extract/')]


def _time(run: Searched) -> list[str]:
    """The time of the result: target, predicted, measured."""
    result = run.result or {}
    predicted, measured, now = (result.get(k) for k in ('latency', 'measured_latency', 'measured_now'))
    if not finite(predicted):
        return []
    target = f', target {shown_ms(run.target_latency)}' if run.target_latency else ''
    setting = str(result.get('latency_of') or '')
    if not finite(measured):
        why = f', not measured: {result.get("not_measured") or "not known why"}'
        return [card('time of a call, predicted', shown_ms(predicted), f'{setting}{target}{why}')]
    mood = f', by the clock {shown_ms(now)}' if finite(now) else ''
    return [card('time of a call, measured', shown_ms(measured),
                 f'predicted {shown_ms(predicted)}{target}, {setting}{mood}')]


def _of_target(value: float, target: float | None) -> str:
    return f'{100 * value / target:.1f} % of the target, {target:,.0f}' if target else ''


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f'{seconds:.0f} s'
    return f'{seconds / 60:.0f} min' if seconds < 7200 else f'{seconds / 3600:.1f} h'


def _history_table(run: Searched) -> str:
    names = [name for name, value in run.history[-1].items() if name != 'epoch' and (finite(value) or name == 'phase')]
    rows = [[row['epoch'] + 1, *(_cell(row.get(name)) for name in names)] for row in run.history]
    return table(['epoch', *names], rows, 'numbers of every epoch')


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f'{value:,.0f}' if value.is_integer() and abs(value) >= 1000 else f'{value:.6g}'
    if isinstance(value, int):
        return f'{value:,}'
    return '' if value is None else str(value)


def networks(runs: list[Searched], titles: list[str]) -> str:
    """Figure B.1 of the architectures, of the averages of their distributions, and of their spaces' averages."""
    archs = [run.arch for run in runs if run.arch is not None]
    figures = [arch_figure(run.arch, title) for run, title in zip(runs, titles) if run.arch is not None]
    for run, title in zip(runs, titles):
        if run.has_marginals:
            what = 'average of the learned distribution' + (f' of {title}' if len(runs) > 1 else '')
            figures.append(average_figure(run.space, run.history[-1]['marginals'], what))
    seen: list[Any] = []
    for run in runs:
        if run.space not in seen:
            seen.append(run.space)
            figures.append(average_figure(run.space, uniform(run.space), f'average of the space {run.space.name}'))
    boxes = ''.join(
        f'<figure><figcaption>{escape(figure.title)}</figcaption><div class="scroll" tabindex="0" role="region" '
        f'aria-label="{escape(figure.title)}">{svg}</div></figure>'
        for figure, svg in zip(figures, figures_svg(figures))
    )
    return (
        '<p>One box per block, as in Figure B.1 of the paper. Height: output channels; colour: depthwise kernel; '
        'hatching: non-linearity; number on top: splits; below: expansion; bars: between stages. In an average, '
        'heights and numbers are means, and the kernels share the box by their probabilities.</p>'
        f'{legend(archs, runs[0].space)}<div class="figures">{boxes}</div>'
    )


def _finalists(run: Searched) -> str:
    found = run.finalists
    if not found:
        return ''
    chosen = (run.result or {}).get('arch')
    columns = [k for k in dict.fromkeys([*FINALIST, *(k for f in found for k in f)]) if not k.endswith('_se')
               and any(finite(f.get(k)) for f in found)]
    same = {k: found[0].get(k) for k in ('images', 'rounds') if all(f.get(k) == found[0].get(k) for f in found)}
    for k in ('score', 'inherited_top1'):
        if all(f.get(k) == f.get('top1') for f in found):
            same[k] = None
    columns = [k for k in columns if k not in same]
    rows, kinds = [], []
    for i, f in enumerate(found, 1):
        cells = {k: _cell(f.get(k)) for k in columns}
        for k in columns:
            if finite(f.get(k)) and finite(f.get(f'{k}_se')):
                digits = 2 if k == 'top1' else 4
                cells[k] = f'{f[k]:.{digits}f}\u00a0\u00b1\u00a0{f[f"{k}_se"]:.{digits}f}'
        rows.append([i, *cells.values(), Cell(f'<code>{escape(f.get("arch", ""))}</code>')])
        kinds.append('chosen' if f.get('arch') == chosen else '')
    head = ['', *(FINALIST.get(k, k.replace('_', ' ')) for k in columns), 'architecture']
    said = 'The result is marked. ' if 'chosen' in kinds else ''
    said += f'Measured on {same["images"]:,} images. ' if finite(same.get('images')) else ''
    said += '\u00b1: standard error. These scores are too high, for all alike, since the search chose networks by ' \
            'the same images: compare finalists with each other only.'
    return f'<p>{said}</p>{table(head, rows, "finalists", kinds)}'


def option(name: str) -> str:
    """The option of the command line: `lr` -> `--lr`."""
    return f'--{name.replace("_", "-")}'


def _words(value: Any) -> list[str]:
    return [str(v) for v in value] if isinstance(value, (list, tuple)) else [str(value)]


def _go_on(run: Searched) -> str:
    """Commands for what to do next, ready to be copied."""
    folder, settings = run.folder, run.settings
    say = shlex.join
    if run.result is None:
        parts = [('Continue this search', say(['fpnas', 'search', '--resume', folder])),
                 ('Write this page again', say(['fpnas', 'report', folder]))]
        return ''.join(f'<h3>{escape(title)}</h3>{code(text, title)}' for title, text in parts)
    data = [] if settings.get('dataset') and not settings.get('data_dir') else [
        '--data-dir', str(settings.get('data_dir') or 'DIR')]
    if not settings.get('search_classes') and run.classes:
        data += ['--num-classes', str(len(run.classes))]
    for name in SHARED:
        value = settings.get(name)
        if value not in (None, '') and value != run.defaults.get(name):
            data += [option(name), *_words(value)]
    if settings.get('in_chans') not in (None, 3):
        data += ['--in-chans', str(settings['in_chans'])]
    train = ['fpnas', 'train', '--arch-file', f'{folder}/arch.txt']
    if str(settings.get('data_dir')).endswith('.tar'):  # which has no validation images of its own
        train += ['--val-split', '', '--val-fraction', '0.2']
    again = ['fpnas', 'search', '--space', f'{folder}/space.json']
    trained = [  # the better one first: weights that come from a pretrained network are worth more than a new start
        ('Train the network from scratch', say([*train, '--recipe', 'ls+aa+ema', *data])),
        ('Train it from the weights of the search',
         say([*train, '--init-from', f'{folder}/extract', '--recipe', 'finetune/sgd', *data])),
    ]
    parts = [
        *(trained[::-1] if settings.get('init_from') else trained),
        ('Look at it', '\n'.join(say(['fpnas', what, folder]) for what in ('info', 'flops', 'draw'))),
        ('Load it in timm', f'import timm, fpnas_timm\n'
                            f'model = timm.create_model({f"local-dir:{folder}/extract"!r}, pretrained=True)'),
        ('Find networks for other budgets in the same distribution', _decode_code(run) if run.has_marginals else ''),
        ('Search the same space with the same data again', say([
            *again, *_own_settings(run), '--seed', str(_next_seed(settings)), '--output', f'{folder}-again'])),
    ]
    unclear = '<p class="faint">DIR: the folder of your images; they were given in Python.</p>' if 'DIR' in data else ''
    return ''.join(f'<h3>{escape(title)}</h3>{code(text, title)}' for title, text in parts if text) + unclear


def _next_seed(settings: Mapping[str, Any]) -> int:
    seed = settings.get('seed')
    return seed + 1 if type(seed) is int else 1


def _own_settings(run: Searched) -> list[str]:
    """The options of the search that are not the defaults, as on the command line."""
    words = []
    for name, value in run.settings.items():
        if name in ('output', 'space', 'seed', 'device', 'workers') or value in (None, ''):
            continue
        if name in run.defaults and value != run.defaults[name]:
            words += [option(name)] if value is True else [option(name), *_words(value)]
    return words


def _decode_code(run: Searched) -> str:
    """Python code that decodes the learned distribution within another budget."""
    macs = (run.result or {}).get('macs') or 1_000_000
    counted = f', num_classes={run.num_classes}' if run.num_classes else ''
    if run.target_params:
        counted = f', params={run.target_params:.0f}{counted}'
    if run.target_latency:
        counted = f', others=[(latency, {run.target_latency:g})]{counted}'
    if run.settings.get('in_chans') not in (None, 3):
        counted += f', in_chans={run.settings["in_chans"]}'
    lines = [
        *(['from fpnas_timm.device import LatencyTable'] if run.target_latency else []),
        'from fpnas_timm.search import load_distribution',
        'from fpnas_timm.spaces import get_space',
        'from fpnas_timm.spaces.decode import decode',
        '',
        f'folder = {run.folder!r}',
        "space = get_space(f'{folder}/space.json')",
        "learned = load_distribution(f'{folder}/distribution.safetensors', space)",
        *(["latency = LatencyTable.load(f'{folder}/latency.json').cost()"] if run.target_latency else []),
        f'for budget in ({", ".join(str(int(macs * f)) for f in (0.75, 1.0, 1.5))}):',
        f'    found = decode(space, learned, macs=budget{counted})',
        '    print(found.arch, found.cost, found.log_prob)',
    ]
    return '\n'.join(lines)


def _data(run: Searched) -> str:
    """Where the images are, how they are divided, the classes."""
    record, settings = run.record, run.settings
    places = [str(settings[k]) for k in ('dataset', 'data_dir') if settings.get(k)]
    rows: list[list[object]] = [['images', ', '.join(places) or 'given in Python']]
    other = 'images that train alpha' if run.has_marginals else 'images that candidates are scored on'
    for half, what in (('train', 'images that train the weights'), ('val', other)):
        if isinstance(record.get(half), list):
            rows.append([what, f'{len(record[half]):,}'])
    names = record.get('class_names') or []
    if run.classes:
        shown = ', '.join(map(str, names[:SHOWN_CLASSES])) + (', ..' if len(names) > SHOWN_CLASSES else '')
        rows.append(['classes', f'{len(run.classes):,}' + (f': {shown}' if names else '')])
    if run.num_classes and run.num_classes != len(run.classes):
        rows.append(['classes in the multiply-adds', f'{run.num_classes:,}'])
    start = record.get('init_from')
    rows.append(['weights start from', start.get('name', start) if isinstance(start, dict) else start or 'random'])
    rows.append(['processes', record.get('processes', 1)])
    rows.append(['fingerprint of the images', Cell(f'<code>{escape(record.get("images", "not recorded"))}</code>')])
    return table(['', ''], rows, 'data')


def _settings(run: Searched) -> str:
    own: list[list[object]] = []
    default: list[list[object]] = []
    for name, value in run.settings.items():
        usual = run.defaults.get(name)
        (own if value != usual else default).append([option(name), _value(value), _value(usual)])
    return (
        f'<h3>Options that are not the default</h3>{table(["option", "here", "default"], own, "own options")}'
        f'{details("all others", table(["option", "here"], [row[:2] for row in default], "other options"))}'
    )


def _value(value: Any) -> str:
    if value is None or value in ('', []):
        return 'none'
    return ' '.join(_words(value))
