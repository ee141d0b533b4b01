"""Static int8 quantisation after training, by each format's own library: ONNX Runtime's, and NNCF for OpenVINO.

Weights per channel, activations per tensor, with ranges from calibration images. A preprocessing in the graph stays in
float32: the operations before the first convolution are left alone.
"""
import io
import logging
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import torch

from ..errors import RunError, one_line
from .formats import ENTRY, INPUT, set_onnx_metadata

__all__ = ['quantize']


def quantize(form: str, path: Path, batches: Sequence[torch.Tensor], text: str) -> None:
    """Replace a float32 file by an int8 one.

    Args:
        form: 'onnx' or 'openvino'.
        path: the file, which is overwritten.
        batches: calibration inputs of the program.
        text: the metadata.

    Raises:
        RunError: the library failed.
    """
    try:
        with _quiet():
            {'onnx': _onnx, 'openvino': _openvino}[form](path, batches, text)
    except Exception as e:  # of the libraries, any kind
        raise RunError(f'--int8: the quantisation failed: {one_line(e)}') from None


def _onnx(path: Path, batches: Sequence[torch.Tensor], text: str) -> None:
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.rest = iter(batches)

        def get_next(self) -> Any:
            batch = next(self.rest, None)
            return None if batch is None else {INPUT: batch.contiguous().numpy()}

    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / 'prepared.onnx'
        quant_pre_process(str(path), str(prepared), skip_symbolic_shape=True)
        graph = onnx.load(prepared).graph
        inputs = {out: node for node in graph.node for out in node.output}
        first = next(node for node in graph.node if node.op_type == 'Conv')
        quantize_static(
            str(prepared), str(path), Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
            nodes_to_exclude=[node.name for node in _before(first, inputs)],
        )
    set_onnx_metadata(path, text)


def _before(node: Any, producers: dict[str, Any]) -> list[Any]:
    """The nodes that a node of an ONNX graph depends on; `producers` is output -> node."""
    found: dict[str, Any] = {}
    left = list(node.input)
    while left:
        producer = producers.get(left.pop())
        if producer is not None and producer.name not in found:
            found[producer.name] = producer
            left += producer.input
    return list(found.values())


def _openvino(path: Path, batches: Sequence[torch.Tensor], text: str) -> None:
    import nncf
    import openvino

    nncf.set_log_level(logging.ERROR)
    model = openvino.Core().read_model(path)
    ignored = _preprocessing_of(model) if batches[0].dtype == torch.uint8 else []
    quantized = nncf.quantize(
        model, nncf.Dataset([batch.contiguous().numpy() for batch in batches]), preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(batches), ignored_scope=nncf.IgnoredScope(names=ignored) if ignored else None,
    )
    quantized.set_rt_info(text, ENTRY)
    with tempfile.TemporaryDirectory() as folder:  # the file of weights is still read by the first model
        new = Path(folder) / path.name
        openvino.save_model(quantized, new, compress_to_fp16=False)
        del model
        path.write_bytes(new.read_bytes())
        path.with_suffix('.bin').write_bytes(new.with_suffix('.bin').read_bytes())


def _preprocessing_of(model: Any) -> list[str]:
    """The names of the products before the first convolution of an OpenVINO model."""
    names: list[str] = []
    for op in model.get_ordered_ops():
        if 'Convolution' in op.get_type_name():
            break
        if op.get_type_name() not in ('Constant', 'Parameter', 'Result'):
            names.append(op.get_friendly_name())
    return names


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the libraries' log lines; NNCF's progress bars are shown in a terminal only."""
    loggers = [logging.getLogger(name) for name in ('', 'nncf')]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with redirect_stdout(sys.stderr if sys.stderr.isatty() else io.StringIO()):
            yield
    finally:
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)
