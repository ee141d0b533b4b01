"""The pages: links resolve, architecture strings are canonical, the zoo's strings are the zoo's, examples still run."""

import contextlib
import doctest
import importlib.util
import io
import json
import os
import re
import shlex
from pathlib import Path

import pytest

from fpnas_timm.arch import Arch
from fpnas_timm.arch.cost import cost
from fpnas_timm.cli import main
from fpnas_timm.paper import TABLE_B1
from fpnas_timm.zoo import ARCHS
from fpnas_timm.zoo.models import default_cfgs
from fpnas_timm.zoo.names import OWN_ARCHS

ROOT = Path(__file__).parent.parent
DOCS = sorted((ROOT / 'docs').glob('*.md'))
PAGES = [p for p in (ROOT / 'README.md', ROOT / 'CONTRIBUTING.md', *DOCS) if p.exists()]
LINK = re.compile(r'!?\[[^\]]*\]\(([^)\s]+)\)')
STRING = re.compile(r'(?<![\w.-])(?:i\d+-)?cn_\w+(?:-\w[\w.]*\w)+(?!\w*\.\.)')
# A fenced block; a comment before it marks it for the tests: the site shows no block with more than a language there.
FENCE = re.compile(r'^(?:<!-- (\w+) -->\n)?```([^\n]*)\n(.*?)^```$', re.MULTILINE | re.DOTALL)

pages = pytest.mark.parametrize('page', PAGES, ids=lambda p: p.name if p.parent == ROOT else f'docs/{p.name}')


@pages
def test_relative_links_resolve(page: Path) -> None:
    links = LINK.findall(FENCE.sub('', page.read_text(encoding='utf-8')))
    relative = [link.partition('#')[0] for link in links if not re.match('[a-z]+:', link)]
    assert [link for link in relative if not (page.parent / link).exists()] == []


def strings(text: str, marks: tuple[str, ...]) -> list[str]:
    """The architecture strings outside of the fenced blocks that carry one of `marks`."""
    kept = FENCE.sub(lambda m: '' if m[1] in marks else m[0], text)
    return STRING.findall(kept)


@pages
def test_blocks_have_a_language_and_nothing_else(page: Path) -> None:
    assert [language for _, language, _ in FENCE.findall(page.read_text(encoding='utf-8')) if ' ' in language] == []


@pages
def test_architecture_strings(page: Path) -> None:
    text = page.read_text(encoding='utf-8')
    for string in strings(text, ('error',)):
        Arch.parse(string)
    if page.name != 'README.md' or page.parent != ROOT:  # the front page shows how short a string may be
        assert [s for s in strings(text, ('error', 'input')) if str(Arch.parse(s)) != s] == []


