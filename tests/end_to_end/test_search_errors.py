"""`search.py` with wrong options, spaces, data and folders: one line that says what was wrong, and the exit status."""

import json
import logging
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fpnas_timm.cli import exit_status
from fpnas_timm.cli.runs import search_main
from fpnas_timm.errors import UsageError
from fpnas_timm.paper import TABLE_B1
from fpnas_timm.search.options import PRESETS, parse_search_args


def fails(capsys: pytest.CaptureFixture, status: int, *args: str) -> str:
    assert search_main(list(args)) == status
    err = [line for line in capsys.readouterr().err.splitlines() if line.startswith('error: ')]
    assert len(err) == 1
    return err[0]


def test_bad_options(capsys, options: list[str], tmp_path: Path) -> None:
    out = str(tmp_path / 'out')
    full = [*options, '--output', out]
    assert 'did you mean --epochs?' in fails(capsys, 2, *full, '--epoch', '3')
    assert '--output OUT is required' in fails(capsys, 2, *options)
    config = tmp_path / 'c.yaml'
    config.write_text('lamda: 0.5\n')
    assert "unknown option 'lamda'; did you mean lam?" in fails(capsys, 2, *full, '--config', str(config))
    config.write_text('epochs: many\n')
    assert "epochs: 'many'" in fails(capsys, 2, *full, '--config', str(config))
    assert 'the nearest has' in fails(capsys, 2, *full, '--target-macs', '1K')
    assert 'expected 2 to 3' in fails(capsys, 2, *full, '--search-classes', '4')
    assert 'the data has 3 classes' in fails(capsys, 2, *full, '--num-classes', '10')
    assert 'no such folder' in fails(capsys, 2, *full, '--data-dir', str(tmp_path / 'nowhere'))
    assert 'smaller than the 64 of one step' in fails(capsys, 2, *full, '--batch-size', '64')
    assert 'unknown search space' in fails(capsys, 2, *full, '--space', 'fpnas_s9')
    assert 'below the total stride' in fails(capsys, 2, *full, '--space', 'fpnas_l2', '--img-size', '16')
    assert '--seed -1: expected 0 to 4294967295' in fails(capsys, 2, *full, '--seed', '-1')
    assert "--opt 'nope': timm has no such optimizer" in fails(capsys, 2, *full, '--opt', 'nope')
    assert 'no whole number lies between them' in fails(capsys, 2, *full, '--target-macs', '0.5')
    assert 'has no folder for the split' in fails(capsys, 2, *full, '--train-split', 'trian')
    config.write_text('preset: fpnas_l0\nepochs: 7\n')
    args = parse_search_args(['--config', str(config), '--output', out])
    assert (args.space, args.epochs, args.warmup_epochs) == ('fpnas_l0', 7, 1)  # 45 of 315
    assert 'expected fewer than --epochs' in fails(capsys, 2, *full, '--warmup-epochs', '6')
    assert 'no such device' in fails(capsys, 2, *full, '--device', 'cuda')
    assert not (tmp_path / 'out').exists()


def test_a_space_with_an_empty_choice(capsys, options: list[str], space_file: Path, tmp_path: Path) -> None:
    data = json.loads(space_file.read_text())
    data['rows'][0]['splits'] = []
    bad = tmp_path / 'bad.json'
    bad.write_text(json.dumps(data))
    message = fails(capsys, 2, *options, '--space', str(bad), '--output', str(tmp_path / 'out'))
    assert "'splits' has no choice" in message


def test_a_class_with_one_image(capsys, options: list[str], tiny_images: Path, tmp_path: Path) -> None:
    data = tmp_path / 'data'
    shutil.copytree(tiny_images, data)
    (data / 'train' / 'yellow').mkdir()
    shutil.copy(data / 'train' / 'red' / '0.png', data / 'train' / 'yellow')
    assert "class 'yellow' has 1 image: expected at least 2" in fails(
        capsys, 2, *options, '--data-dir', str(data), '--output', str(tmp_path / 'out')
    )


