"""The report of a search: a well-formed page that shows the numbers of the files, and nothing from elsewhere."""
import json
import shlex
from pathlib import Path

import pytest

from fpnas_timm.arch import Arch
from fpnas_timm.cli.given import given_arch
from fpnas_timm.draw.svg import thinned, ticks
from fpnas_timm.search.options import parse_search_args
from fpnas_timm.search.page import write_comparison, write_report
from fpnas_timm.train.options import parse_train_args

from .pages import Page, check_file, data, files, rows, section
from .searches import make_search, space


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_search(tmp_path_factory.mktemp('report') / 'out', finalists=4)


@pytest.fixture(scope='module')
def text(folder: Path) -> str:
    return write_report(folder).read_text(encoding='utf-8')


@pytest.fixture(scope='module')
def page(text: str) -> Page:
    return Page(text)


def test_the_file(text: str) -> None:
    page = check_file(text)
    assert [s.attributes['aria-label'] for s in page.root.all('section')] == [
        'Course', 'Network', 'Distribution', 'Finalists', 'Accuracy and cost', 'Go on', 'Settings and data',
    ]


def test_numbers_of_the_result(folder: Path, page: Page) -> None:
    _, result = files(folder)
    shown = {card.children[0].content: [c.content for c in card.children[1:]]
             for card in page.root.all('div', kind='card')}
    assert shown['multiply-adds'] == [f'{result["macs"]:,}', f'{result["macs"] / 2500:.1f} % of the target, 250,000']
    assert shown['parameters'] == ['12,345']
    error = (64.7059 * (100 - 64.7059) / 17) ** 0.5
    assert shown['accuracy, inherited weights'] == ['64.71 %', f'± {error:.2f} (standard error), 17 images of alpha']
    assert shown['entropy'] == ['12.34 nats', '14.00 at first']
    assert shown['architectures sampled'][0] == '160'
    assert not any('trained' in title for title in shown)
    assert result['arch'] in [code.content for code in page.root.all('code')]
    assert f'({space().num_archs:.1e} combinations of choices)' in page.root.content


def test_the_accuracy_of_the_trained_weights(tmp_path: Path) -> None:
    folder = make_search(tmp_path / 'out', finalists=2)
    _, result = files(folder)
    result['finalists'][0] |= {'rounds': 2, 'top1': 70.5, 'top1_se': 1.5}
    (folder / 'result.json').write_text(json.dumps(result))
    page = check_file(write_report(folder).read_text())
    shown = {card.children[0].content: [c.content for c in card.children[1:]]
             for card in page.root.all('div', kind='card')}
    assert shown['accuracy, inherited weights'][0] == '64.71 %'
    assert shown['accuracy, trained weights'] == ['70.50 %', '± 1.50 (standard error), those of extract/']


def test_numbers_of_every_epoch(folder: Path, page: Page) -> None:
    history, _ = files(folder)
    head, *table = rows(section(page, 'course').all('table')[0])
    assert len(table) == len(history)
    for cells, row in zip(table, history):
        shown = dict(zip(head, cells))
        assert shown.pop('epoch') == str(row['epoch'] + 1)
        assert shown.pop('phase') == row['phase']
        assert set(shown) == {k for k, v in history[-1].items() if isinstance(v, (int, float))} - {'epoch'}
        for name, cell in shown.items():
            assert (float(cell.replace(',', '')) == pytest.approx(row[name], rel=1e-5)) if name in row else cell == ''


def test_lines_of_the_course(folder: Path, page: Page) -> None:
    """The points of a line are those of the history, on paper too: distances are in proportion."""
    history, _ = files(folder)
    charts = {f.all('figcaption')[0].content: f for f in section(page, 'course').all('figure')}
    assert list(charts) == ['loss', 'entropy of the distribution', 'multiply-adds', 'K, architectures per step']
    for title, column, scale in [('entropy of the distribution', 'entropy', 1), ('multiply-adds', 'cost', 1e6)]:
        dots = charts[title].all('circle', kind='c0')
        values = [row[column] / scale for row in history]
        assert [dot.content.split(': ')[1] for dot in dots] == [f'{i + 1}, {v:.6g}' for i, v in enumerate(values)]
        (x0, y0), (x1, y1) = ((float(d.attributes['cx']), float(d.attributes['cy'])) for d in (dots[0], dots[-1]))
        for i, (dot, value) in enumerate(zip(dots, values)):
            share = i / (len(dots) - 1)
            assert float(dot.attributes['cx']) == pytest.approx(x0 + share * (x1 - x0), abs=0.2)
            share = (value - values[0]) / (values[-1] - values[0])
            assert float(dot.attributes['cy']) == pytest.approx(y0 + share * (y1 - y0), abs=0.5)
    likelihood = data(page, 'course-0')['series'][1][1]
    assert likelihood == [[row['epoch'] + 1, -row['log_likelihood'] / 32] for row in history[2:]]
    assert [t.content for t in charts['multiply-adds'].all('text')].count('target') == 1


