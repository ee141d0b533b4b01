"""The file formats of `fpnas export`: how each is written and how its file is run. Packages are imported when needed.

A writer gets a network in eval mode, example inputs, a path and the metadata as text. A reader gets a path and a number
of threads (None for the runtime's own choice), and returns a program (inputs -> logits) and that text.
"""
import importlib.util
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import UsageError, did_you_mean

__all__ = [
    'ENTRY', 'FORMATS', 'INPUT', 'OUTPUT', 'Format', 'Program', 'format_of_file', 'onnx_session', 'set_onnx_metadata',
]

Program = Callable[[torch.Tensor], torch.Tensor]
INPUT, OUTPUT = 'image', 'logits'  # names in the graph
ENTRY = 'fpnas'  # name of the metadata in a file
TEXT_FILE = 'fpnas.json'  # the same in torch's archives


@dataclass(frozen=True)
class Format:
    """A file format.

    Attributes:
        name: as in `--format`.
        suffix: of the file.
        extra: of this package, which installs what is needed; '' if torch is enough.
        writer_needs: modules that writing needs, beside torch.
        reader_needs: modules that running the file needs.
        int8_needs: modules that quantisation needs; None if there is no quantisation for this format.
        write: see the module.
        read: see the module.
        any_batch: the file takes any number of images, else one.
        any_size: with the preprocessing in the graph, the file takes images of all sizes.
    """

    name: str
    suffix: str
    extra: str
    writer_needs: tuple[str, ...]
    reader_needs: tuple[str, ...]
    int8_needs: tuple[str, ...] | None
    write: Callable[[nn.Module, torch.Tensor, Path, str], None]
    read: Callable[[Path, int | None], tuple[Program, str]]
    any_batch: bool = True
    any_size: bool = True

    def check_installed(self, modules: Sequence[str], what: str) -> None:
        """Raise UsageError with the extra to install if one of `modules` is missing; `what` needs them."""
        missing = [name for name in modules if importlib.util.find_spec(name) is None]
        if missing:
            raise UsageError(
                f"{what} needs {' and '.join(missing)}: pip install 'fpnas-timm[{self.extra}]' installs what is missing"
            )

    def files(self, path: Path) -> list[Path]:
        """All files of a network; the last one is the one that is opened."""
        return [path.with_suffix('.bin'), path] if self.name == 'openvino' else [path]


def format_of_file(path: str | Path, option: str = '') -> Format:
    """The format that the ending of a file stands for.

    Raises:
        UsageError: it stands for none.
    """
    suffix = Path(path).suffix.lower()
    found = next((f for f in FORMATS.values() if f.suffix == suffix), None)
    if found is None:
        endings = ', '.join(f'{f.suffix} ({f.name})' for f in FORMATS.values())
        known = [f.suffix for f in FORMATS.values()]
        raise UsageError(f'{option}{path}: expected a file name that ends in {endings}{did_you_mean(suffix, known)}')
    return found


def _exported(network: nn.Module, example: torch.Tensor, any_batch: bool = True) -> torch.export.ExportedProgram:
    """A program of `torch.export`; an example of pixels (B, H, W, C) makes height and width dynamic too."""
    Dim = torch.export.Dim
    sizes = {0: Dim('batch')} if any_batch else {}
    if any_batch and example.dtype == torch.uint8:
        sizes |= {1: Dim('height'), 2: Dim('width')}
    with torch.no_grad():
        return torch.export.export(network, (example,), dynamic_shapes=(sizes,) if sizes else None)


def _write_onnx(network: nn.Module, example: torch.Tensor, path: Path, text: str) -> None:
    if 'dynamic_shapes' not in inspect.signature(torch.onnx.export).parameters:
        raise UsageError(f'--format onnx needs a newer torch (2.6 or later) than {torch.__version__}')
    program = torch.onnx.export(
        _exported(network, example), (), input_names=[INPUT], output_names=[OUTPUT], dynamo=True, verbose=False,
    )
    assert program is not None  # only without dynamo
    program.model.metadata_props[ENTRY] = text
    program.save(str(path), external_data=False)


def set_onnx_metadata(path: Path, text: str) -> None:
    """Put the metadata into an ONNX file that a tool has written anew."""
    import onnx

    model = onnx.load(path)
    onnx.helper.set_model_props(model, {ENTRY: text})
    onnx.save(model, path)


