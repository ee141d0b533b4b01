"""A model in each runtime, as one call on one thread, for `inference.py`. Files are made once, in a folder, and kept.

Batch norms are folded: ours by timm's `reparameterize_model`, those of timm's networks by the exporter. The ONNX files
are made by torch's older exporter, which takes a tenth of the time of the one of `fpnas export`; ONNX Runtime makes the
same operations of both. Int8 is calibrated on noise: the weights are random too, and neither matters to the time.
OpenVINO computes in float32 (or int8), not in bfloat16, which it would choose on this processor.
"""
import copy
import importlib.metadata
import shutil
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from timm.utils import reparameterize_model

import fpnas_timm  # noqa: F401  (registers the models)
from fpnas_timm.device.formats import onnx_session
from fpnas_timm.device.int8 import quantize

__all__ = ['RUNTIMES', 'make_files', 'open_call', 'versions']

RUNTIMES = (
    'torch', 'torch fused', 'torch compiled', 'onnxruntime', 'onnxruntime int8', 'openvino', 'openvino int8',
)
SUFFIXES = {'onnxruntime': '.onnx', 'openvino': '.xml'}
CALIBRATION = 8  # images


def network(name: str) -> Any:
    torch.manual_seed(0)
    return timm.create_model(name).eval()


def file_of(name: str, runtime: str, folder: Path) -> Path:
    kind, _, precision = runtime.partition(' ')
    return folder / f'{name}{"_" * bool(precision)}{precision}{SUFFIXES[kind]}'


def make_files(name: str, runtimes: Sequence[str], folder: Path) -> None:
    """Export a model for those of the runtimes that need a file that is not there."""
    for runtime in runtimes:
        kind, _, precision = runtime.partition(' ')
        if kind not in SUFFIXES or file_of(name, runtime, folder).exists():
            continue
        path = file_of(name, runtime, folder)
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            if precision:
                make_files(name, [kind], folder)
                quantized(name, kind, path, folder)
            elif kind == 'openvino':
                import openvino

                make_files(name, ['onnxruntime'], folder)
                model = openvino.convert_model(file_of(name, 'onnxruntime', folder))
                openvino.save_model(model, path, compress_to_fp16=False)
            else:
                model = network(name)
                with torch.no_grad():
                    torch.onnx.export(
                        reparameterize_model(model), (torch.randn(2, *model.default_cfg['input_size']),), path,
                        input_names=['image'], output_names=['logits'], dynamo=False,
                        dynamic_axes={'image': {0: 'batch'}, 'logits': {0: 'batch'}},
                    )


def quantized(name: str, kind: str, path: Path, folder: Path) -> None:
    """The float32 file of a runtime as an int8 file."""
    generator = torch.Generator().manual_seed(0)
    size = timm.get_pretrained_cfg(name).input_size
    images = [torch.randn(1, *size, generator=generator) for _ in range(CALIBRATION)]
    source = file_of(name, kind, folder)
    with tempfile.TemporaryDirectory() as temporary:
        for file in (source, source.with_suffix('.bin')):
            if file.exists():
                shutil.copyfile(file, Path(temporary) / path.with_suffix(file.suffix).name)
        made = Path(temporary) / path.name
        quantize({'onnxruntime': 'onnx', 'openvino': 'openvino'}[kind], made, images, 'benchmark')
        for file in Path(temporary).iterdir():
            shutil.copyfile(file, folder / file.name)


def open_call(name: str, runtime: str, batch: int, folder: Path) -> tuple[Callable[[], Any], torch.Tensor]:
    """A call of a model with a batch of images, and its output."""
    model = network(name)
    images = torch.randn(batch, *model.default_cfg['input_size'], generator=torch.Generator().manual_seed(batch))
    kind = runtime.partition(' ')[0]
    if kind == 'onnxruntime':
        session = onnx_session(file_of(name, runtime, folder), 1, inter_op_num_threads=1)
        given = {'image': images.numpy()}
        return lambda: session.run(None, given), torch.from_numpy(session.run(None, given)[0])
    if kind == 'openvino':
        import openvino

        settings = {'INFERENCE_PRECISION_HINT': 'f32', 'INFERENCE_NUM_THREADS': 1, 'NUM_STREAMS': 1}
        core = openvino.Core()
        request = core.compile_model(core.read_model(file_of(name, runtime, folder)), 'CPU', settings)
        request = request.create_infer_request()
        data = images.numpy()
        request.infer([data])
        return lambda: request.infer([data]), torch.from_numpy(request.get_output_tensor(0).data.copy())
    if runtime == 'torch fused':
        model = reparameterize_model(model)
    elif runtime == 'torch compiled':
        model = torch.compile(copy.deepcopy(model), dynamic=False)

    def run() -> torch.Tensor:
        with torch.inference_mode():
            return model(images)

    return run, run()


def versions() -> dict[str, str]:
    found = {}
    for name in ('torch', 'timm', 'onnxruntime', 'openvino', 'nncf'):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
