"""Reports of unusual searches: names with markup, running, long, without a distribution; a page that cannot be made."""
import json
import shlex
from pathlib import Path

import pytest

from fpnas_timm.search.page import write_comparison, write_page, write_report

from .pages import check_file, data, files, section
from .searches import make_search

SCRIPT = '<script>alert(1)</script>'


@pytest.mark.parametrize('finished', [True, False])
def test_names_of_the_user_are_text(finished: bool, tmp_path: Path) -> None:
    evil = f'"><img src=x onerror=alert(1)>&amp;{SCRIPT.replace("/", "")}'
    classes = (SCRIPT, 'b\x00\x1b', 'ü\udc80')
    folder = make_search(tmp_path / evil, classes=classes, name=f"'{SCRIPT}", finished=finished, data_dir=SCRIPT,
                         finalists=2)
    text = write_report(folder).read_text(encoding='utf-8')
    page = check_file(text)
    own = [s for s in page.root.all('script') if s.attributes.get('type') != 'application/json']
    assert len(own) == 1 and 'alert' not in own[0].text
    assert SCRIPT not in text and '&lt;script&gt;alert(1)&lt;/script&gt;' in text
    assert not [k for e in page.root.all('div') + page.root.all('svg') for k in e.attributes if k.startswith('on')]
    assert f'3: {SCRIPT}, b\ufffd\ufffd, ü?' in section(page, 'settings-and-data').content
    other = make_search(tmp_path / 'b' / evil.replace('alert', 'prompt'), seed=1)
    compared = check_file(write_comparison([folder, other], tmp_path / 'c.html').read_text(encoding='utf-8'))
    assert len(compared.root.all('script')) == 5  # four charts, and the page's own


def test_a_running_search(tmp_path: Path) -> None:
    folder = make_search(tmp_path / 'out', epochs=3, finished=False, seed=2)
    page = check_file(write_report(folder, tmp_path / 'other.html').read_text())
    assert not (folder / 'report.html').exists()
    assert 'epoch 3 of 3, not finished' in page.root.content
    commands = section(page, 'go-on').all('code')
    assert commands[0].content == shlex.join(['fpnas', 'search', '--resume', str(folder)])
    first = check_file(write_report(make_search(tmp_path / 'one', epochs=1, finished=False)).read_text())
    assert first.root.all('input', type='range')[0].attributes['max'] == '0'


def test_a_long_search_stays_small(tmp_path: Path) -> None:
    folder = make_search(tmp_path / 'out', epochs=400)
    text = write_report(folder).read_text()
    page = check_file(text)
    steps = data(page, 'heat-data')
    assert (steps['epoch'][0], steps['epoch'][-1], len(steps['epoch'])) == (1, 400, 120)
    assert 'The slider has 120 of the 400 epochs.' in page.root.content
    assert len(text) < 600_000


def test_a_strategy_without_a_distribution(tmp_path: Path) -> None:
    """The history of a search that learns no probabilities: what is known is shown."""
    folder = make_search(tmp_path / 'out', finished=False, strategy='evolution', epochs=4)
    history = [json.loads(line) for line in (folder / 'history.jsonl').read_text().splitlines()]
    kept = ('epoch', 'cost', 'seconds', 'num_samples', 'train_loss')
    rows_ = [{k: row[k] for k in kept} for row in history]
    for row in rows_[2:]:
        del row['train_loss']
        row |= {'score': -1.5 + row['epoch'] / 10, 'best_score': -1.2, 'best': history[1]['most_probable'],
                'best_cost': 246_810}
    (folder / 'history.jsonl').write_text(''.join(json.dumps(row) + '\n' for row in rows_))
    scored = [{'arch': 'x', 'macs': 200_000 + i, 'score': -1.5 + i / 100} for i in range(30)]
    (folder / 'candidates.jsonl').write_text(''.join(json.dumps(row) + '\n' for row in scored))
    page = check_file(write_report(folder).read_text())
    names = [s.attributes['aria-label'] for s in page.root.all('section')]
    assert names == ['Course', 'Network', 'Accuracy and cost', 'Go on', 'Settings and data']
    assert 'strategy evolution, 4 rounds, not finished' in page.root.content and '246,810' in page.root.content
    charts = {f.all('figcaption')[0].content: f for f in section(page, 'course').all('figure')}
    assert list(charts) == ['loss', 'score of the candidates', 'multiply-adds']
    ys = [float(d.attributes['cy']) for d in charts['score of the candidates'].all('circle', kind='c0')]
    assert ys[0] > ys[1] > 18  # a larger score is further up, and the axis does not begin at zero
    clouds = section(page, 'accuracy-and-cost').all('path', kind='cloud')
    assert [c.attributes['d'].count('M') for c in clouds] == [6] * 5
    assert '30 points, of 30 architectures, all scored on the same images' in page.root.content


def test_a_page_that_cannot_be_made_does_not_stop_the_search(
        tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = make_search(tmp_path / 'out')
    history, _ = files(other)
    write_page(other, [{**history[0], 'marginals': [{}]}])
    assert 'report.html: not written (UsageError' in caplog.text and 'the search is not affected' in caplog.text
    assert not (other / 'report.html').exists()
