"""What `--model` may name, and that a run says what starts from random weights."""
import re
import shutil
from pathlib import Path

import pytest

from fpnas_timm.cli.runs import train_main, validate_main
from fpnas_timm.errors import UsageError
from fpnas_timm.train import train
from fpnas_timm.train.start import named_model

from .common import ARCH, ROOT, TRAIN, at, fails

SHORT = ['--num-classes', '3', '--device', 'cpu', '-b', '8', '-j', '0', '--epochs', '1', '--warmup-epochs', '0']


@pytest.fixture(scope='module')
def done(tiny_images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp('done')
    assert train_main([*TRAIN, '--data-dir', str(tiny_images), '--epochs', '1', *at(out)]) == 0
    return out / 'run'


@pytest.mark.parametrize('name', ['timm/nothing', 'nowhere/at/all', ROOT / 'docs'])
def test_no_model(capsys: pytest.CaptureFixture[str], tiny_images: Path, tmp_path: Path, name: str | Path) -> None:
    """What is on the Hub needs a prefix; a folder needs a model in it."""
    advice = 'expected the folder of a training run' if isinstance(name, Path) else f'hf-hub:{name}'
    name = str(name)
    said = fails(capsys, ['--model', name, *SHORT, '--data-dir', str(tiny_images), *at(tmp_path)])
    assert said.startswith(f'--model {name}: ') and advice in said
    with pytest.raises(UsageError, match=re.escape(f"model='{name}': ")):
        train(name, data_dir=tiny_images, num_classes=3, output=tmp_path)
    assert validate_main(['--model', name, '--pretrained', '--data-dir', str(tiny_images)]) == 2
    assert f'--model {name}: ' in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_folder_of_a_run(
        capsys: pytest.CaptureFixture[str], done: Path, tiny_images: Path, tmp_path: Path
) -> None:
    assert named_model(f'local-dir:{done}') == f'local-dir:{done}/export' == named_model(f'local-dir:{done}/export')
    assert named_model(str(done)) == named_model(f'{done}/export') == f'local-dir:{done}/export'
    shutil.copytree(done / 'export', tmp_path / 'search' / 'extract')
    assert named_model(f'local-dir:{tmp_path}/search') == f'local-dir:{tmp_path}/search/extract'
    argv = ['--model', str(done), '--pretrained', '--data-dir', str(tiny_images), '-j', '0']
    assert validate_main([*argv, '--device', 'cpu']) == 0
    assert 'top1' in capsys.readouterr().out
    assert train_main([*argv[:5], str(tiny_images), *SHORT, *at(tmp_path)]) == 0


def test_random_weights_are_said(
        caplog: pytest.LogCaptureFixture, done: Path, tiny_images: Path, tmp_path: Path
) -> None:
    two = tmp_path / 'two'
    for split in ('train', 'validation'):
        for name in ('red', 'blue'):
            shutil.copytree(tiny_images / split / name, two / split / name)
    model, fpnas = ['--model', f'local-dir:{done}/export'], ['--model', 'fpnas', '--model-kwargs', f'arch={ARCH}']
    weights = str(done / 'export' / 'model.safetensors')
    scratch = f'local-dir:{done}/export starts from random weights: add --pretrained'
    new = 'the classifier is new, since that of local-dir:'
    dropped = f'--pretrained-path {weights}: all weights are loaded but those of the classifier, which is new'
    for i, (argv, data, expected) in enumerate([
        (model, tiny_images, scratch), ([*model, '--pretrained'], tiny_images, ''),
        ([*model, '--pretrained', '--num-classes', '2'], two, new),
        ([*model, '--pretrained', '--num-classes', '3'], two, ''),
        ([*model, '--initial-checkpoint', weights], tiny_images, ''), (fpnas, tiny_images, ''),
        ([*fpnas, '--pretrained', '--pretrained-path', weights], tiny_images, dropped),
    ]):
        caplog.clear()
        assert train_main([*SHORT, *argv, '--data-dir', str(data), *at(tmp_path, f'run{i}')]) == 0
        for sentence in (scratch, new, dropped):
            assert (sentence in caplog.text) == (sentence == expected), (i, sentence)
    caplog.clear()
    assert train_main([*SHORT, *model, '--data-dir', str(tiny_images), *at(tmp_path, 'run0'), '--resume', 'auto']) == 0
    assert 'random weights' not in caplog.text
