"""Channels and image mode: every command takes them from the model's folder, and contradictions are said."""
import json
from pathlib import Path

import numpy as np
import pytest
import timm
from PIL import Image
from timm.data import resolve_model_data_config

from fpnas_timm.cli.runs import validate_main
from fpnas_timm.errors import UsageError
from fpnas_timm.train import train
from fpnas_timm.train.channels import channels_asked_for, check_conversion, choose_mode
from fpnas_timm.weights.recorded import Recorded

from .common import ARCH

OPTIONS = dict(arch=ARCH, device='cpu', workers=0, batch_size=12, no_aug=True, opt='adamw', warmup_epochs=0, seed=1)


@pytest.fixture(scope='module')
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes that differ in transparency only, which three channels do not show."""
    root = tmp_path_factory.mktemp('transparent')
    rng = np.random.default_rng(0)
    for split, count in (('train', 12), ('validation', 4)):
        for name, alpha in (('solid', 255), ('half', 128), ('thin', 20)):
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 255, (16, 16, 4), dtype=np.uint8)
                pixels[..., 3] = alpha
                Image.fromarray(pixels).save(root / split / name / f'{i}.png')
    return root


@pytest.fixture(scope='module', params=[4, 1])
def export(request: pytest.FixtureRequest, images: Path, tiny_images: Path, tmp_path_factory: pytest.TempPathFactory,
           ) -> tuple[Path, Path, int]:
    """The export of a run with 4 channels, or with 1; its data and the number of its channels."""
    channels = request.param
    data, folder = images if channels == 4 else tiny_images, tmp_path_factory.mktemp('channels')
    result = train('fpnas', data_dir=data, in_chans=channels, num_classes=3, epochs=8, lr=0.02, output=folder,
                   experiment='run', **OPTIONS)
    config = json.loads((result.export / 'config.json').read_text())
    assert config['input_img_mode'] == {4: 'RGBA', 1: 'L'}[channels]
    assert result.metrics['eval_top1'] > (90 if channels == 4 else 0)
    return result.export, data, channels


def validated(capsys: pytest.CaptureFixture[str], argv: list[str]) -> dict:
    assert validate_main([*argv, '--device', 'cpu', '-j', '0', '-b', '12', '--pretrained']) == 0
    return json.loads(capsys.readouterr().out.removeprefix('--result\n'))


def test_validation_and_fine_tuning(
        export: tuple[Path, Path, int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both have the accuracy of the run without an option; options that contradict the folder are refused."""
    folder, data, channels = export
    said = json.loads((folder / 'config.json').read_text())['training']
    model = f'local-dir:{folder}'
    result = validated(capsys, [str(data), '--model', model])
    assert result['top1'] == pytest.approx(said['top1'], abs=1e-3)
    assert result['loss'] == pytest.approx(said['loss'], abs=1e-4)
    assert validated(capsys, [str(data), '--model', model, '--img-size', '16', '--mean', '0.449'])['images'] == 12
    for options in (['--in-chans', '3'], ['--input-size', '3', '16', '16'], ['--input-img-mode', 'RGB']):
        assert validate_main([str(data), '--model', model, '--pretrained', '--device', 'cpu', *options]) == 2
        assert f'is for {channels} image channels, the options ask for 3: leave out' in capsys.readouterr().err
    result = train(model, pretrained=True, data_dir=data, epochs=1, lr=1e-9, freeze='all', output=tmp_path,
                   experiment='run', **{**OPTIONS, 'arch': None})
    assert result.metrics['eval_top1'] == pytest.approx(said['top1'], abs=1e-3)
    after = timm.create_model(f'local-dir:{result.export}', pretrained=True)
    assert after.in_chans == resolve_model_data_config(after)['input_size'][0] == channels


def test_augmentation_of_the_models_images(export: tuple[Path, Path, int], tmp_path: Path) -> None:
    """The mode of the model counts as that of the options does."""
    folder, data, channels = export
    options = {**OPTIONS, 'arch': None, 'no_aug': False, 'aa': 'rand-m9-mstd0.5', 'epochs': 1, 'output': tmp_path}
    if channels == 4:
        with pytest.raises(UsageError, match=r'^aa=.*: its operations need images of 1 or 3 .* not RGBA$'):
            train(f'local-dir:{folder}', pretrained=True, data_dir=data, **options)
        assert not list(tmp_path.iterdir())
    else:
        assert train(f'local-dir:{folder}', pretrained=True, data_dir=data, **options).finished


def test_images_of_four_channels_are_saved(images: Path, tmp_path: Path) -> None:
    train('fpnas', data_dir=images, num_classes=3, in_chans=4, epochs=1, save_images=True, output=tmp_path,
          experiment='run', **OPTIONS)
    assert [Image.open(path).mode for path in (tmp_path / 'run').glob('train-batch-*')] == ['RGBA'] * 2


def test_teachers(export: tuple[Path, Path, int], tmp_path: Path) -> None:
    folder, data, channels = export
    options = dict(data_dir=data, num_classes=3, epochs=1, output=tmp_path, kd_model_name=f'local-dir:{folder}',
                   **OPTIONS)
    result = train('fpnas', in_chans=channels, experiment='same', **options)
    assert result.history[0]['train_loss'] > 0
    with pytest.raises(UsageError, match=rf'is for {channels} image channels? \((L|RGBA)\), the student for 3: choose'):
        train('fpnas', experiment='colour', **options)


@pytest.mark.parametrize(('options', 'message'), [
    ({'in_chans': 2}, r'in_chans=2: expected 1, 3 or 4 channels, or the mode that has as many: .* one of LA'),
    ({'in_chans': 5}, r'in_chans=5: expected 1, 3 or 4 channels, .* images have 1 to 4'),
    ({'in_chans': 3, 'input_img_mode': 'RGBA'}, 'input_img_mode=RGBA has 4 channels, the model 3'),
    ({'in_chans': 1, 'input_size': [3, 16, 16]}, 'in_chans=1 contradicts input_size'),
])
def test_options(tiny_images: Path, tmp_path: Path, options: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        train('fpnas', data_dir=tiny_images, num_classes=3, output=tmp_path, **options, **OPTIONS)
    assert not list(tmp_path.iterdir())


def test_channels() -> None:
    mode, [note] = choose_mode(1, None, Recorded(img_mode='I'), 'model')  # of which timm would read half
    assert mode == 'L' and 'model was trained on images of the mode I, which are not read any more' in note
    assert channels_asked_for(None, None, None) is None
    assert channels_asked_for(2, None, 'LA') == 2
    mode, notes = choose_mode(4, None, Recorded(), 'model')
    assert mode == 'RGBA' and 'another mode with --input-img-mode' in notes[0]
    assert choose_mode(4, 'CMYK', Recorded(img_mode='RGBA'), 'model') == (
        'CMYK', ['model was trained on RGBA images; --input-img-mode says CMYK.']
    )
    assert choose_mode(3, None, Recorded(img_mode='RGBA'), 'model') == ('RGB', [])  # the model has been adapted
    assert check_conversion(3, 3, 'model', for_training=False) == check_conversion(None, 3, 'model', False) == []
    assert 'grey images' in check_conversion(3, 1, 'model', for_training=False)[0]
    assert 'from 3 to 4 image channels' in check_conversion(3, 4, 'model', for_training=True)[0]
