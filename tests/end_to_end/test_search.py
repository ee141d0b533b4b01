"""`search.py` as its users run it: the whole way, killed and resumed, on two processes, and with bad input."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import timm
import torch
import yaml

from fpnas_timm.arch import Arch, Conv
from fpnas_timm.arch.cost import cost
from fpnas_timm.cli import exit_status
from fpnas_timm.cli.runs import search_main
from fpnas_timm.errors import RunError
from fpnas_timm.paper import TABLE_B1
from fpnas_timm.search.distribution import load_distribution
from fpnas_timm.search.options import PRESETS, parse_search_args
from fpnas_timm.spaces import MBConvSpace, Row

ROOT = Path(__file__).parents[2]
OPTIONS = ['--epochs', '6', '--warmup-epochs', '1', '--joint-epoch', '3', '--lam', '0.3', '--beta', '0.3',
           '--target-macs', '60K', '--batch-size', '4', '--alpha-lr', '0.05', '--workers', '0',
           '--calibration-batches', '2', '--tolerance', '0.1']


@pytest.fixture(scope='module')
def space_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    micro = {'kernel': (0, 3, 5), 'act': ('re', 'sw'), 'splits': (0, 1, 2)}
    rows = [Row((1, 2), (4, 8), 1, 1, **micro), Row((1.5, 3), (8, 12, 16), 2, 2, **micro)]
    space = MBConvSpace.from_rows('tiny', Conv(3, 2, 8, 'sw'), rows, Conv(1, 1, 32, 'sw'), 16)
    path = tmp_path_factory.mktemp('space') / 'tiny.json'
    path.write_text(json.dumps(space.to_dict()))
    return path


@pytest.fixture(scope='module')
def options(space_file: Path, tiny_images: Path) -> list[str]:
    return ['--space', str(space_file), '--data-dir', str(tiny_images), *OPTIONS]


def start(*args: str, **kwargs) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, str(ROOT / 'search.py'), *args], cwd=ROOT, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, env={**os.environ, 'PYTHONPATH': str(ROOT)}, **kwargs,
    )


@pytest.fixture(scope='module')
def whole(options: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted search."""
    out = tmp_path_factory.mktemp('search') / 'whole'
    process = start(*options, '--output', str(out))
    stdout, stderr = process.communicate(timeout=250)
    assert process.returncode == 0, stderr
    assert stdout.splitlines()[-1] == (out / 'arch.txt').read_text().strip()
    return out


def same_result(out: Path, other: Path) -> bool:
    first, second = (load_distribution(o / 'distribution.safetensors') for o in (out, other))
    strings = {(o / 'arch.txt').read_text() for o in (out, other)}
    return torch.equal(first.alpha, second.alpha) and first.kind == second.kind and len(strings) == 1


def test_what_it_leaves(whole: Path, tiny_images: Path) -> None:
    arch = Arch.parse((whole / 'arch.txt').read_text())
    result = json.loads((whole / 'result.json').read_text())
    assert 54_000 <= cost(arch, num_classes=3).macs == result['macs'] <= 60_000
    history = [json.loads(line) for line in (whole / 'history.jsonl').read_text().splitlines()]
    assert [row['phase'] for row in history] == ['warmup', *['factorized'] * 2, *['joint'] * 3]
    assert all(0 < row['entropy'] <= 12 and row['k'] >= 2 and row['train_loss'] > 0 for row in history)
    halves = json.loads((whole / 'halves.json').read_text())
    assert sorted(halves['train'] + halves['val']) == list(range(36))
    assert halves['class_names'] == ['blue', 'green', 'red']
    assert yaml.safe_load((whole / 'args.yaml').read_text())['lam'] == 0.3
    for name in ('arch.png', 'course.png', 'distribution.png'):
        assert (whole / name).read_bytes().startswith(b'\x89PNG')
    model = timm.create_model(f'local-dir:{whole / "extract"}', pretrained=True)
    assert str(model.arch) == str(arch)
    assert model.num_classes == 3
    assert not any(torch.allclose(m.running_mean, torch.zeros(())) for m in model.modules()
                   if isinstance(m, torch.nn.BatchNorm2d))
    config = json.loads((whole / 'extract' / 'config.json').read_text())
    assert config['training']['search']['weights'].startswith('inherited')
    assert config['label_names'] == ['blue', 'green', 'red']


