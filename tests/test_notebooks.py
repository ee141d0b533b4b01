"""The notebooks as they are committed: run from top to bottom, without errors, small, and only of what is public.

`make test-notebooks` runs them.
"""
import ast
import importlib
import json
import re
import sys
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = None

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / 'notebooks').glob('*.ipynb'))
LIMIT = 300_000  # bytes
MAGIC = re.compile(r'^(\s*)%.*$', re.MULTILINE)

notebooks = pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda p: p.stem)


def cells(path: Path, kind: str) -> list[dict]:
    return [c for c in json.loads(path.read_text(encoding='utf-8'))['cells'] if c['cell_type'] == kind]


def source(cell: dict) -> str:
    return ''.join(cell['source'])


def test_they_are_there() -> None:
    assert [p.stem for p in NOTEBOOKS] == ['quickstart', 'read_the_paper', 'search_your_own_images']
    listed = (ROOT / 'docs' / 'notebooks.md').read_text(encoding='utf-8')
    assert all(f'notebooks/{p.name}' in listed for p in NOTEBOOKS)


@notebooks
def test_its_outputs_are_those_of_one_run(path: Path) -> None:
    assert path.stat().st_size < LIMIT
    code = cells(path, 'code')
    assert [c['execution_count'] for c in code] == list(range(1, len(code) + 1))
    outputs = [o for c in code for o in c['outputs']]
    assert not [o for o in outputs if o['output_type'] == 'error' or o.get('name') == 'stderr']
    text = json.dumps([{k: v for k, v in o.items() if k != 'data'} for o in outputs])
    assert not re.search(r'/(work|home|tmp|root|Users)/', text)
    shown = [o.get('data', {}) for o in outputs]
    assert sum('image/png' in data or '<img ' in ''.join(data.get('text/html', '')) for data in shown) >= 3


@notebooks
def test_its_badge_opens_it(path: Path) -> None:
    first = source(cells(path, 'markdown')[0])
    [badge] = re.findall(r'\]\(https://colab\.research\.google\.com/github/([^)]*)\)', first)
    owner, name, rest = badge.split('/', 2)
    assert rest == f'blob/main/notebooks/{path.name}'
    if tomllib is None:
        return
    urls = tomllib.loads((ROOT / 'pyproject.toml').read_text(encoding='utf-8'))['project']['urls']
    repository = urls.get('Repository', 'https://github.com/OWNER/fpnas_timm')  # see RELEASING.md
    assert repository == f'https://github.com/{owner}/{name}'


@notebooks
def test_it_is_made_of_what_is_public(path: Path) -> None:
    found = 0
    for cell in cells(path, 'code'):
        tree = ast.parse(MAGIC.sub(r'\1pass', source(cell)))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith('fpnas_timm'):
                module = importlib.import_module(str(node.module))
                assert {alias.name for alias in node.names} <= set(module.__all__)
                found += 1
            if isinstance(node, ast.Attribute):
                assert not node.attr.startswith('_') or node.attr.startswith('__')
    assert found
