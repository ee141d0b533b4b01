"""`pull -o` and `push -o`: the whole, verified folder or nothing, whatever happens on the way."""
import os
import signal
import stat
import sys
import time
from pathlib import Path

import pytest

from fpnas_timm.cli.hub import main
from fpnas_timm.errors import RunError, UsageError
from fpnas_timm.hub import pull, push
from fpnas_timm.hub.stage import INSIDE, check_free, filling
from tests.helpers.hub_server import HubServer
from tests.hub.clients import client, hub, one_line, repo_files

# Every write of more than this many bytes to one file fails in the process, as on a full disk.
FULL = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))
from fpnas_timm.cli.hub import main
sys.exit(main({argv!r}))
"""


def tree(folder: Path) -> list[str]:
    return sorted(f.name for f in folder.iterdir())


def test_pull_to_a_full_disk_leaves_nothing(server: HubServer, run_folder: Path, tmp_path: Path) -> None:
    files = repo_files(run_folder)
    server.add('me/net', files)
    size = len(files['model.safetensors']) - 1000
    pull_it = ['pull', 'me/net', '-o', 'model']
    error = one_line(client(server, tmp_path, FULL.format(size=size, argv=pull_it)))  # the cache's disk
    assert 'model.safetensors of me/net@' in error and 'cannot be stored in the cache' in error
    assert not (tmp_path / 'model').exists()
    assert hub(server, tmp_path, 'pull', 'me/net').returncode == 0
    before = tree(tmp_path)
    error = one_line(client(server, tmp_path, FULL.format(size=size, argv=pull_it)))  # the folder's
    assert error.startswith('error: model: cannot be written, nothing is left there ([Errno 27] File too large')
    assert tree(tmp_path) == before
    assert hub(server, tmp_path, *pull_it).returncode == 0  # the same command, when there is space
    assert tree(tmp_path / 'model') == ['config.json', 'model.safetensors']


def test_a_copy_that_is_damaged(server: HubServer, run_folder: Path, tmp_path: Path) -> None:
    """What is verified is the copy, before it gets its name."""
    code = (
        'import shutil, sys\n'
        'real = shutil.copyfile\n'
        'def copyfile(a, b):\n'
        '    real(a, b)\n'
        '    if str(b).endswith("safetensors"):\n'
        '        with open(b, "r+b") as f: f.truncate(5000)\n'
        'shutil.copyfile = copyfile\n'
        'from fpnas_timm.cli.hub import main\n'
        'sys.exit(main(["pull", "me/net", "-o", "model"]))'
    )
    server.add('me/net', repo_files(run_folder))
    assert 'damaged or no safetensors' in one_line(client(server, tmp_path, code))
    assert not (tmp_path / 'model').exists() and not [*tmp_path.glob('.model*')]


@pytest.mark.parametrize('sign, status', [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_an_interrupted_pull_leaves_nothing(
        sign: int, status: int, server: HubServer, run_folder: Path, tmp_path: Path
) -> None:
    server.add('me/net', repo_files(run_folder))
    server.faults['model.safetensors'] = 'stall'
    code = (
        'import os, signal, sys\n'
        'signal.signal(signal.SIGINT, signal.default_int_handler)\n'  # ignored in a background job of a shell
        'from fpnas_timm.cli.hub import main\n'
        'from fpnas_timm.weights import transfer\n'
        'real = transfer.receive\n'
        'def receive(url, file, limit, size, title, stop):\n'
        f'    if title == "model.safetensors": os.kill(os.getpid(), {int(sign)})\n'
        '    real(url, file, limit, size, title, stop)\n'
        'transfer.receive = receive\n'
        'sys.exit(main(["pull", "me/net", "-o", "model"]))'
    )
    run = client(server, tmp_path, code, HF_HUB_DOWNLOAD_TIMEOUT='60')
    assert run.returncode == status and 'Traceback' not in run.stderr, run.stderr
    assert not (tmp_path / 'model').exists() and not [*tmp_path.rglob('*.tmp')]


@pytest.mark.parametrize('there', [False, True], ids=['new', 'empty'])
def test_filling(there: bool, tmp_path: Path) -> None:
    folder = tmp_path / 'a' / 'model'
    if there:
        folder.mkdir(parents=True)
    inode = folder.stat().st_ino if there else None
    for error in (RunError('no'), OSError(28, 'No space left on device'), KeyboardInterrupt()):
        with pytest.raises(RunError if isinstance(error, OSError) else type(error)), filling(folder) as stage:
            (stage / 'config.json').touch()
            raise error
        assert (tree(folder) == []) if there else not folder.exists()
        check_free(folder)
    umask = os.umask(0o027)
    try:
        with filling(folder) as stage:
            for name in ('config.json', 'a'):
                (stage / name).touch(mode=0o600)  # as safetensors does
    finally:
        os.umask(umask)
    assert tree(folder) == ['a', 'config.json'] and tree(folder.parent) == ['model']
    assert inode in (None, folder.stat().st_ino)  # a mount, or somebody's working directory: not replaced
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o640}
    with pytest.raises(UsageError, match='not empty'):
        check_free(folder)


def test_leftovers_of_a_killed_pull_do_not_block(tmp_path: Path) -> None:
    folder = tmp_path / 'model'
    folder.mkdir()
    left = [folder / f'.{INSIDE}host-1.1.tmp', folder / f'{INSIDE}host-2', tmp_path / '.model.77.tmp']
    for path in left:
        path.mkdir()
        (path / 'model.safetensors').touch()
    check_free(folder)
    assert all(path.exists() for path in left)  # of today: may be at work
    for path in left:
        os.utime(path, (0, time.time() - 100_000))
    check_free(folder)
    assert not any(path.exists() for path in left)


def test_push_to_a_folder_is_whole_or_nothing(
        run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv('TMPDIR', str(tmp_path))
    monkeypatch.setattr('tempfile.tempdir', str(tmp_path))

    def full(*_: object, **__: object) -> None:
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(sys.modules[push.__module__], 'draw_arch', full)
    for more in ([], ['-o', str(tmp_path / 'out')]):
        assert main(['push', str(run_folder), 'me/x', '--dry-run', *more]) == 1
        assert 'No space left on device' in capsys.readouterr().err
        assert tree(tmp_path) == []


def test_the_files_of_a_model_follow_the_umask(run_folder: Path, tmp_path: Path) -> None:
    umask = os.umask(0o022)
    try:
        assert main(['push', str(run_folder), 'me/x', '--dry-run', '-o', str(tmp_path / 'out')]) == 0
    finally:
        os.umask(umask)
    assert {stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / 'out').iterdir()} == {0o644}


def test_arguments_are_checked_first(run_folder: Path, tmp_path: Path) -> None:
    (tmp_path / 'file').touch()
    for output in (tmp_path / 'file', run_folder):
        with pytest.raises(UsageError, match='not empty'):
            pull('me/net', output)
