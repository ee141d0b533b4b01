"""Failures that are nobody's bug: a reader that goes away, a full disk, a full memory, Ctrl-C, an older timm."""
import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import fpnas_timm._register as register
from fpnas_timm.cli import exit_status, main
from fpnas_timm.errors import UsageError
from tests.helpers.preloaded import ROOT, run_python

FPNAS = [sys.executable, '-m', 'fpnas_timm']


@pytest.mark.parametrize('command', [['--help'], ['flops', '--no-check'], ['flops', '--no-check', '--json']])
def test_a_reader_that_goes_away(command: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    run = subprocess.run([*FPNAS, *command], stdout=writing, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    os.close(writing)
    assert (run.returncode, run.stderr) == (141, '')


@pytest.mark.parametrize(('error', 'status', 'said'), [
    (KeyboardInterrupt(), 130, 'interrupted'),
    (UsageError('two\nlines'), 2, 'error: two lines'),
    (OSError(errno.ENOSPC, 'No space left on device', 'out/x.bin'), 1, 'error: out/x.bin: No space left on device'),
    (OSError('Caught OSError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n  File "x", '
             'line 1, in y\nOSError: not supported for mode RGBA\n'), 1, 'error: not supported for mode RGBA\n'),
    (MemoryError(), 1, 'error: out of memory: use a smaller --batch-size'),
    (type('OutOfMemoryError', (RuntimeError,), {})('CUDA out of memory'), 1, 'error: out of memory: use a smaller'),
])
def test_one_line(error: BaseException, status: int, said: str, capsys: pytest.CaptureFixture) -> None:
    def run() -> None:
        raise error

    assert exit_status(run) == status
    err = capsys.readouterr().err
    assert err.startswith(said) and err.count('\n') == 1


@pytest.mark.skipif(not hasattr(signal, 'SIGXFSZ'), reason='needs a limit on the size of files')
def test_a_full_disk_is_named_by_the_file_that_was_asked_for(tmp_path: Path) -> None:
    """A process that may write 1,000 bytes per file; safetensors has an error of its own."""
    code = f"""
import resource, signal
from pathlib import Path
from safetensors.torch import save_file
from torch import zeros
from fpnas_timm.runs.files import replacing
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
for save in (lambda p: p.write_text('x' * 100_000), lambda p: save_file({{'a': zeros(100_000)}}, p)):
    try:
        with replacing({str(tmp_path / 'model.bin')!r}) as temporary:
            save(temporary)
    except OSError as e:
        print(e.filename, e.strerror)
"""
    run = run_python(code, {**os.environ, 'PYTHONPATH': str(ROOT)}, tmp_path)
    assert run.stdout == f'{tmp_path / "model.bin"} File too large\n' * 2, run.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(('argv', 'status', 'said'), [
    (['info', ''], 2, "error: '' is neither a model"),
    (['info', 'fpnas_l00'], 2, 'did you mean fpnas_l0?'),
    (['flops', 'FPNAS_L2'], 2, 'did you mean fpnas_l2?'),
    (['draw', 'fpnas_s1p'], 2, 'did you mean fpnas_s1pp?'),
    (['draw', 'fpnas_l0', '-o', 'x.gif'], 2, '.png or .svg'),
    (['draw', 'fpnas_l0', '-o', 'no/such/x.png'], 1, 'error: no/such/x.png: No such file'),
    (['draw', 'fpnas_l0', '-o', 'a\0.png'], 2, 'NUL'),
    (['draw'], 2, 'NETWORK'),
    (['reconstruct', 'fpnas_l9'], 2, 'did you mean fpnas_l'),
    (['flops', '--img-size', '32'], 2, '--img-size needs a model'),
    (['flops', 'fpnas_l0', '--img-size', '99999'], 2, '--img-size 99999: expected 1 to 4096'),
    (['hub'], 2, 'push|pull|verify|list'),
    (['hub', 'verify'], 2, 'required'),
    (['info', '--jso'], 2, 'unknown option --jso; did you mean --json?'),
])
def test_describing_commands(
        argv: list[str], status: int, said: str, capsys: pytest.CaptureFixture, tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(argv) == status
    out, err = capsys.readouterr()
    assert out == '' and said in err and err.count('\n') == 1
    assert not list(tmp_path.iterdir())


def test_an_older_timm_in_the_same_folder(tmp_path: Path) -> None:
    (tmp_path / 'timm').mkdir()
    (tmp_path / 'timm' / '__init__.py').write_text("__version__ = '1.0.28.dev0'\n")
    env = {**os.environ, 'PYTHONPATH': str(ROOT)}
    argv = ['info', 'fpnas_l0']
    run = subprocess.run([*FPNAS, *argv], capture_output=True, text=True, cwd=tmp_path, env=env)
    assert run.returncode == 2 and run.stdout == ''
    assert run.stderr == (
        f"error: fpnas_timm needs timm 1.0.31 or later, but timm 1.0.28.dev0 is in {tmp_path / 'timm'}: pip install -U "
        'timm, or, if that is a folder of yours, run the command elsewhere\n'
    )


def test_the_oldest_timm_is_the_projects() -> None:
    oldest = '.'.join(map(str, register.OLDEST_TIMM))
    assert f'"timm>={oldest}"' in (ROOT / 'pyproject.toml').read_text()


def test_own_line_of_a_string(capsys: pytest.CaptureFixture) -> None:
    string = 'i32-cn_r1_k3_s1_c8_nsw-ir_r1_k3_s2_e2_c12_nre-cn_r1_k1_s1_c32_nsw'
    assert main(['info', string]) == 0
    assert capsys.readouterr().out.startswith(f'architecture   {string}\n')


def test_lines_of_timm_about_every_object_are_not_shown(tmp_path: Path) -> None:
    code = (
        'import logging; from fpnas_timm.cli.runs import _set_up_logging; _set_up_logging()\n'
        'for name in ("timm.task.classification", "timm.models._helpers", "train"):\n'
        '    logging.getLogger(name).info("from " + name)\n'
    )
    run = run_python(code, {**os.environ, 'PYTHONPATH': str(ROOT)}, tmp_path)
    assert run.returncode == 0
    assert (run.stdout + run.stderr).split() == ['from', 'train']
