"""The map of the package: arrows between rooms point one way, files and functions stay short."""
import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / 'fpnas_timm'
ORDER = (
    'errors', 'paper', '_version', '_lazy', 'arch', 'spaces', 'runs', 'model', 'weights', 'zoo', 'draw', 'recipes',
    'search', 'train', 'hub', 'cli', '__init__', '__main__',
)
FILES = sorted(PACKAGE.rglob('*.py'))
TESTS = sorted((ROOT / 'tests').rglob('*.py'))
MAX_LINES, MAX_FUNCTION = 350, 80

# Not done yet. Take the entry out with the clean-up.
TO_DO = {
    'needs no other package': ('fpnas_timm/spaces/space.py',),
    'file': (
        'tests/arch/test_encoding.py', 'tests/end_to_end/test_search.py', 'tests/model/test_network.py',
        'tests/spaces/test_spaces.py',
    ),
    'function': (
        'fpnas_timm/search/options.py', 'fpnas_timm/train/data.py', 'fpnas_timm/train/epoch.py',
        'fpnas_timm/train/options.py', 'fpnas_timm/train/run.py',
    ),
}


def cases(paths: list[Path], rule: str = '') -> list:
    known = TO_DO.get(rule, ())
    marks = {p: [pytest.mark.xfail(reason=f'to do: {rule}')] if name_of(p) in known else [] for p in paths}
    return [pytest.param(p, id=name_of(p), marks=marks[p]) for p in paths]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix('.py')


def imports(path: Path) -> set[str]:
    """Modules that a file imports anywhere, by their absolute names: `fpnas_timm.arch.cost`, `torch`."""
    package = path.relative_to(ROOT).parent.parts
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            start = package[:len(package) - node.level + 1] if node.level else ()
            module = '.'.join([*start, *([node.module] if node.module else [])])
            # `from .. import arch` imports the room arch
            found |= {f'{module}.{alias.name}' for alias in node.names} if module == 'fpnas_timm' else {module}
    return found


def rooms_imported(path: Path) -> set[str]:
    parts = [module.split('.') for module in imports(path) if module.split('.')[0] == 'fpnas_timm']
    names = {p[1] for p in parts if len(p) > 1}
    # a public name of the package itself, as `from fpnas_timm import Arch`
    return {n if n in ORDER else '__init__' for n in names} - {room(path)}


def test_every_room_has_its_place() -> None:
    assert {room(p) for p in FILES} <= set(ORDER)


@pytest.mark.parametrize('path', FILES, ids=name_of)
def test_no_arrow_runs_up(path: Path) -> None:
    """Below means to the left in `ORDER`, so that there is no circle either. Only `__main__` may import the command."""
    here = ORDER.index(room(path))
    assert [r for r in rooms_imported(path) if ORDER.index(r) > here] == []


def test_the_root_scripts_are_the_only_ones_that_use_the_command() -> None:
    users = {name_of(p) for p in FILES if 'cli' in rooms_imported(p)}
    assert users <= {'fpnas_timm/__main__.py'}


@pytest.mark.parametrize(
    'path',
    cases([p for p in FILES if room(p) in ('arch', 'spaces') and p.name != 'decode.py'], 'needs no other package'),
)
def test_strings_and_spaces_need_no_other_package(path: Path) -> None:
    assert {m.split('.')[0] for m in imports(path)} <= {*sys.stdlib_module_names, 'fpnas_timm'}


def test_few_files_at_the_top() -> None:
    assert len(list(PACKAGE.glob('*.py'))) <= 8


@pytest.mark.parametrize('path', cases([*FILES, *TESTS], 'file'))
def test_files_are_short(path: Path) -> None:
    assert len(path.read_text(encoding='utf-8').splitlines()) <= MAX_LINES


@pytest.mark.parametrize('path', cases(FILES, 'function'))
def test_functions_are_short(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding='utf-8'))
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert {n.name: n.end_lineno - n.lineno + 1 for n in functions if n.end_lineno - n.lineno >= MAX_FUNCTION} == {}


def test_the_checks_see_what_they_should() -> None:
    """A check that finds nothing proves nothing."""
    assert rooms_imported(PACKAGE / 'spaces' / 'decode.py') >= {'arch'}
    assert rooms_imported(PACKAGE / '__main__.py') == {'cli'}
    assert len(FILES) > 60