def test_another_number_of_the_history_has_a_chart(tmp_path: Path) -> None:
    """Such as the multiplier of a budget, or what another strategy notes; one that never changes has none."""
    folder = make_search(tmp_path / 'out')
    history, _ = files(folder)
    rows_ = [{**row, 'speed': 0.5 * row['epoch'], 'constant': 3} for row in history]
    (folder / 'history.jsonl').write_text(''.join(json.dumps(row) + '\n' for row in rows_))
    page = check_file(write_report(folder).read_text())
    titles = [c.content for c in section(page, 'course').all('figcaption')]
    assert titles[4:] == ['speed']


def test_budgets_and_their_multipliers(tmp_path: Path) -> None:
    """Exact expectations are shown beside the mean of the samples, with their targets, and what met them."""
    folder = make_search(tmp_path / 'out', target_params=20_000.0)
    history, _ = files(folder)
    found = [{'expected_macs': 260_000.5 - row['epoch'], 'expected_params': 30_000 - 1000 * row['epoch'],
              'multiplier_macs': 0.25 * row['epoch'], 'multiplier_params': -0.5 * row['epoch'],
              'mode_moved': row['epoch']}
             for row in history]
    (folder / 'history.jsonl').write_text(''.join(json.dumps({**r, **f}) + '\n' for r, f in zip(history, found)))
    page = check_file(write_report(folder).read_text())
    charts = {f.all('figcaption')[0].content: f for f in section(page, 'course').all('figure')}
    assert list(charts)[2:] == ['multiply-adds', 'K, architectures per step', 'expected parameters',
                                'multiplier of the budget']
    shown = {title: {name: [y for _, y in points] for name, points in json.loads(f.all('script')[0].text)['series']}
             for title, f in charts.items()}
    assert shown['multiply-adds']['expected'] == [f['expected_macs'] / 1e6 for f in found]
    assert shown['multiply-adds']['mean of the samples'] == [row['cost'] / 1e6 for row in history]
    assert shown['expected parameters'] == {'expected': [f['expected_params'] / 1e6 for f in found]}
    assert 'target' in [t.content for t in charts['expected parameters'].all('text')]
    assert shown['multiplier of the budget'] == {
        name: [f[f'multiplier_{k}'] for f in found] for k, name in (('macs', 'multiply-adds'), ('params', 'parameters'))
    }
    cards = [card.content for card in page.root.all('div', kind='card')]
    assert f'parameters12,345{12_345 / 200:.1f} % of the target, 20,000' in cards
    other = make_search(tmp_path / 'other', seed=1)
    compared = Page(write_comparison([folder, other], tmp_path / 'c.html').read_text())
    lines = data(compared, 'course-2')['series']
    assert [y for _, y in lines[0][1]] == [f['expected_macs'] / 1e6 for f in found]
    assert [y for _, y in lines[1][1]] == [row['cost'] / 1e6 for row in files(other)[0]]


def test_the_heat_map(folder: Path, page: Page) -> None:
    history, result = files(folder)
    over, arch = space(), Arch.parse(result['arch'])
    cells = section(page, 'distribution').all('td', kind='cell')
    expected = [(i, v, c, p) for i, group in enumerate(over.groups) for v in group
                for c, p in zip(group[v], history[-1]['marginals'][i][v])]
    assert len(cells) == len(expected)
    names = {'re': 'ReLU', 'sw': 'swish'}
    for cell, (group, variable, choice, p) in zip(cells, expected):
        assert [c.content for c in cell.children] == [names.get(choice, f'{choice:g}' if choice not in names else ''),
                                                      f'{100 * p:.0f}']
        assert cell.attributes['style'] == f'--p:{p:.3g}'
        kernel = arch.groups[group].kernel
        framed = 'chosen' in cell.attributes['class'].split()
        if kernel or variable in ('kernel', 'channels'):
            assert framed == (getattr(arch.groups[group], variable) == choice)
        elif variable in ('splits', 'expansion'):
            assert not framed
    steps = data(page, 'heat-data')
    assert steps['epoch'] == [1, 2, 3, 4, 5, 6]
    for row, values in zip(history, steps['cells']):
        assert values == [round(1000 * p) for probs in row['marginals'] for ps in probs.values() for p in ps]
    [slider] = page.root.all('input', type='range')
    assert (slider.attributes['max'], slider.attributes['value'], slider.attributes['id']) == ('5', '5', 'epoch')
    assert slider.attributes['aria-valuetext'].startswith('6 (joint')
    assert [label.content for label in page.root.all('label', **{'for': 'epoch'})] == ['epoch']