def test_output_in_use_or_taken(capsys, options: list[str], whole: Path, tmp_path: Path) -> None:
    assert f'continue it with --resume {whole}' in fails(capsys, 2, *options, '--output', str(whole))
    busy = tmp_path / 'busy'
    busy.mkdir()
    hold = (
        'import fcntl, sys\nf = open(sys.argv[1], "w")\nfcntl.lockf(f, fcntl.LOCK_EX)\n'
        'print("held", flush=True)\ninput()'
    )
    holder = subprocess.Popen(
        [sys.executable, '-c', hold, str(busy / '.lock')], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == 'held\n'
    assert 'another run is using this folder' in fails(capsys, 2, *options, '--output', str(busy))
    holder.communicate('\n')
    file = tmp_path / 'file'
    file.write_text('')
    assert 'cannot be written' in fails(capsys, 2, *options, '--output', str(file / 'x'))


def test_resume_with_other_settings(capsys, options: list[str], whole: Path, tmp_path: Path) -> None:
    message = fails(capsys, 2, '--resume', str(whole), '--lam', '0.5', '--seed', '4')
    assert '--lam is 0.3 there, 0.5 here' in message
    assert '--seed is 0 there, 4 here' in message
    assert 'no search there' in fails(capsys, 2, '--resume', str(tmp_path))
    before = (whole / 'arch.txt').read_text()
    copy = shutil.copytree(whole, tmp_path / 'copy')  # what may change is written into the folder
    assert search_main(['--resume', str(copy), '--lam', '0.3', '--workers', '1']) == 0  # nothing left to do
    assert capsys.readouterr().out == before


def test_resume_with_other_images_space_or_processes(
        capsys, options: list[str], whole: Path, tiny_images: Path, space_file: Path, tmp_path: Path
) -> None:
    out, data, space = tmp_path / 'out', tmp_path / 'data', tmp_path / 'space.json'
    shutil.copytree(whole, out)
    shutil.copytree(tiny_images, data)
    changed = json.loads(space_file.read_text())
    changed['rows'][0]['act'] = changed['rows'][0]['act'][::-1]
    space.write_text(json.dumps(changed))
    (data / 'train' / 'green' / '5.png').rename(data / 'train' / 'green' / 'x.png')
    for option, path, message in ('--data-dir', data, 'images'), ('--space', space, 'search space'):
        message = f'the {message} changed since it started'
        assert message in fails(capsys, 2, '--resume', str(out), option, str(path))
    record = json.loads((out / 'halves.json').read_text())
    (out / 'halves.json').write_text(json.dumps({**record, 'processes': 8}))
    assert 'the number of processes changed since it started (8 then, 1 now)' in fails(capsys, 2, '--resume', str(out))


def test_an_unreadable_image_in_the_middle(capsys, options: list[str], tiny_images: Path, tmp_path: Path) -> None:
    data = tmp_path / 'data'
    shutil.copytree(tiny_images, data)
    bad = data / 'train' / 'green' / '5.png'
    good = bad.read_bytes()
    bad.write_bytes(good[:60])
    out = tmp_path / 'out'
    args = [*options, '--data-dir', str(data), '--output', str(out)]
    for workers in ('0', '1'):
        message = fails(capsys, 1, *(args if workers == '0' else ['--resume', str(out)]), '--workers', workers)
        assert str(bad) in message
        assert 'fix it' in message
    bad.write_bytes(good)
    assert search_main(['--resume', str(out)]) == 0


def test_a_process_that_lost_another_one(capsys: pytest.CaptureFixture) -> None:
    def lost() -> None:
        raise RuntimeError('[gloo/transport/tcp/pair.cc:561] Connection closed by peer [127.0.0.1]:51596')

    def bug() -> None:
        raise RuntimeError('mat1 and mat2 shapes cannot be multiplied')

    assert exit_status(lost) == 1
    assert 'another process of this run ended first' in capsys.readouterr().err
    with pytest.raises(RuntimeError, match='mat1'):  # keeps its traceback
        exit_status(bug)


def test_presets_are_the_papers() -> None:
    for name, row in TABLE_B1.items():
        args = parse_search_args(['--preset', name, '--data-dir', 'x', '--output', 'y', '--seed', '5'])
        assert (args.epochs, args.warmup_epochs, args.joint_epoch, args.lam) == (315, 45, 80, 0.25)
        assert args.target_macs == row.macs * 1e6
        assert (args.space, args.img_size, args.search_classes, args.seed) == (name, row.img_size, 100, 5)
    assert set(PRESETS) == {*TABLE_B1, 'fbnetv2_f'}
    args = parse_search_args(['--preset', 'fbnetv2_f', '--data-dir', 'x', '--output', 'y'])  # Table E.7, Table 6
    assert (args.space, args.img_size, args.target_macs, args.epochs) == ('fbnetv2_f', 128, 58e6, 315)
    args = parse_search_args(['--preset', 'fpnas_l0', '--epochs', '20', '--output', 'y'])
    assert args.epochs == 20


def test_the_thorough_preset(caplog: pytest.LogCaptureFixture) -> None:
    """Options that are given replace its own; what another search has no use for is left out, and said."""
    caplog.set_level(logging.WARNING, 'search')
    parse_search_args(['--preset', 'thorough', '--target-macs', '4M', '--epochs', '20', '--output', 'y'])
    args = parse_search_args(['--preset', 'thorough', '--target-macs', '4M', '--lr', '1e-3', '--output', 'y'])
    assert (args.lr, args.refine) == (1e-3, 300)
    assert 'left out' not in caplog.text
    args = parse_search_args(
        ['--preset', 'thorough', '--target-macs', '4M', '--strategy', 'evolution', '--output', 'y']
    )
    assert (args.refine, args.weight_draws) == (0, 'budget')
    assert caplog.messages[-1] == '--preset thorough: this search has no use for its --refine: left out'
    args = parse_search_args(['--preset', 'thorough', '--init-from', 'mobilenetv2_100', '--output', 'y'])
    assert (args.refine, args.weight_draws, args.finalist_epochs) == (300, 'search', 0)
    assert caplog.messages[-1].endswith(
        '--weight-draws, --opt, --lr, --weight-decay, --weight-ema, --finalist-epochs: left out'
    )
    caplog.clear()
    parse_search_args(['--preset', 'fpnas_l0', '--epochs', '20', '--output', 'y'])  # scaled, which is said elsewhere
    assert 'left out' not in caplog.text
    with pytest.raises(UsageError, match=r'^--weight-draws budget, an option of --preset thorough: expected'):
        parse_search_args(['--preset', 'thorough', '--target-params', '1M', '--output', 'y'])


@pytest.mark.parametrize(('text', 'value'), [('3M', 3e6), ('0.4G', 4e8), ('66000000', 66e6), ('12k', 12e3)])
def test_quantities(text: str, value: float) -> None:
    assert parse_search_args(['--target-macs', text, '--output', 'x']).target_macs == pytest.approx(value)
