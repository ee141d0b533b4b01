"""`fpnas validate`, and timm's own scripts through `fpnas run`."""
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fpnas_timm.cli.runs import script_main, train_main, validate_main

from .common import TRAIN, at

ARCH = 'i16-cn_r1_k3_s2_c8_nsw-ir_r1_k3_s1_e2_c8_nre_sp1-ir_r2_k3_s2_e2_c16_nsw_sp2-cn_r1_k1_s1_c32_nsw'
ROOT = Path(__file__).parents[2]
TIMM_TRAIN = Path(os.environ.get('TIMM_TRAIN', 'not given'))
SCRIPTS = TIMM_TRAIN if TIMM_TRAIN.is_dir() else TIMM_TRAIN.parent


@pytest.fixture(scope='module')
def trained(tiny_images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp('validate')
    argv = ['--model', 'fpnas', '--model-kwargs', f'arch={ARCH}', '--num-classes', '3', '--device', 'cpu', '-j', '0']
    argv += ['-b', '12', '--epochs', '2', '--no-aug', '--opt', 'adamw', '--lr', '0.01', '--warmup-epochs', '0']
    ema = ['--model-ema', '--model-ema-decay', '0.5']
    assert train_main([*argv, *ema, '--data-dir', str(tiny_images), '--output', str(out), '--experiment', 'run']) == 0
    return out / 'run'


def result(capsys: pytest.CaptureFixture[str]) -> dict:
    out = capsys.readouterr().out
    assert out.startswith('--result\n')
    return json.loads(out.removeprefix('--result\n'))


def test_validate(trained: Path, tiny_images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The folder, and the checkpoint with the string from a file, have the accuracy of the run's best epoch."""
    config = json.loads((trained / 'export' / 'config.json').read_text())
    common = [str(tiny_images), '--device', 'cpu', '-j', '0', '-b', '5']
    assert validate_main([*common, '--model', f'local-dir:{trained / "export"}', '--pretrained']) == 0
    first = result(capsys)
    assert first['top1'] == pytest.approx(config['training']['top1'], abs=1e-3)
    assert first['loss'] == pytest.approx(config['training']['loss'], abs=1e-4)
    assert (first['img_size'], first['images']) == (16, 12)
    (tmp_path / 'arch.txt').write_text(ARCH)
    argv = ['--arch-file', str(tmp_path / 'arch.txt'), '--checkpoint', str(trained / 'model_best.pth.tar')]
    more = ['--num-classes', '3', '--reparam', '--results-file', str(tmp_path / 'result.json')]
    assert validate_main([*common, *argv, *more]) == 0
    second = result(capsys)
    assert second['top1'] == first['top1']
    assert second['checkpoint'] == argv[-1] and 'checkpoint' not in first
    assert second['loss'] == pytest.approx(first['loss'], abs=1e-4)
    assert json.loads((tmp_path / 'result.json').read_text()) == second


def test_validate_errors(tiny_images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert validate_main([str(tiny_images), '--model', 'fpnas_l0', '--device', 'cpu']) == 2
    assert 'error: no weights to validate: give --checkpoint FILE, or --pretrained' in capsys.readouterr().err
    assert validate_main(['--chekpoint', 'x']) == 2
    assert 'did you mean --checkpoint?' in capsys.readouterr().err
    assert validate_main([str(tiny_images), '--checkpoint', 'nowhere.pth', '--device', 'cpu']) == 2
    assert 'error: ' in capsys.readouterr().err
    (tmp_path / 'text.pth').write_text('no weights')
    argv = [str(tiny_images), '--model', 'resnet10t', '--checkpoint', str(tmp_path / 'text.pth'), '--device', 'cpu']
    assert validate_main(argv) == 2
    assert 'weights_only' not in (said := capsys.readouterr().err) and 'text.pth' in said


def test_run_errors(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert script_main([]) == 2
    assert script_main([str(tmp_path / 'nowhere.py')]) == 2
    assert 'no such script' in capsys.readouterr().err
    script = tmp_path / 'never_run.py'
    script.write_text('raise SystemExit("run")')
    for argv, said in {
        ('--arch',): '--arch NAME=STRING', ('--arch', 'my_net', str(script)): '--arch NAME=STRING',
        (f'--arch=My-Net={ARCH}', str(script)): 'lower case', (f'--arch=fpnas_l0={ARCH}', str(script)): 'is taken',
        ('--arch', f'my_net={ARCH}_x', str(script)): '_x', ('--arch', f'my_net={ARCH}'): 'usage: fpnas run',
    }.items():
        assert script_main(argv) == 2
        assert said in capsys.readouterr().err


def test_run_with_named_strings(tmp_path: Path) -> None:
    script = tmp_path / 'script.py'
    script.write_text(
        'import sys, timm\n'
        'for name in sys.argv[1:]:\n'
        '    print(name, timm.create_model(name, device="meta").arch)\n'
    )
    command = [sys.executable, '-m', 'fpnas_timm', 'run', '--arch', f'run_a={ARCH}', f'--arch=run_b={ARCH}']
    env = {**os.environ, 'PYTHONPATH': os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')])}
    command += [str(script), 'run_a', 'run_b']
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ['run_a', ARCH, 'run_b', ARCH]


TIMMS = {
    'validate.py': ['{data}', '--model', '{model}', '--pretrained', '--device', 'cpu', '-j', '0'],
    'benchmark.py': ['--model', 'fpnas', '--model-kwargs', f'arch={ARCH}', '--device', 'cpu', '--bench', 'both',
                     '-b', '2', '--num-bench-iter', '10', '--num-warm-iter', '1'],
    'onnx_export.py': ['{out}/model.onnx', '--model', '{model}'],
    'inference.py': ['--data-dir', '{data}/validation', '--model', 'fpnas', '--model-kwargs', f'arch={ARCH}',
                     '--checkpoint', '{best}', '--num-classes', '3', '--device', 'cpu', '-j', '0',
                     '--results-dir', '{out}', '--results-file', 'result', '--fullname'],
}


@pytest.mark.parametrize('name', TIMMS)
def test_timms_scripts(name: str, trained: Path, tiny_images: Path, tmp_path: Path) -> None:
    """Unchanged, on our models; `train.py` is in test_train_parity.py."""
    if not (SCRIPTS / name).is_file():
        pytest.skip('TIMM_TRAIN names no checkout of timm')
    if name == 'inference.py':
        pytest.importorskip('pandas')
    model = f'local-dir:{trained / "export"}'
    argv = [
        a.format(data=tiny_images, model=model, best=trained / 'model_best.pth.tar', out=tmp_path) for a in TIMMS[name]
    ]
    env = {**os.environ, 'PYTHONPATH': os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')])}
    command = [sys.executable, '-m', 'fpnas_timm', 'run', str(SCRIPTS / name), *argv]
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    if name == 'validate.py':
        config = json.loads((trained / 'export' / 'config.json').read_text())
        said = json.loads(done.stdout.partition('--result')[2])
        assert said['top1'] == pytest.approx(config['training']['top1'], abs=1e-3)
    elif name == 'onnx_export.py':
        assert (tmp_path / 'model.onnx').stat().st_size > 1000
    elif name == 'benchmark.py':
        assert json.loads(done.stdout.partition('--result')[2])['train_samples_per_sec'] > 0
    else:
        assert len((tmp_path / 'result.csv').read_text().splitlines()) == 1 + 12


@pytest.mark.parametrize('held_out', [False, True])
def test_training_crops_as_validation_does(
    held_out: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Wide images and a model that squashes them: the loss in training is that of `validate`, not of a centre crop."""
    rng = np.random.default_rng(0)
    for split in ('train', *(() if held_out else ('validation',))):
        for name, end in (('dark', 0), ('light', 255)):
            (tmp_path / split / name).mkdir(parents=True)
            for i in range(8):
                pixels = rng.integers(0, 256, (16, 64, 3), dtype=np.uint8)
                pixels[:, :16] = end
                Image.fromarray(pixels).save(tmp_path / split / name / f'{i}.png')
    argv = [*TRAIN, '--data-dir', str(tmp_path), '--num-classes', '2', '--pretrained-cfg-overlay', 'crop_mode=squash']
    assert train_main([*argv, *at(tmp_path), *(['--val-fraction', '0.5'] if held_out else [])]) == 0
    run = tmp_path / 'run'
    said = json.loads((run / 'export' / 'config.json').read_text())
    assert said['pretrained_cfg']['crop_mode'] == 'squash'
    common = [str(tmp_path), '--model', f'local-dir:{run / "export"}', '--pretrained', '--device', 'cpu', '-j', '0']
    if held_out:
        common += ['--val-images', str(run / 'validation.txt')]
    losses = []
    for mode in ([], ['--crop-mode', 'center']):
        assert validate_main([*common, *mode]) == 0
        losses.append(result(capsys)['loss'])
    assert losses[0] == pytest.approx(said['training']['loss'], abs=1e-5)
    assert abs(losses[1] - losses[0]) > 1e-3
