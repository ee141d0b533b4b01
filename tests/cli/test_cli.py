"""The `fpnas` command: its subcommands, and what `fpnas info` says."""
import json
import subprocess
import sys
from pathlib import Path

import pytest

from fpnas_timm import __version__
from fpnas_timm.arch import Arch
from fpnas_timm.arch.cost import cost
from fpnas_timm.cli import COMMANDS, main
from fpnas_timm.paper import TABLE_B1
from fpnas_timm.zoo import ARCHS

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = None

HERE = list(COMMANDS)


def test_help_lists_every_command(capsys: pytest.CaptureFixture) -> None:
    assert main(['--help']) == 0
    out = capsys.readouterr().out
    assert all(f'  {name} ' in out for name in HERE)
    assert main([]) == 2  # nothing asked for
    assert capsys.readouterr().out == out


@pytest.mark.parametrize('name', HERE)
def test_every_command_explains_itself(name: str, capsys: pytest.CaptureFixture) -> None:
    try:
        status = main([name, '--help'])
    except SystemExit as e:  # argparse's way
        status = e.code
    assert status == 0
    assert capsys.readouterr().out.startswith('usage: ')


def test_version(capsys: pytest.CaptureFixture) -> None:
    assert main(['--version']) == 0
    assert capsys.readouterr().out == f'fpnas_timm {__version__}\n'


def test_unknown_command(capsys: pytest.CaptureFixture) -> None:
    assert main(['flop']) == 2
    err = capsys.readouterr().err
    assert "unknown command 'flop'" in err and 'flops' in err and err.count('\n') == 1


def test_same_code_as_the_modules(capsys: pytest.CaptureFixture) -> None:
    assert main(['flops', 'fpnas_s1pp', '--json']) == 0
    out = capsys.readouterr().out
    run = subprocess.run(
        [sys.executable, '-m', 'fpnas_timm', 'flops', 'fpnas_s1pp', '--json'],
        capture_output=True, text=True, check=True,
    )
    assert run.stdout == out
    assert main(['flops', 'nonet']) == 2
    assert main(['reconstruct', 'fpnas_s4pp', '--json']) == 0
    assert json.loads(capsys.readouterr().out)['arch'] == ARCHS['fpnas_s4pp']


def test_help_is_quick() -> None:
    """A subcommand's module is imported only when it is called."""
    code = (
        "import sys; from fpnas_timm.cli import main; main(['--help']); "
        "assert not {'fpnas_timm.cli.hub', 'fpnas_timm.cli.demo', 'matplotlib', 'sklearn'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, '-c', code], check=True, capture_output=True)


def test_info(capsys: pytest.CaptureFixture) -> None:
    assert main(['info', '--json']) == 0
    data = json.loads(capsys.readouterr().out)
    ours = [m for m in data['models'] if m['model'].startswith('fpnas')]  # other tests may have registered their own
    assert [m['model'] for m in ours] == list(TABLE_B1)
    assert data['versions']['fpnas_timm'] == __version__
    for m in ours:
        arch = Arch.parse(m['arch'])
        assert (m['macs'], m['params']) == cost(arch) and m['weights'] == []
    assert main(['info']) == 0
    out = capsys.readouterr().out
    assert 'reconstructions' in out and 'none published' in out
    assert main(['info', 'fpnas_l1']) == 0
    out = capsys.readouterr().out
    assert '(reconstruction)' in out and 'top-1 79.8 % distilled' in out
    assert main(['info', ARCHS['fpnas_l1']]) == 0
    assert 'reconstruction' not in capsys.readouterr().out
    assert main(['info', 'nonet']) == 2
    assert capsys.readouterr().err.count('\n') == 1


@pytest.mark.skipif(tomllib is None, reason='tomllib comes with Python 3.11')
def test_console_command_is_declared() -> None:
    path = Path(__file__).parents[2] / 'pyproject.toml'
    assert tomllib.loads(path.read_text())['project']['scripts'] == {'fpnas': 'fpnas_timm.cli:main'}
