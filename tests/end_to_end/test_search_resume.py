"""What a search may be continued with: `--resume auto`, the same things at other places, and nothing that changed."""

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from fpnas_timm.cli.runs import search_main
from fpnas_timm.errors import RunError
from fpnas_timm.search.report import Report


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    """A finished search that a test may change."""
    return Path(shutil.copytree(whole, tmp_path / 'copy'))


@pytest.fixture
def refused(capsys: pytest.CaptureFixture) -> Callable[..., str]:
    """Runs `fpnas search` with these arguments, which it must refuse; returns its message."""

    def run(*args: str, status: int = 2) -> str:
        capsys.readouterr()
        assert search_main(list(args)) == status
        out, err = capsys.readouterr()
        errors = [line for line in err.splitlines() if line.startswith('error: ')]
        assert len(errors) == 1, err
        assert 'Traceback' not in err
        assert out == ''
        return errors[0]

    return run


def edit(folder: Path, **changes: object) -> None:
    path = folder / 'args.yaml'
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **changes}))


def test_auto_starts_goes_on_and_is_finished(
        options: list[str], whole: Path, same_result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture, caplog: pytest.LogCaptureFixture,
) -> None:
    """One command, repeated by a scheduler: it fails before the first checkpoint, later, and then not any more."""
    out = tmp_path / 'out'
    command = [*options, '--output', str(out), '--resume', 'auto']
    epoch = Report.epoch
    fails_at = {0, 3}

    def fail(self: Report, search) -> None:
        if search.epoch - 1 in fails_at:
            fails_at.remove(search.epoch - 1)
            raise RunError('preempted')
        epoch(self, search)

    monkeypatch.setattr(Report, 'epoch', fail)
    assert search_main(command) == 1
    assert (out / 'args.yaml').exists()
    assert not (out / 'last.pt').exists()
    assert search_main(command) == 1
    assert torch.load(out / 'last.pt', weights_only=True)['epoch'] == 3
    caplog.set_level('INFO', 'search')
    assert search_main(command) == 0
    assert 'continuing at epoch 4, step 1' in caplog.text
    assert same_result(out, whole)
    capsys.readouterr()
    written = (out / 'extract' / 'model.safetensors').stat().st_mtime_ns
    assert search_main(command) == 0
    assert capsys.readouterr().out == (out / 'arch.txt').read_text()
    assert 'is finished: there is nothing left to do' in caplog.text
    assert (out / 'extract' / 'model.safetensors').stat().st_mtime_ns == written
    (out / 'extract' / 'model.safetensors').unlink()  # what is missing is written again
    assert search_main(command) == 0
    assert (out / 'extract' / 'model.safetensors').exists()


def test_auto_takes_other_settings_only_before_the_first_checkpoint(
        options: list[str], copy: Path, refused, tmp_path: Path
) -> None:
    command = [*options, '--resume', 'auto', '--lam', '0.5', '--output']
    assert '--lam is 0.3 there, 0.5 here' in refused(*command, str(copy))
    for name in ('last.pt', 'last.previous.pt'):
        (copy / name).unlink()
    assert search_main([*command, str(copy), '--epochs', '2', '--joint-epoch', '1']) == 0
    assert yaml.safe_load((copy / 'args.yaml').read_text())['lam'] == 0.5
    assert len((copy / 'history.jsonl').read_text().splitlines()) == 2
    assert 'needs --output OUT' in refused(*options, '--resume', 'auto')


def test_the_state_of_another_search_is_not_continued(options: list[str], copy: Path, refused) -> None:
    """A folder with an old `last.pt`: its state is not that of the search that is started or continued there."""
    (copy / 'args.yaml').unlink()
    for resume in ([], ['--resume', 'auto']):
        message = refused(*options, '--output', str(copy), *resume)
        assert 'contains the state of another search (last.pt and last.previous.pt)' in message
    assert sorted(p.name for p in copy.glob('last*')) == ['last.previous.pt', 'last.pt']
    state = torch.load(copy / 'last.pt', weights_only=True)
    for name in ('last.pt', 'last.previous.pt', 'halves.json'):
        (copy / name).unlink()
    assert search_main([*options, '--output', str(copy), '--epochs', '2', '--joint-epoch', '1', '--seed', '1']) == 0
    torch.save(state, copy / 'last.pt')
    message = refused('--resume', str(copy))
    assert 'the settings in last.pt are not those in args.yaml (' in message
    assert 'epochs was 6, is 2' in message
    assert 'if args.yaml was edited, undo that; else last.pt is of another search: restore the one' in message


@pytest.mark.parametrize(('change', 'message'), [
    ({'lam': 0.5}, 'lam was 0.3, is 0.5'),
    ({'beta': 0.4}, 'beta was 0.3, is 0.4'),
    ({'lr': 0.1}, 'lr was 0.05, is 0.1'),
    ({'epochs': 8}, 'epochs was 6, is 8'),
    ({'target_macs': 58000.0}, 'target_macs was 60000.0, is 58000.0'),
    ({'batch_size': 3}, 'batch_size was 4, is 3'),
    ({'aa': 'rand-m9', 'hflip': 0.0}, 'hflip was 0.5, is 0.0'),
    ({'space': 'fpnas_l0'}, 'is .fpnas_l0'),
    ({'lamda': 0.5}, "args.yaml: unknown option 'lamda'; did you mean lam"),
    ({'epochs': 'many'}, "'many': expected a whole number"),
    ({'lam': 'x'}, "'x': expected a number"),
    ({'batch_size': 0}, 'args.yaml: .*batch_size: 0: expected 2 or more'),
    ({'opt': 'sgdd'}, 'sgdd'),
    ({'lr': None}, 'args.yaml: lr: expected a value'),
    ({'epochs': 3}, 'args.yaml: .*expected fewer than'),
])
def test_edited_settings_are_refused(change: dict, message: str, copy: Path, refused) -> None:
    edit(copy, **change)
    found = refused('--resume', str(copy))
    assert re.search(message, found), found


