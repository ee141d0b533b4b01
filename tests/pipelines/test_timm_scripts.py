"""timm's own scripts, from a checkout of its repository that `TIMM_SCRIPTS` names."""
import os
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file

from tests.pipelines.on_digits import ARCH

ROOT = Path(__file__).parents[2]
SCRIPTS = Path(os.environ.get('TIMM_SCRIPTS', ''))
pytestmark = pytest.mark.skipif(
    'TIMM_SCRIPTS' not in os.environ, reason="TIMM_SCRIPTS names no checkout of timm's repository; no package has them"
)


def run(script: str, *argv: str, cwd: Path, named: tuple[str, ...] = ()) -> str:
    """Run a script by `fpnas run`; `named` are the options before it."""
    env = {**os.environ, 'PYTHONPATH': str(ROOT)}
    command = (sys.executable, '-W', 'ignore', '-m', 'fpnas_timm', 'run', *named, str(SCRIPTS / script), *argv)
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout + done.stderr


@pytest.fixture(scope='module')
def checkpoint(digits: Path) -> Path:
    """The trained weights as timm's train.py stores them."""
    torch.save({'state_dict': load_file(digits / 'saved' / 'model.safetensors')}, digits / 'checkpoint.pth.tar')
    return digits / 'checkpoint.pth.tar'


def test_train_and_validate(digits: Path, tmp_path: Path) -> None:
    common = ('--device', 'cpu', '--no-prefetcher', '-j', '0', '-b', '64')
    out = run(
        'train.py', str(digits / 'data'), '--device-modules', 'fpnas_timm', '--model', 'fpnas', '--model-kwargs',
        f'arch={ARCH}', '--num-classes', '10', '--epochs', '1', '--opt', 'adamw', '--lr', '3e-3', '--output',
        str(tmp_path / 'out'), *common, cwd=tmp_path,
    )
    assert 'Best metric' in out
    out = run(
        'validate.py', str(digits / 'data'), '--model', f'local-dir:{digits}/saved', '--pretrained', '--split',
        'validation', *common, cwd=tmp_path,
    )
    [top1] = [line for line in out.splitlines() if '"top1"' in line]
    assert float(top1.partition(':')[2].strip(' ,')) > 90


@pytest.mark.parametrize('source', ['folder', 'checkpoint of a string'])
def test_onnx_export(source: str, digits: Path, checkpoint: Path, tmp_path: Path) -> None:
    ort = pytest.importorskip('onnxruntime')
    pytest.importorskip('onnxscript')
    folder = f'local-dir:{digits}/saved'
    named, model = ((), folder) if source == 'folder' else (('--arch', f'my_net={ARCH}'), 'my_net')
    weights = () if source == 'folder' else ('--checkpoint', str(checkpoint), '--num-classes', '10', '--img-size', '32')
    run('onnx_export.py', 'model.onnx', '--model', model, *weights, '--dynamo', cwd=tmp_path, named=named)
    session = ort.InferenceSession(tmp_path / 'model.onnx', providers=['CPUExecutionProvider'])
    [given] = session.get_inputs()
    x = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        logits = timm.create_model(folder, pretrained=True).eval()(x)
    found = torch.from_numpy(session.run(None, {given.name: x.numpy()})[0])
    torch.testing.assert_close(found, logits, rtol=1e-3, atol=1e-3)


def test_inference_of_a_folder(digits: Path, tmp_path: Path) -> None:
    """By default the file's name is the model's, with its slashes; classes may have files of the same name."""
    run(
        'inference.py', str(digits / 'data'), '--split', 'validation', '--model', f'local-dir:{digits}/saved',
        '--pretrained', '--device', 'cpu', '-j', '0', '--topk', '1', '--fullname', '--results-file', 'results.csv',
        cwd=tmp_path,
    )
    rows = [line.split(',') for line in (tmp_path / 'results.csv').read_text().splitlines()[1:]]
    assert len(rows) == len({row[0] for row in rows}) > 300
    assert sum(row[0].split('/')[0] == row[1] for row in rows) > 0.9 * len(rows)


def test_bulk_runner(digits: Path, checkpoint: Path, tmp_path: Path) -> None:
    """Its children run the script by `fpnas run` too."""
    named = ('--arch', f'my_net={ARCH}')
    run(
        'bulk_runner.py', '--model-list', 'my_net*', '--results-file', 'results.csv', '-m', 'yes', 'fpnas_timm', 'run',
        *named, str(SCRIPTS / 'validate.py'), str(digits / 'data'), '--split', 'validation', '--checkpoint',
        str(checkpoint), '--num-classes', '10', '--device', 'cpu', '--no-prefetcher', '-j', '0',
        cwd=tmp_path, named=named,
    )
    header, row = (line.split(',') for line in (tmp_path / 'results.csv').read_text().splitlines())
    assert row[0] == 'my_net' and float(row[header.index('top1')]) > 90
