"""Programs that are exported on the GPU, and those that are exported there for the CPU."""
import copy
import warnings
from pathlib import Path

import pytest
import timm
import torch
from timm.utils import reparameterize_model

import fpnas_timm  # noqa: F401  (registers the models)

from .common import ARCH, error, images, lively


def network(device: torch.device) -> torch.nn.Module:
    return lively(timm.create_model('fpnas', arch=ARCH, num_classes=5)).eval().to(device)


@torch.no_grad()
def test_torch_export(gpu: torch.device, tmp_path: Path) -> None:
    """Saved, loaded, and run on the GPU with other batch sizes; moved to the CPU too."""
    model = network(gpu)
    batch = torch.export.Dim('batch', min=1, max=64)
    program = torch.export.export(model, (images(2, 32).float().to(gpu),), dynamic_shapes=({0: batch},))
    torch.export.save(program, tmp_path / 'model.pt2')
    loaded = torch.export.load(tmp_path / 'model.pt2').module()
    plain = copy.deepcopy(model).cpu().double()
    for count in (1, 2, 7):
        x = images(count, 32)
        assert error(loaded(x.float().to(gpu)), plain(x)) < 1e-5
        last = x.float().to(gpu, memory_format=torch.channels_last)
        assert error(loaded(last), plain(x)) < 1e-5


@torch.no_grad()
def test_torchscript_and_folded_batch_norms(gpu: torch.device) -> None:
    model, x = network(gpu), images(3, 32)
    expected = copy.deepcopy(model).cpu().double()(x)
    on_gpu = x.float().to(gpu)
    assert error(torch.jit.trace(model, on_gpu)(on_gpu), expected) < 1e-5
    assert error(torch.jit.script(model)(on_gpu), expected) < 1e-5
    assert error(reparameterize_model(model)(on_gpu), expected) < 1e-5


def test_onnx(gpu: torch.device, tmp_path: Path) -> None:
    """A network on the GPU as a file for the CPU."""
    pytest.importorskip('onnxscript')
    onnxruntime = pytest.importorskip('onnxruntime')
    model, path, batch = network(gpu), tmp_path / 'model.onnx', torch.export.Dim('batch', min=1, max=64)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter('ignore')
        torch.onnx.export(
            model, (images(2, 32).float().to(gpu),), str(path), dynamo=True, dynamic_shapes=({0: batch},),
            input_names=['x'], verbose=False,
        )
    session = onnxruntime.InferenceSession(str(path), providers=['CPUExecutionProvider'])
    plain = copy.deepcopy(model).cpu().double()
    for count in (1, 5):
        x = images(count, 32)
        (out,) = session.run(None, {'x': x.float().numpy()})
        with torch.no_grad():
            assert error(torch.from_numpy(out), plain(x)) < 1e-5