def test_figure_b1_beside_the_averages(folder: Path, page: Page) -> None:
    """One box per block; those of an average have the mean channels, and kernels share them by probability."""
    history, result = files(folder)
    over, arch = space(), Arch.parse(result['arch'])
    found, learned, average = section(page, 'network').all('svg', kind='figure')
    boxes = [g.all('rect', kind='box') for g in found.all('g', kind='block')]
    assert len(boxes) == sum(map(len, arch.blocks))
    heights = [sum(float(part.attributes['height']) for part in box) for box in boxes]
    channels = [b.out_chs for blocks in arch.blocks for b in blocks]
    unit = heights[0] / channels[0]
    assert heights == pytest.approx([c * unit for c in channels], abs=0.2)
    for picture, probs in ((learned, history[-1]['marginals']), (average, None)):
        at = 0
        blocks = picture.all('g', kind='block')
        for i, row in enumerate(over.rows):
            weights = probs[i] if probs else {v: [1 / len(c)] * len(c) for v, c in over.groups[i].items()}
            mean = sum(p * c for p, c in zip(weights['channels'], row.channels))
            for block in blocks[at : at + row.repeat]:
                parts = [float(r.attributes['height']) for r in block.all('rect', kind='box')]
                assert sum(parts) == pytest.approx(mean * unit, abs=0.3)
                shares = [weights['kernel'][row.kernel.index(k)] for k in (3, 5, 0)]
                assert [p / sum(parts) for p in parts] == pytest.approx(shares, abs=0.02)
                assert f'{mean:.1f} channels' in block.content
            at += row.repeat
        assert at == len(blocks)


def test_the_finalists(folder: Path, page: Page) -> None:
    _, result = files(folder)
    head, *table = rows(section(page, 'finalists').all('table')[0])
    assert head == ['', 'top-1, %', 'multiply-adds', 'parameters', 'log-probability, nats',
                    'log-likelihood, nats per image', 'rounds', 'architecture']
    assert 'Measured on 17 images.' in section(page, 'finalists').content
    assert table == [
        [str(i), f'{f["top1"]:.2f}\u00a0±\u00a01.25', f'{f["macs"]:,}', f'{f["params"]:,}', f'{f["log_prob"]:.6g}',
         f'{f["log_likelihood"]:.4f}\u00a0±\u00a00.0300', str(f['rounds']), f['arch']]
        for i, f in enumerate(result['finalists'], 1)
    ]
    assert [r.all('th')[0].content for r in section(page, 'finalists').all('tr', kind='chosen')] == ['1']
    chart = section(page, 'accuracy-and-cost').all('svg')[0]
    assert len(chart.all('path', kind='whisker')) == 4 and len(chart.all('path', kind='chosen')) == 1


def test_the_samples(folder: Path, page: Page) -> None:
    history, _ = files(folder)
    chart = section(page, 'accuracy-and-cost').all('svg')[1]
    clouds = chart.all('path', kind='cloud')
    assert sum(c.attributes['d'].count('M') for c in clouds) == sum(len(r['sampled']['cost']) for r in history) == 16
    assert '16 points, of 160 architectures sampled' in section(page, 'accuracy-and-cost').content


def test_the_commands_are_commands(folder: Path, page: Page) -> None:
    commands = [line for code in section(page, 'go-on').all('code') for line in code.content.splitlines()
                if line.startswith('fpnas ')]
    words = [shlex.split(line) for line in commands]
    assert {w[1] for w in words} == {'train', 'info', 'flops', 'draw', 'search'}
    (folder / 'arch.txt').write_text(files(folder)[1]['arch'])
    for word in words:
        if word[1] in ('info', 'flops', 'draw'):
            assert str(given_arch(word[2]).arch) == files(folder)[1]['arch']
        if word[1] == 'train':
            args = parse_train_args(word[2:])
            assert (args.num_classes, args.data_dir) == (3, 'images')
        if word[1] == 'search':
            args = parse_search_args(word[2:])
            assert (args.target_macs, args.batch_size, args.seed) == (250_000, 32, 1)


def test_the_code_finds_networks_for_other_budgets(folder: Path, page: Page, capsys: pytest.CaptureFixture) -> None:
    from fpnas_timm.search import Factorized

    [code] = [c.content for c in section(page, 'go-on').all('code') if 'decode(' in c.content]
    Factorized(space()).save(folder / 'distribution.safetensors')
    exec(code, {})
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_helpers() -> None:
    assert ticks(0, 30) == [0, 10, 20, 30] and ticks(1, 2, whole=True) == [1, 2]
    assert ticks(0.98, 1.02, 4) == [0.98, 0.99, 1.0, 1.01, 1.02]
    assert thinned(range(1000), 3) == [0, 500, 999]