def test_the_readme_of_a_package_index_has_absolute_links() -> None:
    spec = importlib.util.spec_from_file_location('absolute_links', ROOT / '.github' / 'absolute_links.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    text = module.absolute((ROOT / 'README.md').read_text(encoding='utf-8'), 'https://example.org/a/b', 'v1')
    links = LINK.findall(FENCE.sub('', text))
    assert len(links) > 20 and all(re.match('https?://|#', link) for link in links)
    assert 'https://example.org/a/b/raw/v1/docs/img/fpnas_l2.png' in links


def test_strings_of_the_models() -> None:
    text = (ROOT / 'docs' / 'models.md').read_text(encoding='utf-8')
    shown = re.findall(r'^`(\w+)` \(a reconstruction\):\n\n```text\n(.*)\n```$', text, re.MULTILINE)
    assert dict(shown) == ARCHS
    assert set(STRING.findall(text)) == set(ARCHS.values())
    for name, string in ARCHS.items():
        [row] = re.findall(rf'^\| `{name}` \| \d+ .*', text, re.MULTILINE)
        macs, params = cost(Arch.parse(string))
        assert f'| {macs:,} |' in row
        assert f'| {params:,} |' in row
        [card] = re.findall(rf'^\| here: `{name}` .*', text, re.MULTILINE)
        paper = TABLE_B1[name]
        assert card.startswith(f'| here: `{name}` | {paper.img_size} | {macs / 1e6:.1f} | {params / 1e6:.2f} |')
        assert f'| {paper.img_size} | {paper.macs} | {paper.params} | {paper.top1 or paper.top1_distilled}' in text


def test_the_strings_are_found() -> None:
    """The patterns above see what they should: a test that finds nothing proves nothing."""
    assert STRING.findall('a `i64-cn_k3_c8_nre-ir_k3_e2.25_c8_nre-cn_k1_c8_nre`.') == [
        'i64-cn_k3_c8_nre-ir_k3_e2.25_c8_nre-cn_k1_c8_nre'
    ]
    assert strings('<!-- error -->\n```pycon\ncn_k3-ir_k4-cn_k1\n```\n', ('error',)) == []
    assert sum(len(strings(page.read_text(encoding='utf-8'), ())) for page in DOCS) > 20


@pytest.mark.parametrize('page', [p for p in DOCS if '```pycon' in p.read_text(encoding='utf-8')], ids=lambda p: p.name)
def test_examples(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every `pycon` block of a page, one after the other, prints what the page says."""
    blocks = FENCE.findall(page.read_text(encoding='utf-8'))
    session = ''.join(body for _, language, body in blocks if language == 'pycon')
    assert session
    monkeypatch.chdir(tmp_path)
    options = doctest.ELLIPSIS
    test = doctest.DocTestParser().get_doctest(session, {}, page.name, str(page), 0)
    report: list[str] = []
    doctest.DocTestRunner(optionflags=options).run(test, out=report.append)
    assert ''.join(report) == ''


CONSOLE = [
    pytest.param(page, body, id=f'{page.name}-{i}')
    for page in DOCS
    for i, (mark, language, body) in enumerate(FENCE.findall(page.read_text(encoding='utf-8')))
    if language == 'console' and not mark  # those marked `demo` need the folder of a demo, `long` is in tests/zoo
]
# What differs from machine to machine.
VERSIONS = re.compile(r'^fpnas_timm .*', re.MULTILINE)


@pytest.mark.parametrize(('page', 'body'), CONSOLE)
def test_console(page: Path, body: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command of a `console` block prints what the page says; `...` stands for anything."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'DATA').mkdir()
    monkeypatch.setenv('COLUMNS', '80')
    for name in list(OWN_ARCHS):  # those of other examples
        monkeypatch.delitem(OWN_ARCHS, name)
        monkeypatch.delitem(default_cfgs, name)
    for part in re.split(r'^\$ fpnas ', body, flags=re.MULTILINE)[1:]:
        command, _, expected = part.partition('\n')
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            main(shlex.split(command))
        found, wanted = (VERSIONS.sub('(versions)', text).rstrip() for text in (printed.getvalue(), expected))
        assert doctest.OutputChecker().check_output(wanted, found, doctest.ELLIPSIS), f'$ fpnas {command}\n{found}'


def test_the_console_blocks_are_found() -> None:
    assert len(CONSOLE) >= 6


TABLE = Path(os.environ.get('NAS_BENCH_MACRO', ROOT.parent / 'shared' / 'data' / 'nas-bench-macro_cifar10.json'))


@pytest.mark.skipif(not TABLE.exists(), reason=f'{TABLE} is not here')
def test_the_search_of_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    """The example of docs/search.md finds a network near the target, better than 99 % of those that cost no more."""
    [code] = [body for mark, _, body in FENCE.findall((ROOT / 'docs/search.md').read_text()) if mark == 'table']
    assert len(code.strip().splitlines()) <= 45
    (tmp_path / 'nas-bench-macro_cifar10.json').symlink_to(TABLE)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, 'docs/search.md', 'exec'), {})
    accuracy, macs = map(float, re.match(r'(.*) % at (.*) M', capsys.readouterr().out).groups())
    assert 58.8 <= macs <= 60
    cheaper = [r['mean_acc'] for r in json.loads(TABLE.read_text()).values() if r['flops'] <= 60e6]
    assert sum(a <= accuracy + 0.01 for a in cheaper) >= 0.99 * len(cheaper)
