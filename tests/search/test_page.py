"""`fpnas report`: one search, several side by side, and one sentence for every folder that cannot be reported."""
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fpnas_timm.cli import main
from fpnas_timm.draw.compare import short_names

from ..draw.pages import check_file, data, rows, section
from ..draw.searches import make_search


def edit(path: Path, change: Callable[[list[str]], list[str]]) -> None:
    path.write_text(''.join(line + '\n' for line in change(path.read_text().splitlines())))


def edit_row(path: Path, number: int, **changes: object) -> None:
    def change(lines: list[str]) -> list[str]:
        lines[number] = json.dumps({**json.loads(lines[number]), **changes})
        return lines

    edit(path, change)


def test_one_folder(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    folder = make_search(tmp_path / 'out')
    assert main(['report', str(folder)]) == 0
    assert capsys.readouterr().out == f'{folder}/report.html\n'
    first = (folder / 'report.html').read_bytes()
    check_file(first.decode())
    assert main(['report', str(folder), '-o', str(tmp_path / 'other.html')]) == 0
    assert (tmp_path / 'other.html').read_bytes() == first  # the same input, the same file


def test_several_folders(tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folders = [
        make_search(Path('out/a/s0'), seed=0), make_search(Path('out/b/s0'), seed=1, lr=0.1, finalists=3),
        make_search(Path('out/b/s1'), seed=2, epochs=4, finished=False),
    ]
    assert main(['report', *map(str, folders)]) == 0
    assert capsys.readouterr().out == 'comparison.html\n'
    page = check_file(Path('comparison.html').read_text())
    names = ['a/s0', 'b/s0', 'b/s1']
    histories = [[json.loads(line) for line in (f / 'history.jsonl').read_text().splitlines()] for f in folders]
    head, *results = rows(page.root.all('table')[0])
    for name, folder, history, cells in zip(names, folders, histories, results):
        shown = dict(zip(head, cells))
        assert (shown['search'], shown['sampled']) == (name, f'{history[-1]["num_samples"]:,}')
        assert shown['entropy, nats'] == f'{history[-1]["entropy"]:.2f}'
        if (folder / 'result.json').exists():
            result = json.loads((folder / 'result.json').read_text())
            assert shown['multiply-adds'] == f'{result["macs"]:,}'
            assert shown['of the target'] == f'{result["macs"] / 2500:.1f} %'
            assert shown['accuracy, inherited weights, %'].startswith(f'{result["supernet_top1"]:.2f}')
        else:
            assert (shown['state'], shown['accuracy, inherited weights, %']) == ('epoch 4 of 4, not finished', '-')
    assert [cells[head.index('best finalist, %')] for cells in results] == ['-', '70.25', '-']
    for i, (column, scale) in enumerate([('train_loss', 1), ('entropy', 1), ('cost', 1e6), ('k', 1)]):
        assert data(page, f'course-{i}')['series'] == [
            [name, [[row['epoch'] + 1, row[column] / scale] for row in history]]
            for name, history in zip(names, histories)
        ]
    differences = section(page, 'differences')
    table = {row[0]: row[1:] for row in rows(differences.all('table')[0])[1:]}
    assert table == {'--epochs': ['6', '6', '4'], '--lr': ['0.05', '0.1', '0.05'], '--seed': ['0', '1', '2']}
    assert [mark.content for mark in differences.all('mark')] == ['4', '0.1', '1', '2']
    same = {row[0]: row[1] for row in rows(differences.all('table')[1])[1:]}
    assert (same['search space'], same['--batch-size'], same['classes']) == ('tiny', '32', '3')
    texts = [t.content for t in section(page, 'accuracy-and-cost').all('text')]
    assert {'a/s0', 'b/s0'} <= set(texts) and 'b/s1' not in texts  # which has no accuracy yet
    captions = [c.content for c in section(page, 'networks').all('figcaption')]
    assert captions == [*names, *(f'average of the learned distribution of {n}' for n in names),
                        'average of the space tiny']


def test_other_spaces_of_the_same_name_differ(tmp_path: Path) -> None:
    first, second = make_search(tmp_path / 'a'), make_search(tmp_path / 'b')
    changed = json.loads((second / 'space.json').read_text())
    changed['head']['channels'] = 96
    (second / 'space.json').write_text(json.dumps(changed))
    output = tmp_path / 'c.html'
    assert main(['report', str(first), str(second), '-o', str(output)]) == 0
    table = section(check_file(output.read_text()), 'differences').all('table')[0]
    assert rows(table)[1:] == [['search space', 'tiny (1)', 'tiny (2)']]


def test_needs_neither_torch_nor_matplotlib(tmp_path: Path) -> None:
    folder = make_search(tmp_path / 'out')
    code = (
        f"import sys; from fpnas_timm.cli import main; assert main(['report', {str(folder)!r}]) == 0; "
        "assert not {'torch', 'numpy', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, '-c', code], check=True, stdout=subprocess.DEVNULL)
    assert (folder / 'report.html').exists()


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def write(name: str, text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(text.encode('latin-1'))


def row(number: int, **changes: object) -> Callable[[Path], None]:
    return lambda folder: edit_row(folder / 'history.jsonl', number, **changes)


def cut(folder: Path) -> None:
    path = folder / 'history.jsonl'
    path.write_text(path.read_text()[:-40])


BAD = {
    'no search': (remove('args.yaml'), 'no search there (args.yaml does not exist)'),
    'no space': (remove('space.json'), 'no search there (space.json does not exist)'),
    'no epoch': (remove('history.jsonl'), 'has not finished an epoch yet (history.jsonl does not exist)'),
    'empty history': (write('history.jsonl', '\n'), 'has not finished an epoch yet (history.jsonl is empty)'),
    'cut history': (cut, 'history.jsonl: line 6 is damaged'),
    'history of bytes': (write('history.jsonl', '\xff\xfe'), 'history.jsonl: cannot be read (not text)'),
    'no row': (write('history.jsonl', '[1]\n'), 'history.jsonl: line 1 is not a row with an epoch'),
    'lost line': (lambda f: edit(f / 'history.jsonl', lambda lines: lines[:2] + lines[3:]),
                  'history.jsonl: line 3 is of epoch 4, expected 3'),
    'other space': (row(1, marginals=[{'kernel': [1.0]}]),
                    "line 2 has probabilities that are not those of the space 'tiny'"),
    'text': (row(3, entropy='low'), 'line 4 has a value that is not a finite number'),
    'not finite': (row(3, cost=float('nan')), 'line 4 has a value that is not a finite number'),
    'candidates': (write('candidates.jsonl', '{"macs": 3}'), 'candidates.jsonl: line 1 is not a scored architecture'),
    'damaged result': (write('result.json', '{"arch": '), 'result.json: cannot be read'),
    'result of something else': (write('result.json', '{}'), 'result.json: has no architecture'),
    'result in words': (write('result.json', '{"arch": "i16", "macs": "many"}'), "has no number as its 'macs'"),
    'finalists': (write('result.json', '{"arch": "i16", "finalists": [{"macs": 3}]}'), 'has finalists without arch'),
    'samples': (row(3, sampled={'cost': 3}), 'history.jsonl: line 4 has samples that are not pairs of numbers'),
    'damaged space': (write('space.json', '{}'), 'space.json: is damaged'),
    'damaged options': (write('args.yaml', 'a: [1'), 'args.yaml: not YAML'),
    'damaged record': (write('halves.json', '[]'), 'halves.json: expected a JSON object'),
}


@pytest.mark.parametrize('case', BAD)
@pytest.mark.parametrize('several', [False, True])
def test_a_folder_that_cannot_be_reported(
        case: str, several: bool, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    damage, expected = BAD[case]
    folder = make_search(tmp_path / 'out')
    damage(folder)
    others = [str(make_search(tmp_path / 'other'))] if several else []
    output = tmp_path / 'page.html'
    assert main(['report', *others, str(folder), '-o', str(output)]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f'error: {folder}') and expected in err and err.count('\n') == 1
    assert not output.exists()


@pytest.mark.parametrize(('args', 'expected'), [
    (['nowhere'], 'nowhere: no such folder'),
    (['out', 'out/../out'], 'out/../out: is given twice'),
    (['out', '-o', 'page.txt'], '--output page.txt: expected a .html file'),
    (['out\0'], 'a file name has no NUL character'),
    ([], 'OUT'),
])
def test_bad_arguments(
        args: list[str], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    make_search(Path('out'))
    assert main(['report', *args]) == 2
    err = capsys.readouterr().err
    assert expected in err and err.count('\n') == 1


def test_a_file_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    folder = make_search(tmp_path / 'out')
    assert main(['report', str(folder), '-o', str(tmp_path / 'no' / 'page.html')]) == 1
    assert 'No such file or directory' in capsys.readouterr().err


def test_short_names() -> None:
    assert short_names(['a', '/b/a']) == ['a', 'b/a']
    assert short_names(['x/y/z', 'x/v/z', 'w']) == ['y/z', 'v/z', 'w']