@pytest.mark.timeout(400)
def test_killed_several_times_and_resumed(whole: Path, options: list[str], tmp_path: Path) -> None:
    out = tmp_path / 'killed'
    kills = 0
    args = [*options, '--output', str(out)]
    for epochs_done, delay in ((0, 0.1), (1, 0.05), (3, 0.0)):
        process = start(*args)
        history = out / 'history.jsonl'
        while process.poll() is None:
            if (out / 'args.yaml').exists() and (
                not epochs_done or (history.exists() and len(history.read_text().splitlines()) >= epochs_done)
            ):
                time.sleep(delay)
                process.kill()
                break
            time.sleep(0.01)
        process.communicate()
        kills += process.returncode == -signal.SIGKILL
        args = ['--resume', str(out), '--workers', '1']  # the number of workers makes no difference
    assert kills == 3
    process = start(*args)
    stderr = process.communicate(timeout=200)[1]
    assert process.returncode == 0, stderr
    assert same_result(out, whole)


def test_terminated_in_the_middle_of_an_epoch(whole: Path, options: list[str], tmp_path: Path) -> None:
    out = tmp_path / 'terminated'
    process = start(*options, '--output', str(out), '--log-interval', '1', '--workers', '1', start_new_session=True)
    while True:
        line = process.stderr.readline()
        if 'epoch 2 step 2/4' in line or not line:
            os.killpg(process.pid, signal.SIGTERM)  # as `timeout` and cluster schedulers do: the workers get it too
            break
    stderr = process.communicate(timeout=100)[1]
    assert process.returncode == 128 + signal.SIGTERM, stderr
    assert f'go on with --resume {out}' in stderr
    state = torch.load(out / 'last.pt', weights_only=True)
    assert (state['epoch'], state['step']) >= (1, 2)
    (out / 'last.pt').write_bytes(b'damaged')  # the one before is of an earlier epoch: slower, but the same end
    process = start('--resume', str(out))
    stderr = process.communicate(timeout=200)[1]
    assert process.returncode == 0, stderr
    assert 'is damaged' in stderr
    assert same_result(out, whole)


def two_processes(*args: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2', str(ROOT / 'search.py'),
         *args],
        cwd=ROOT, env={**os.environ, 'PYTHONPATH': str(ROOT)}, capture_output=True, text=True, timeout=300, check=False,
    )


@pytest.mark.timeout(400)
def test_two_processes_are_one_with_accumulation(options: list[str], tmp_path: Path) -> None:
    """The data are split: alpha goes the same way, within what the order of sums changes."""
    args = [*options, '--batch-size', '3', '--epochs', '3', '--joint-epoch', '2', '--output']
    alone = start(*args, str(tmp_path / 'one'), '--grad-accum-steps', '2')
    stderr = alone.communicate(timeout=200)[1]
    assert alone.returncode == 0, stderr
    run = two_processes(*args, str(tmp_path / 'two'))
    assert run.returncode == 0, run.stderr
    one, two = ([json.loads(line) for line in (tmp_path / n / 'history.jsonl').read_text().splitlines()]
                for n in ('one', 'two'))
    for a, b in zip(one, two, strict=True):
        for key in ('train_loss', 'entropy', 'k', 'cost'):
            assert a[key] == pytest.approx(b[key], rel=1e-4), key
        if 'log_likelihood' in a:
            assert a['log_likelihood'] == pytest.approx(b['log_likelihood'], rel=1e-4)
    alphas = [load_distribution(tmp_path / n / 'distribution.safetensors').alpha for n in ('one', 'two')]
    torch.testing.assert_close(*alphas, rtol=0, atol=1e-5)
    assert alphas[0].abs().max() > 0.05


def test_processes_that_disagree_are_found_out() -> None:
    from fpnas_timm.search.evaluator import SuperNetEvaluator, fingerprint

    alpha = torch.randn(50, dtype=torch.float64)
    swapped = alpha[[1, 0, *range(2, 50)]]
    prints = {fingerprint(a) for a in (alpha, -alpha, 2 * alpha, swapped)}
    for bit in range(64):
        other = alpha.clone()
        other.view(torch.int64)[7] ^= torch.tensor(-(2**63) if bit == 63 else 1 << bit)
        prints.add(fingerprint(other))
    assert len(prints) == 4 + 64
    assert all(p == int(float(p)) for p in prints)

    class Other(SuperNetEvaluator):
        accum_steps, device, _val = 0, torch.device('cpu'), iter(())

        def __init__(self) -> None:
            """Another process, with another alpha."""

        def _gathered(self, values: torch.Tensor) -> torch.Tensor:
            return torch.stack([values, values + 1])

    with pytest.raises(RunError, match='no longer hold the same'):
        Other().log_likelihoods([((0,),)], alpha)


