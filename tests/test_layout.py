"""The house: imports between rooms go one way, files and functions stay small."""
import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / 'fpnas_timm'
# A room imports those before it only. The modules at the top level count as rooms.
ROOMS = (
    '_version', '_lazy', 'errors', 'paper', 'arch', 'spaces', 'runs', 'model', 'weights', 'zoo', 'transfer', 'draw',
    'recipes', 'device', 'search', 'train', 'hub', 'app', 'cli',
)
FILES = sorted(PACKAGE.rglob('*.py'))
TESTS = sorted((ROOT / 'tests').rglob('*.py'))


def room_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix('.py')


def imports(file: Path) -> list[tuple[int, str]]:
    """Line and full dotted name of every module that a file imports; those for types only are not imports."""
    package = list(file.relative_to(ROOT).parent.parts)
    tree = ast.parse(file.read_text(encoding='utf-8'))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and 'TYPE_CHECKING' in ast.unparse(node.test):
            node.body = []
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = '.'.join([*base, *([node.module] if node.module else [])])
            found += [(node.lineno, f'{module}.{alias.name}') for alias in node.names]
    return found


@pytest.mark.parametrize('file', FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_arrows_between_rooms_point_down(file: Path) -> None:
    room = room_of(file)
    if room in ('__init__', '__main__', '_register'):  # these tie the rooms together, and nobody imports them
        return
    for line, name in imports(file):
        if name.startswith('fpnas_timm.'):
            other = name.split('.')[1]
            assert other == room or ROOMS.index(other) < ROOMS.index(room), f'{file}:{line}: {room} imports {other}'


@pytest.mark.parametrize('room', ['arch', 'spaces'])
def test_arch_and_spaces_import_the_standard_library_only(room: str) -> None:
    """But the decode, which needs NumPy and SciPy; `tests/zoo` checks that no torch comes along at run time."""
    allowed = {'fpnas_timm', *sys.stdlib_module_names}
    if room == 'spaces':
        allowed |= {'torch'}  # in the function that draws from a torch.Generator, which there is only with torch
    for file in (PACKAGE / room).glob('*.py'):
        extra = {'numpy', 'scipy'} if file.name in ('decode.py', 'log_probs.py', 'milp.py', 'paths.py') else set()
        for line, name in imports(file):
            assert name.split('.')[0] in allowed | extra, f'{file}:{line}: {name}'


def test_few_files_at_the_top() -> None:
    assert len(list(PACKAGE.glob('*.py'))) <= 8


@pytest.mark.parametrize('file', [*FILES, *TESTS], ids=lambda f: str(f.relative_to(ROOT)))
def test_no_file_over_350_lines_and_no_function_over_80(file: Path) -> None:
    text = file.read_text(encoding='utf-8')
    assert text.count('\n') <= 350
    if file in FILES:
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                assert node.end_lineno is not None
                assert node.end_lineno - node.lineno < 80, f'{file}:{node.lineno} {node.name}'


def test_every_room_has_a_table_of_contents() -> None:
    rooms = [folder for folder in PACKAGE.iterdir() if (folder / '__init__.py').exists()]
    assert {room.name for room in rooms} < set(ROOMS)
    for room in rooms:
        doc = ast.get_docstring(ast.parse((room / '__init__.py').read_text(encoding='utf-8'))) or ''
        modules = [f.stem for f in room.glob('*.py') if not f.stem.startswith('_')]
        missing = [name for name in modules if f'`{name}`' not in doc and f'{name}(' not in doc]
        assert not missing, f'{room.name}/__init__.py does not name {missing}'


def test_the_checks_see_what_they_should() -> None:
    """A check that finds nothing proves nothing."""
    assert 'fpnas_timm.arch.Arch' in {name for _, name in imports(PACKAGE / 'spaces' / 'decode.py')}
    assert 'fpnas_timm.cli.main' in {name for _, name in imports(PACKAGE / '__main__.py')}
    assert len(FILES) > 60
