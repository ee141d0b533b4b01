"""Runtimes without PyTorch: each converter takes the trained network, and its program gives PyTorch's numbers."""
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch

import fpnas_timm  # noqa: F401
from tests.pipelines.mil import run_mil
from tests.pipelines.on_digits import batches

SIZE = 16  # images; the programs of ExecuTorch, LiteRT and Core ML have a fixed batch size

Network = tuple[torch.nn.Module, torch.Tensor, torch.Tensor]


@pytest.fixture(scope='module')
def network(digits: Path) -> Network:
    """The trained network, some digits, and PyTorch's logits for them."""
    model = timm.create_model(f'local-dir:{digits}/saved', pretrained=True).eval()
    [(images, _), *_] = batches(digits, 'validation', SIZE)
    with torch.no_grad():
        return model, images, model(images)


def check(found: object, network: Network) -> None:
    logits = torch.as_tensor(found)
    torch.testing.assert_close(logits, network[2], rtol=1e-3, atol=1e-4 * network[2].abs().max().item())
    assert torch.equal(logits.argmax(1), network[2].argmax(1))


def test_openvino(network: Network, tmp_path: Path) -> None:
    ov = pytest.importorskip('openvino')
    model, images, _ = network
    batch = torch.export.Dim('batch')
    program = torch.export.export(model, (images,), dynamic_shapes=({0: batch},))
    ov.save_model(ov.convert_model(program), tmp_path / 'model.xml', compress_to_fp16=False)
    compiled = ov.Core().compile_model(tmp_path / 'model.xml', 'CPU', {'INFERENCE_PRECISION_HINT': 'f32'})
    check(compiled(images.numpy())[0], network)
    check(torch.cat([torch.as_tensor(compiled(part.numpy())[0].copy()) for part in images.split(3)]), network)


def test_litert(network: Network, tmp_path: Path) -> None:
    litert_torch = pytest.importorskip('litert_torch')
    interpreter = pytest.importorskip('ai_edge_litert.interpreter')
    model, images, _ = network
    litert_torch.convert(model, (images,)).export(str(tmp_path / 'model.tflite'))
    session = interpreter.Interpreter(model_path=str(tmp_path / 'model.tflite'))
    session.allocate_tensors()
    session.set_tensor(session.get_input_details()[0]['index'], images.numpy())
    session.invoke()
    check(session.get_tensor(session.get_output_details()[0]['index']), network)


def _portable() -> list:
    return []


def _xnnpack() -> list:
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner

    return [XnnpackPartitioner()]


@pytest.mark.parametrize('partitioner', [_portable, _xnnpack], ids=['portable', 'xnnpack'])
def test_executorch(partitioner: Callable[[], list], network: Network, tmp_path: Path) -> None:
    exir = pytest.importorskip('executorch.exir')
    runtime = pytest.importorskip('executorch.runtime')
    model, images, _ = network
    edge = exir.to_edge_transform_and_lower(torch.export.export(model, (images,)), partitioner=partitioner())
    path = tmp_path / 'model.pte'
    path.write_bytes(edge.to_executorch().buffer)
    [logits] = runtime.Runtime.get().load_program(path).load_method('forward').execute((images,))
    check(logits, network)


@pytest.mark.parametrize('source', ['trace', 'export'])
def test_core_ml(source: str, network: Network, tmp_path: Path) -> None:
    """Core ML itself runs on macOS only; elsewhere the converted program is computed by a reader of its operations."""
    ct = pytest.importorskip('coremltools')
    model, images, _ = network
    options = dict(minimum_deployment_target=ct.target.iOS16, compute_precision=ct.precision.FLOAT32)
    if source == 'trace':
        traced = torch.jit.trace(model, images)
        converted = ct.convert(traced, inputs=[ct.TensorType('image', images.shape)], **options)
    else:
        converted = ct.convert(torch.export.export(model, (images,)).run_decompositions({}), **options)
    converted.save(str(tmp_path / 'model.mlpackage'))
    check(run_mil(converted._mil_program.functions['main'], images), network)
    if os.uname().sysname == 'Darwin':
        [name] = converted.input_description
        [logits] = converted.predict({name: images.numpy()}).values()
        check(logits, network)
