"""torch.export and ONNX Runtime: the same numbers at batch 1 and n, with a free batch size; torch.hub."""
from pathlib import Path

import pytest
import timm
import torch
from timm.utils import reparameterize_model

import fpnas_timm
from tests.pipelines.on_digits import batches, top1

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize('name', ['fpnas_s1pp', 'fpnas_l0'])
def test_export_program(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = timm.create_model(name).eval()
    x = torch.randn(2, 3, 64, 64)
    program = torch.export.export(model, (x,), dynamic_shapes=({0: torch.export.Dim('batch')},))
    torch.export.save(program, tmp_path / 'model.pt2')
    loaded = torch.export.load(tmp_path / 'model.pt2').module()
    for n in (1, 2, 5):
        x = torch.randn(n, 3, 64, 64)
        with torch.inference_mode():
            torch.testing.assert_close(loaded(x), model(x))


@pytest.mark.parametrize('fuse', [False, True])
def test_onnx_runtime_on_digits(digits: Path, fuse: bool, tmp_path: Path) -> None:
    ort = pytest.importorskip('onnxruntime')
    pytest.importorskip('onnxscript')
    model = timm.create_model(f'local-dir:{digits}/saved', pretrained=True).eval()
    net = reparameterize_model(model) if fuse else model
    path = tmp_path / 'model.onnx'
    torch.onnx.export(
        net, (torch.randn(2, 3, 32, 32),), path, input_names=['image'], output_names=['logits'], dynamo=True,
        dynamic_shapes=({0: torch.export.Dim('batch')},),
    )
    session = ort.InferenceSession(path, providers=['CPUExecutionProvider'])
    for n in (1, 7):
        x = torch.randn(n, 3, 32, 32)
        with torch.inference_mode():
            logits = model(x)
        found = torch.from_numpy(session.run(None, {'image': x.numpy()})[0])
        torch.testing.assert_close(found, logits, rtol=1e-3, atol=1e-4)
    data = batches(digits, 'validation')
    assert top1(lambda x: torch.from_numpy(session.run(None, {'image': x.numpy()})[0]), data) == top1(model, data)


@pytest.mark.parametrize('how', ['script', 'trace'])
def test_torchscript_file(how: str, digits: Path, tmp_path: Path) -> None:
    model = timm.create_model(f'local-dir:{digits}/saved', pretrained=True).eval()
    x = torch.randn(2, 3, 32, 32)
    scripted = torch.jit.script(model) if how == 'script' else torch.jit.trace(model, x)
    scripted.save(tmp_path / 'model.pt')
    loaded = torch.jit.load(tmp_path / 'model.pt')
    for n in (1, 2, 5):
        x = torch.randn(n, 3, 32, 32)
        with torch.inference_mode():
            torch.testing.assert_close(loaded(x), model(x))


@pytest.mark.timeout(900)  # it calls a C++ compiler
@pytest.mark.parametrize('layout', [torch.contiguous_format, torch.channels_last], ids=['contiguous', 'channels_last'])
def test_aot_inductor(layout: torch.memory_format, digits: Path, tmp_path: Path) -> None:
    model = timm.create_model(f'local-dir:{digits}/saved', pretrained=True).eval()
    x = torch.randn(2, 3, 32, 32).contiguous(memory_format=layout)
    batch = torch.export.Dim('batch', min=1, max=64)
    with torch.no_grad():
        program = torch.export.export(model, (x,), dynamic_shapes=({0: batch},))
        package = torch._inductor.aoti_compile_and_package(program, package_path=str(tmp_path / 'model.pt2'))
    compiled = torch._inductor.aoti_load_package(package)
    for n in (1, 2, 5):
        x = torch.randn(n, 3, 32, 32).contiguous(memory_format=layout)
        with torch.inference_mode():
            torch.testing.assert_close(compiled(x), model(x), rtol=1e-3, atol=1e-3)


def test_torch_hub() -> None:
    model = torch.hub.load(str(ROOT), 'fpnas_s1pp', source='local', num_classes=10)
    assert model.num_classes == 10 and str(model.arch) == fpnas_timm.zoo.ARCHS['fpnas_s1pp']
