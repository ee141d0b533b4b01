"""`fpnas export` and `fpnas predict` with a trained network: every format, with preprocessing, and int8."""
import json
from pathlib import Path

import pytest

from fpnas_timm.cli import main
from fpnas_timm.device.formats import FORMATS

MARGIN = 2.0  # points of top-1 that int8 may cost; 355 images, so that one is 0.28


def export(digits: Path, tmp_path: Path, name: str, *more: str) -> dict:
    form = FORMATS[name]
    for module in {*form.writer_needs, *form.reader_needs, *(form.int8_needs or ())}:
        pytest.importorskip(module)
    path = tmp_path / f'digits{form.suffix}'
    args = [str(digits / 'saved'), '-o', str(path), '--data-dir', str(digits / 'data'), '-j', '0', *more]
    assert main(['export', *args]) == 0
    return json.loads(Path(f'{path}.json').read_text())


@pytest.mark.parametrize('name', list(FORMATS))
def test_every_format(name: str, digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    report = export(digits, tmp_path, name)
    assert report['accuracy']['before'] == report['accuracy']['after']
    assert report['agreement']['largest'] < 1e-4
    capsys.readouterr()
    image = sorted((digits / 'data' / 'validation' / '7').iterdir())[0]
    said = []
    for model in (report['file'], str(digits / 'saved')):
        assert main(['predict', model, str(image), '--json']) == 0
        said.append(json.loads(capsys.readouterr().out)['classes'])
    assert [c['class'] for c in said[0]] == [c['class'] for c in said[1]]
    assert [c['probability'] for c in said[0]] == pytest.approx([c['probability'] for c in said[1]], abs=1e-4)


@pytest.mark.parametrize('name', [name for name, form in FORMATS.items() if form.any_size])
def test_preprocessing_in_the_graph(name: str, digits: Path, tmp_path: Path) -> None:
    report = export(digits, tmp_path, name, '--with-preprocessing')
    before, after = (report['accuracy'][label]['top1'] for label in ('before', 'after'))
    assert abs(before - after) < 0.6  # two images


@pytest.mark.parametrize('inside', [False, True])
@pytest.mark.parametrize('name', [name for name, form in FORMATS.items() if form.int8_needs is not None])
def test_int8(name: str, inside: bool, digits: Path, tmp_path: Path) -> None:
    more = ['--with-preprocessing'] if inside else []
    report = export(digits, tmp_path, name, '--int8', '--calibration', str(digits / 'data'), *more)
    before, after = (report['accuracy'][label]['top1'] for label in ('before', 'after'))
    print(f'{name}: top-1 {before:.2f} % in float32, {after:.2f} % in int8')
    assert after > before - MARGIN
    assert report['agreement']['real'] and report['agreement']['same_top1'] > 0.95
    assert report['bytes'] < report['float32_bytes']
