"""`fpnas export`: each format's own runtime gives PyTorch's numbers, and nothing is left of what fails."""
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.data import create_transform

import fpnas_timm  # noqa: F401
from fpnas_timm.cli import main
from fpnas_timm.device import formats
from tests.device.conftest import ARCH, CLASSES
from tests.model.nets import close, images

pytestmark = pytest.mark.usefixtures('script_builtins')
newer_torch = pytest.mark.skipif(not hasattr(torch.compiler, 'is_exporting'), reason='torch 2.7 and later')


def reference(folder: Path) -> Any:
    return timm.create_model(f'local-dir:{folder}/export', pretrained=True).eval()


def run_onnx(path: Path, x: torch.Tensor) -> torch.Tensor:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
    return torch.from_numpy(session.run(None, {'image': x.numpy()})[0])


RUN = {
    '.onnx': run_onnx,
    '.pt2': lambda path, x: torch.export.load(path).module()(x),
    '.pt': lambda path, x: torch.jit.load(str(path))(x),
}
SUFFIXES = [pytest.param(suffix, marks=newer_torch) if suffix == '.onnx' else suffix for suffix in RUN]


def export(*args: Any) -> int:
    return main(['export', *map(str, args)])


@pytest.mark.parametrize('suffix', SUFFIXES)
def test_formats(suffix: str, folder: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = tmp_path / f'net{suffix}'
    assert export(folder, '-o', path, '--data-dir', photos, '-j', 0) == 0
    printed = capsys.readouterr().out
    with torch.no_grad():
        for n in (1, 3):
            close(RUN[suffix](path, images(n, 32)), reference(folder)(images(n, 32)))
    report = json.loads((tmp_path / f'net{suffix}.json').read_text())
    assert report['bytes'] == path.stat().st_size and f'{report["bytes"]:,} bytes' in printed
    assert report['metadata']['label_names'] == CLASSES and report['metadata']['arch'] == ARCH
    assert report['agreement']['largest'] <= 1e-4 and report['agreement']['same_top1'] == 1
    assert report['accuracy']['before'] == report['accuracy']['after']
    assert report['accuracy']['after']['images'] == 12
    assert set(report['milliseconds']) == {'before', 'after'}
    assert sorted(p.name for p in tmp_path.iterdir()) == [f'net{suffix}', f'net{suffix}.json']
    if suffix == '.onnx':
        check_onnx(path)


def check_onnx(path: Path) -> None:
    """Batch norms are folded, any number of images fits, and the metadata are an entry of the file."""
    onnx = pytest.importorskip('onnx')
    model = onnx.load(path)
    operations = {node.op_type for node in model.graph.node}
    assert 'Conv' in operations and 'BatchNormalization' not in operations
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param
    [entry] = [p.value for p in model.metadata_props if p.key == 'fpnas']
    assert json.loads(entry)['data_config']['crop_pct'] == 0.9


def check_photos(run: Callable[[torch.Tensor], torch.Tensor], folder: Path, photos: Path, tolerance: float) -> None:
    """Photos of several sizes as pixels: nearly the logits of timm's transform and network."""
    transform = create_transform((3, 32, 32), interpolation='bicubic', crop_pct=0.9)
    for file in sorted(photos.rglob('*.png'))[::5]:
        photo = Image.open(file)
        with torch.no_grad():
            expected = reference(folder)(transform(photo).unsqueeze(0))
        found = run(torch.from_numpy(np.array(photo)).unsqueeze(0))
        assert (found - expected).abs().max() < tolerance * expected.abs().max()


def test_preprocessing_in_the_graph(folder: Path, photos: Path, tmp_path: Path) -> None:
    """The other formats: tests/pipelines."""
    path = tmp_path / 'net.pt'
    assert export(folder, '-o', path, '--with-preprocessing') == 0
    check_photos(torch.jit.load(str(path)), folder, photos, 0.02)


@newer_torch
def test_int8_with_preprocessing(
        folder: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    onnx = pytest.importorskip('onnx')
    path = tmp_path / 'net.onnx'
    assert export(folder, '-o', path, '--int8', '--calibration', photos, '--json', '--with-preprocessing') == 0
    report = json.loads(capsys.readouterr().out)
    assert report['metadata']['precision'] == 'int8'
    assert report['agreement']['real'] and report['agreement']['inputs'] == 12 and report['agreement']['largest'] > 0
    model = onnx.load(path)
    weights = [t for t in model.graph.initializer if t.data_type == onnx.TensorProto.INT8 and len(t.dims) == 4]
    layers = [m for m in reference(folder).modules() if isinstance(m, (torch.nn.Conv2d, torch.nn.Linear))]
    assert len(weights) == len(layers) - 1  # all but the classifier: the attention's are 1x1 convolutions
    operations = [node.op_type for node in model.graph.node]
    assert operations.index('QuantizeLinear') > operations.index('Div')  # the resize keeps its precision
    assert [p.key for p in model.metadata_props] == ['fpnas']
    check_photos(lambda x: run_onnx(path, x), folder, photos, 0.25)


def test_a_network_without_weights(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """A string has none: the file is for measuring, says so, and predicts nothing."""
    path = tmp_path / 'net.pt'
    assert export(ARCH, '-o', path, '--img-size', 64) == 0
    assert 'random: it is for measuring only' in capsys.readouterr().err
    assert torch.jit.load(str(path))(images(1, 64)).shape == (1, 1000)
    assert main(['predict', str(path), str(tmp_path)]) == 2
    assert 'its classes would be random' in capsys.readouterr().err


def test_a_wrong_file_is_not_kept(
        folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    path = tmp_path / 'net.pt'
    path.write_text('the old one')
    write = formats.FORMATS['torchscript'].write

    def wrong(network: torch.nn.Module, *rest: Any) -> None:
        next(network.parameters()).data.mul_(1.1)
        write(network, *rest)

    monkeypatch.setitem(formats.FORMATS, 'torchscript', replace(formats.FORMATS['torchscript'], write=wrong))
    assert export(folder, '-o', path) == 1
    assert 'does not compute what PyTorch computes' in capsys.readouterr().err
    assert path.read_text() == 'the old one' and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(('args', 'message'), [
    (['-o', 'x.tflite'], 'expected a file name that ends in .onnx (onnx)'),
    (['-o', 'x.onnx', '--format', 'torchscript'], 'ends in .pt, for torchscript'),
    (['-o', 'x.onnx', '--format', 'onxn'], 'did you mean onnx?'),
    (['-o', 'nowhere/x.pt'], 'there is no folder'),
    (['-o', 'x.onnx', '--int8'], '--int8 needs --calibration DIR'),
    (['-o', 'x.onnx', '--calibration', '.'], '--calibration is for --int8'),
    (['-o', 'x.onnx', '--int8', '--calibration', '.'], '--calibration .: contains no images'),
    (['-o', 'x.onnx', '--int8', '--calibration', 'nowhere'], '--calibration nowhere: no such folder'),
    (['-o', 'x.pt', '--int8', '--calibration', '.'], 'there is none for torchscript files: expected --format onnx'),
    (['-o', 'x.pt', '--data-dir', 'nowhere'], 'nowhere: no such folder'),
    ([], '--output'),
])
def test_bad_input(
        args: list[str], message: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr('fpnas_timm.device.export._write', lambda *_, **__: pytest.fail('checked too late'))
    assert export(folder, *args) == 2
    error = capsys.readouterr().err
    assert message in error and error.count('\n') == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(('model', 'message'), [
    ('nonet', "'nonet' is neither a model"), ('x.onnx', 'x.onnx: no such file'), ('.', '.: no model there'),
    ('local-dir:nowhere', 'nowhere: no model there'), ('no/folder', 'no/folder: no such folder'),
])
def test_no_such_model(
        model: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    assert export(model, '-o', 'y.pt') == 2
    assert message in capsys.readouterr().err


def test_a_missing_package(
        folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    find = formats.importlib.util.find_spec
    monkeypatch.setattr(formats.importlib.util, 'find_spec', lambda name: None if name == 'openvino' else find(name))
    assert export(folder, '-o', tmp_path / 'x.xml') == 2
    assert "--format openvino needs openvino: pip install 'fpnas-timm[openvino]'" in capsys.readouterr().err