@pytest.mark.parametrize('text', [
    '[' * 5000, 'lam: [', '\0', '- 3', 'lam: !!python/object:x {}', '', 'lam: 0.3\n', '\udcff',
])
@pytest.mark.parametrize('name', ['args.yaml', 'space.json'])
def test_settings_and_space_that_are_damaged(text: str, name: str, copy: Path, refused) -> None:
    (copy / name).write_bytes(text.encode('utf-8', 'surrogateescape'))
    message = refused('--resume', str(copy))
    assert message.startswith(f'error: {copy / name}: ')
    assert message.endswith('restore it, or start a new search in another --output')
    assert '--space' not in message
    assert 'in Python' not in message


@pytest.mark.parametrize('text', ['', 'not json', '[' * 100000, '[1]', '{"processes": 1, "processes": 1}', '\udcff'])
def test_a_record_that_is_not_json(text: str, copy: Path, refused) -> None:
    (copy / 'halves.json').write_bytes(text.encode('utf-8', 'surrogateescape'))
    message = refused('--resume', str(copy))
    assert message.startswith(f'error: {copy}/halves.json: ')
    (copy / 'halves.json').unlink()
    assert 'halves.json is missing' in refused('--resume', str(copy))


def test_edits_are_noticed_before_the_first_checkpoint_too(copy: Path, refused) -> None:
    for name in ('last.pt', 'last.previous.pt'):
        (copy / name).unlink()
    edit(copy, lam=0.4)
    assert 'lam was 0.3, is 0.4' in refused('--resume', str(copy))


def test_no_good_checkpoint(copy: Path, refused) -> None:
    for name in ('last.pt', 'last.previous.pt'):
        (copy / name).write_bytes(b'damaged')
    message = refused('--resume', str(copy), status=1)
    assert message.endswith('restore one, or delete last.pt and last.previous.pt to search from the start')
    torch.save({'epoch': 3}, copy / 'last.pt')
    assert f'{copy}/last.pt: not the state of this search' in refused('--resume', str(copy))


def test_other_images_are_noticed(copy: Path, tiny_images: Path, refused, tmp_path: Path) -> None:
    data = tmp_path / 'data'
    shutil.copytree(tiny_images, data)
    red, blue = data / 'train' / 'red' / '0.png', data / 'train' / 'blue' / '0.png'
    first, second = red.read_bytes(), blue.read_bytes()
    red.write_bytes(second), blue.write_bytes(first)  # the same names, the same number
    assert 'the images changed since it started' in refused('--resume', str(copy), '--data-dir', str(data))


def test_the_same_images_and_space_elsewhere(
        options: list[str], tiny_images: Path, space_file: Path, whole: Path, same_result, tmp_path: Path
) -> None:
    """Places may change: the folder of the images, the file of the space, and the folder of the search."""
    data, space, out = tmp_path / 'data', tmp_path / 'space.json', tmp_path / 'out'
    shutil.copytree(tiny_images, data)
    shutil.copy(space_file, space)
    short = ['--epochs', '2', '--joint-epoch', '1']
    places = ['--space', str(space), '--data-dir', str(data)]
    assert search_main([*options, *short, *places, '--output', str(out)]) == 0
    reference = tmp_path / 'reference'
    shutil.copytree(out, reference)
    state = torch.load(out / 'last.previous.pt', weights_only=True)
    assert (state['epoch'], state['step']) == (1, 0)
    shutil.move(out / 'last.previous.pt', out / 'last.pt')  # one epoch is left
    data = data.rename(tmp_path / 'moved')
    out = out.rename(tmp_path / 'moved out')
    space.unlink()
    assert search_main(['--resume', str(out), '--data-dir', str(data)]) == 0
    assert same_result(out, reference)
    assert yaml.safe_load((out / 'args.yaml').read_text())['data_dir'] == str(data)
    assert search_main(['--resume', str(out), '--space', str(space_file)]) == 0  # the place is known from now on


def test_a_folder_of_an_earlier_version(
        copy: Path, whole: Path, same_result, refused, caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither its checkpoint nor its record say with which settings and images it was started."""
    state = torch.load(copy / 'last.previous.pt', weights_only=True)
    old = {k: v for k, v in state.items() if k not in ('settings', 'record')}
    torch.save(old, copy / 'last.pt')
    (copy / 'last.previous.pt').unlink()
    record = json.loads((copy / 'halves.json').read_text())
    del record['settings']
    record['images'] = '4a2a3e24d6a3e2d5d1c0dca9aa7b5a6e'
    (copy / 'halves.json').write_text(json.dumps(record))
    assert 'the images changed since it started' in refused('--resume', str(copy))
    monkeypatch.setattr('fpnas_timm.search.folder.class_indices', lambda dataset: 'of the old kind')
    monkeypatch.setattr('fpnas_timm.search.folder.repr', lambda value: 'as then', raising=False)
    record['images'] = hashlib.blake2b(b'as then', digest_size=16).hexdigest()
    (copy / 'halves.json').write_text(json.dumps(record))
    assert search_main(['--resume', str(copy)]) == 0
    assert 'of an earlier version, which did not record settings and images' in caplog.text
    assert same_result(copy, whole)


def test_a_name_with_nul(options: list[str], refused) -> None:
    for args in (['--output', 'a\0b'], ['--resume', 'a\0b'], ['--resume', 'auto', '--output', 'a\0b']):
        assert 'NUL' in refused(*options, *args)