# ---------------------------------------------------------------- bad input


def fails(capsys: pytest.CaptureFixture, status: int, *args: str) -> str:
    assert search_main(list(args)) == status
    err = [line for line in capsys.readouterr().err.splitlines() if line.startswith('error: ')]
    assert len(err) == 1
    return err[0]


def test_bad_options(capsys, options: list[str], tmp_path: Path) -> None:
    out = str(tmp_path / 'out')
    full = [*options, '--output', out]
    assert 'did you mean --epochs?' in fails(capsys, 2, *full, '--epoch', '3')
    assert 'name a folder' in fails(capsys, 2, *options)
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
    assert '--seed -1: expected 0 or more' in fails(capsys, 2, *full, '--seed', '-1')
    assert 'not what timm takes' in fails(capsys, 2, *full, '--opt', 'nope')
    assert 'no whole number lies between' in fails(capsys, 2, *full, '--target-macs', '0.5')
    assert 'has no folder for the split' in fails(capsys, 2, *full, '--train-split', 'trian')
    config.write_text('preset: fpnas_l0\nepochs: 7\n')
    args = parse_search_args(['--config', str(config), '--output', out])
    assert (args.space, args.epochs, args.warmup_epochs) == ('fpnas_l0', 7, 45)
    assert 'fewer than epochs' in fails(capsys, 2, *full, '--warmup-epochs', '6')
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
    assert 'class 3 has 1 image' in fails(
        capsys, 2, *options, '--data-dir', str(data), '--output', str(tmp_path / 'out')
    )


def test_output_in_use_or_taken(capsys, options: list[str], whole: Path, tmp_path: Path) -> None:
    assert f'--resume {whole} goes on with it' in fails(capsys, 2, *options, '--output', str(whole))
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
    assert 'another process is searching there' in fails(capsys, 2, *options, '--output', str(busy))
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
    assert search_main(['--resume', str(whole), '--lam', '0.3', '--workers', '1']) == 0  # nothing left to do
    assert capsys.readouterr().out == before


def test_resume_with_other_images_space_or_processes(
        capsys, options: list[str], whole: Path, tiny_images: Path, space_file: Path, tmp_path: Path
) -> None:
    out, data, space = tmp_path / 'out', tmp_path / 'data', tmp_path / 'space.json'
    shutil.copytree(whole, out)
    shutil.copytree(tiny_images, data)
    settings = yaml.safe_load((out / 'args.yaml').read_text())
    changed = json.loads(space_file.read_text())
    changed['rows'][0]['act'] = changed['rows'][0]['act'][::-1]
    space.write_text(json.dumps(changed))
    (data / 'train' / 'green' / '5.png').rename(data / 'train' / 'green' / 'x.png')
    changes = ({'data_dir': str(data)}, 'images of the data folder'), ({'space': str(space)}, 'search space')
    for change, message in changes:
        (out / 'args.yaml').write_text(yaml.safe_dump({**settings, **change}))
        assert f'another {message}' in fails(capsys, 2, '--resume', str(out))
    (out / 'args.yaml').write_text(yaml.safe_dump(settings))
    record = json.loads((out / 'halves.json').read_text())
    (out / 'halves.json').write_text(json.dumps({**record, 'processes': 8}))
    assert 'number of processes (8 there, 1 here)' in fails(capsys, 2, '--resume', str(out))


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


def test_an_unreadable_image_of_one_of_two_processes(options: list[str], tiny_images: Path, tmp_path: Path) -> None:
    """The other process says that it is not to blame, instead of where it was when its peer had gone."""
    data = tmp_path / 'data'
    shutil.copytree(tiny_images, data)
    bad = data / 'train' / 'green' / '5.png'
    bad.write_bytes(bad.read_bytes()[:60])
    run = two_processes(*options, '--batch-size', '3', '--data-dir', str(data), '--output', str(tmp_path / 'out'))
    assert run.returncode == 1
    errors = {line for line in run.stderr.splitlines() if line.startswith('error: ')}
    assert any(str(bad) in line and 'fix it' in line for line in errors), run.stderr
    assert 'search/run.py' not in run.stderr, run.stderr  # no traceback of ours; torchrun writes one of its own


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


@pytest.mark.parametrize(('text', 'value'), [('3M', 3e6), ('0.4G', 4e8), ('66000000', 66e6), ('12k', 12e3)])
def test_quantities(text: str, value: float) -> None:
    assert parse_search_args(['--target-macs', text, '--output', 'x']).target_macs == pytest.approx(value)