def onnx_session(path: Path, threads: int | None = None, **settings: Any) -> Any:
    """A session of ONNX Runtime on the CPU; `settings` are attributes of its `SessionOptions`."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if threads:
        options.intra_op_num_threads = threads
    for name, value in settings.items():
        setattr(options, name, value)
    return onnxruntime.InferenceSession(str(path), options, providers=['CPUExecutionProvider'])


def _read_onnx(path: Path, threads: int | None) -> tuple[Program, str]:
    session = onnx_session(path, threads)
    [name] = [i.name for i in session.get_inputs()]
    text = session.get_modelmeta().custom_metadata_map.get(ENTRY, '')
    return lambda x: torch.from_numpy(session.run(None, {name: x.contiguous().numpy()})[0]), text


def _write_openvino(network: nn.Module, example: torch.Tensor, path: Path, text: str) -> None:
    import openvino

    model = openvino.convert_model(_exported(network, example))
    model.inputs[0].get_tensor().set_names({INPUT})
    model.outputs[0].get_tensor().set_names({OUTPUT})
    model.set_rt_info(text, ENTRY)
    openvino.save_model(model, path, compress_to_fp16=False)


def _read_openvino(path: Path, threads: int | None) -> tuple[Program, str]:
    """In float32, also where the processor has bfloat16, which OpenVINO would take: the numbers of PyTorch."""
    import openvino

    settings: dict[str, Any] = {'INFERENCE_PRECISION_HINT': 'f32'}
    if threads:
        settings['INFERENCE_NUM_THREADS'] = threads
    core = openvino.Core()
    model = core.read_model(path)
    text = str(model.get_rt_info(ENTRY).astype(str)) if model.has_rt_info(ENTRY) else ''
    compiled = core.compile_model(model, 'CPU', settings)
    return lambda x: torch.from_numpy(compiled(x.contiguous().numpy())[0].copy()), text


def _write_torch_export(network: nn.Module, example: torch.Tensor, path: Path, text: str) -> None:
    torch.export.save(_exported(network, example), path, extra_files={TEXT_FILE: text})


def _read_torch_export(path: Path, threads: int | None) -> tuple[Program, str]:
    files = {TEXT_FILE: ''}
    return _channels_last(torch.export.load(path, extra_files=files).module()), files[TEXT_FILE]


def _write_torchscript(network: nn.Module, example: torch.Tensor, path: Path, text: str) -> None:
    with torch.no_grad():
        try:
            program = torch.jit.script(network)
        except Exception:  # some of timm's networks cannot be compiled; a trace of one input fits all in eval mode
            if example.dtype == torch.uint8:
                raise UsageError(
                    '--format torchscript: torch cannot compile this network: leave out --with-preprocessing'
                ) from None
            program = torch.jit.trace(network, example)
    torch.jit.save(program, str(path), _extra_files={TEXT_FILE: text})


def _read_torchscript(path: Path, threads: int | None) -> tuple[Program, str]:
    files: dict[str, Any] = {TEXT_FILE: ''}
    program = torch.jit.load(str(path), map_location='cpu', _extra_files=files)
    text = files[TEXT_FILE]
    return _without_gradients(program), text.decode('utf-8', 'replace') if isinstance(text, bytes) else text


def _without_gradients(program: Callable[[torch.Tensor], torch.Tensor]) -> Program:
    def run(x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return program(x)

    return run


def _channels_last(program: Callable[[torch.Tensor], torch.Tensor]) -> Program:
    """On images in the layout that is fast on a CPU: exported programs do not convert them (docs/performance.md)."""
    run = _without_gradients(program)
    return lambda x: run(x if x.dtype == torch.uint8 else x.contiguous(memory_format=torch.channels_last))


def _write_executorch(network: nn.Module, example: torch.Tensor, path: Path, text: str) -> None:
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    data = torch.frombuffer(bytearray(text, 'utf-8'), dtype=torch.uint8)
    edge = to_edge_transform_and_lower(
        _exported(network, example[:1], any_batch=False), partitioner=[XnnpackPartitioner()],
        constant_methods={ENTRY: data},
    )
    path.write_bytes(edge.to_executorch().buffer)


def _read_executorch(path: Path, threads: int | None) -> tuple[Program, str]:
    from executorch.runtime import Runtime

    if threads:
        from executorch.extension.pybindings import portable_lib

        portable_lib._unsafe_reset_threadpool(threads)
    program = Runtime.get().load_program(path)
    forward, text = program.load_method('forward'), ''
    if ENTRY in program.method_names:
        [data] = program.load_method(ENTRY).execute([])
        text = bytes(data.tolist()).decode('utf-8', 'replace')
    return lambda x: forward.execute((x.contiguous(),))[0].clone(), text


FORMATS: dict[str, Format] = {f.name: f for f in (
    Format(
        'onnx', '.onnx', 'onnx', ('onnx', 'onnxscript'), ('onnxruntime',), ('onnx', 'onnxruntime'), _write_onnx,
        _read_onnx,
    ),
    Format('openvino', '.xml', 'openvino', ('openvino',), ('openvino',), ('nncf',), _write_openvino, _read_openvino),
    Format('torch-export', '.pt2', '', (), (), None, _write_torch_export, _read_torch_export),
    Format('torchscript', '.pt', '', (), (), None, _write_torchscript, _read_torchscript),
    Format(
        'executorch', '.pte', 'executorch', ('executorch',), ('executorch',), None, _write_executorch,
        _read_executorch, any_batch=False, any_size=False,
    ),
)}
