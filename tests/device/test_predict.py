"""`fpnas predict`: the classes of images with a folder and with exported files, against timm by hand."""
import json
from pathlib import Path

import pytest
import timm
import torch
from PIL import Image
from timm.data import create_transform

import fpnas_timm  # noqa: F401
from fpnas_timm.cli import main
from tests.device.conftest import CLASSES


def by_hand(folder: Path, file: Path) -> list[tuple[str, float]]:
    model = timm.create_model(f'local-dir:{folder}/export', pretrained=True).eval()
    x = create_transform((3, 32, 32), interpolation='bicubic', crop_pct=0.9)(Image.open(file))
    with torch.no_grad():
        values, order = model(x.unsqueeze(0))[0].softmax(0).sort(descending=True)
    return [(CLASSES[i], v) for i, v in zip(order.tolist(), values.tolist())]


@pytest.fixture(scope='module')
def exported(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp('exported') / 'net.pt'
    assert main(['export', str(folder), '-o', str(path)]) == 0
    return path


@pytest.mark.parametrize('kind', ['run', 'local-dir', 'file'])
def test_probabilities(
        kind: str, folder: Path, exported: Path, photos: Path, capsys: pytest.CaptureFixture
) -> None:
    model = {'run': folder, 'local-dir': f'local-dir:{folder}/export', 'file': exported}[kind]
    assert main(['predict', str(model), str(photos / 'validation'), '--json']) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    files = sorted((photos / 'validation').rglob('*.png'))
    assert [row['image'] for row in rows] == list(map(str, files))
    for row, file in zip(rows, files):
        expected = by_hand(folder, file)
        assert [c['class'] for c in row['classes']] == [name for name, _ in expected]
        assert [c['probability'] for c in row['classes']] == pytest.approx([p for _, p in expected], abs=2e-5)


def test_text(exported: Path, folder: Path, photos: Path, capsys: pytest.CaptureFixture) -> None:
    file = photos / 'train' / 'cyan' / '2.png'
    assert main(['predict', str(exported), str(file), '-k', '1']) == 0
    name, p = by_hand(folder, file)[0]
    assert capsys.readouterr().out == f'{file}: {name} {100 * p:.1f} %\n'


@pytest.mark.parametrize(('images', 'status', 'message'), [
    (['nowhere.png'], 2, 'nowhere.png: no such file or folder'), (['.'], 2, '.: contains no images'),
    (['bad.txt'], 1, 'bad.txt: this image cannot be read (not an image of a known format)'), ([], 2, 'IMAGE'),
])
def test_no_images(
        images: list[str], status: int, message: str, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path('bad.txt').write_text('no image')
    assert main(['predict', str(exported), *images]) == status
    error = capsys.readouterr().err
    assert message in error and error.count('\n') == 1


def test_all_other_images_are_predicted(
        exported: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    good = str(photos / 'train' / 'cyan' / '2.png')
    bad = [str(tmp_path / f'{i}.png') for i in range(8)]
    for file in bad:
        Path(file).write_text('no image')
    assert main(['predict', str(exported), bad[0], good, *bad[1:3], good, '--json']) == 1
    out, error = capsys.readouterr()
    assert [json.loads(line)['image'] for line in out.splitlines()] == [good, good]
    assert error.startswith(f'error: {bad[0]}: this image cannot be read'), error
    assert f'of the 5 images, 2 more cannot be read: {bad[1]}, {bad[2]}' in error
    assert main(['predict', str(exported), good, *bad]) == 1
    out, error = capsys.readouterr()
    assert len(out.splitlines()) == 1 and error.endswith(f'{", ".join(bad[1:6])}, ..\n') and error.count('\n') == 1


def test_files_of_others(tmp_path: Path, photos: Path, capsys: pytest.CaptureFixture) -> None:
    torch.jit.save(torch.jit.script(torch.nn.Identity()), str(tmp_path / 'other.pt'))
    (tmp_path / 'damaged.pt2').write_bytes(b'PK\3\4 and so on')
    (tmp_path / 'cat.txt').write_text('cat')
    for name, message in (
            ('other.pt', 'has no metadata of fpnas export'), ('damaged.pt2', 'cannot be opened as torch-export'),
            ('cat.txt', 'expected a file name that ends in'), ('none.onnx', 'none.onnx: no such file'),
    ):
        assert main(['predict', str(tmp_path / name), str(photos)]) == 2
        error = capsys.readouterr().err
        assert message in error and error.count('\n') == 1
