"""Exports a trained network to a file for another runtime, and checks it before it is kept.

Batch norms are folded, what the file needs to be used (classes, preprocessing) is written into it, and the file is run:
its outputs must be those of PyTorch, for several batch sizes. `fpnas export` prints the report and writes it as JSON.
"""
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from timm.utils import reparameterize_model
from torch import nn

from .._version import __version__
from ..errors import RunError, UsageError, did_you_mean, one_line
from ..runs.files import replacing, write_text
from ..weights.recorded import refuse_multilabel
from .export_checks import Agreement, compare, inputs_for, milliseconds
from .formats import FORMATS, Format, format_of_file
from .int8 import quantize
from .metadata import Metadata
from .opened import Opened, open_network
from .preprocessing import WithPreprocessing, check_preprocessing
from .programs import Exported, open_program

__all__ = ['ExportReport', 'check_request', 'export', 'report_file']

# Accuracy of programs, by label: 'before' (PyTorch, float32) and 'after' (the file) -> top1, top5 and images
Evaluate = Callable[[Mapping[str, Exported]], Mapping[str, Mapping[str, float]]]
# Inputs of the program (H, W, C) or (C, H, W), one per image
Calibrate = Callable[[Metadata], Sequence[torch.Tensor]]


@dataclass(frozen=True)
class ExportReport:
    """What was written, and how it compares with the network in PyTorch.

    Attributes:
        file: the file.
        format: its format.
        metadata: what the file says of itself.
        bytes: size of the file (OpenVINO: of both files).
        float32_bytes: of an int8 file, the size before the quantisation.
        agreement: outputs of the file compared with those of PyTorch in float32.
        milliseconds: time for one image on `threads` threads: 'before' (PyTorch) and 'after' (the file), medians of
            runs that took turns.
        threads: number of threads of that measurement.
        accuracy: 'before' and 'after': top1, top5 (%) and number of images; empty if it was not measured.
    """

    file: str
    format: str
    metadata: Metadata
    bytes: int
    float32_bytes: int | None
    agreement: Agreement
    milliseconds: dict[str, float]
    threads: int
    accuracy: dict[str, dict[str, float]]

    def to_json(self) -> str:
        """The report as JSON, for the file beside the exported one."""
        return json.dumps(asdict(self), indent=2) + '\n'


def report_file(path: str | Path) -> Path:
    """The report beside an exported file: `model.onnx.json` of `model.onnx`."""
    return Path(f'{path}.json')


def check_request(output: str, form: str | None, int8: bool, with_preprocessing: bool) -> Format:
    """Check what can be checked before anything is loaded; returns the format.

    Raises:
        UsageError: an unknown format, one that contradicts the file's name, a package that is missing, something that
            the format does not have, or a folder that does not exist.
    """
    if form is not None and form not in FORMATS:
        raise UsageError(f'--format {form}: expected one of {", ".join(FORMATS)}{did_you_mean(form, FORMATS)}')
    if form is not None and Path(output).suffix.lower() != FORMATS[form].suffix:
        raise UsageError(f'--output {output}: expected a file name that ends in {FORMATS[form].suffix}, for {form}')
    found = format_of_file(output, '--output ')
    found.check_installed(sorted({*found.writer_needs, *found.reader_needs}), f'--format {found.name}')
    if int8 and found.int8_needs is None:
        able = ', '.join(f.name for f in FORMATS.values() if f.int8_needs is not None)
        raise UsageError(f'--int8: there is none for {found.name} files: expected --format {able}')
    if int8:
        found.check_installed(found.int8_needs or (), f'--int8 for {found.name}')
    if with_preprocessing and not found.any_size:
        raise UsageError(
            f'--with-preprocessing: a file of {found.name} takes images of one size only, so that it cannot resize '
            'them: leave it out (predict and the metadata know the preprocessing)'
        )
    folder = Path(output).absolute().parent
    if not folder.is_dir():
        raise UsageError(f'--output {output}: there is no folder {folder}')
    if Path(output).is_dir():
        raise UsageError(f'--output {output}: a folder: expected the name of a file')
    return found


def export(
        model: str,
        output: str,
        form: str | None = None,
        calibrate: Calibrate | None = None,
        evaluate: Evaluate | None = None,
        with_preprocessing: bool = False,
        img_size: int | None = None,
        threads: int = 1,
) -> ExportReport:
    """Export a network to a file, check it, and write the report beside it.

    Args:
        model: as `open_network`.
        output: the file; its ending says the format. Replaced if it exists, once the new one has passed the checks.
        form: the format, if it is to be checked against the ending.
        calibrate: returns calibration images; makes the file int8.
        evaluate: measures the accuracy of programs.
        with_preprocessing: put resize, crop and normalisation into the graph.
        img_size: height and width of the images; the network's own if None.
        threads: number of threads for the latencies.

    Raises:
        UsageError: as `check_request` and `open_network`.
        RunError: the file's outputs are not those of PyTorch, or a library failed; nothing has been written.
    """
    found = check_request(output, form, calibrate is not None, with_preprocessing)
    opened = open_network(model, img_size)
    refuse_multilabel(evaluate is not None and opened.metadata.multilabel, model, 'which have no top-1: leave out '
                      '--data-dir')
    if with_preprocessing:
        check_preprocessing(opened.metadata.data_config, opened.metadata.img_mode)
    metadata = replace(
        opened.metadata, preprocessing=with_preprocessing, precision='float32' if calibrate is None else 'int8',
        batch_size=None if found.any_batch else 1, versions=_versions(found),
    )
    with tempfile.TemporaryDirectory(prefix='fpnas-export-') as folder:
        path = Path(folder) / Path(output).name
        report = _write_and_check(opened, metadata, found, path, calibrate, evaluate, threads)
        for file in found.files(path):
            with replacing(Path(output).with_name(file.name)) as temporary:
                shutil.copyfile(file, temporary)
    report = replace(report, file=output)
    write_text(report_file(output), report.to_json())
    return report


def _write_and_check(
        opened: Opened, metadata: Metadata, form: Format, path: Path, calibrate: Calibrate | None,
        evaluate: Evaluate | None, threads: int,
) -> ExportReport:
    images = calibrate(metadata) if calibrate is not None else ()
    example = inputs_for(metadata, 2)
    _write(_network(reparameterize_model(opened.network), metadata), form, example, path, metadata.to_json())
    size = sum(file.stat().st_size for file in form.files(path))
    float32_bytes = None
    reference = _reference(opened.network, metadata)
    if images:
        _compare_float32(reference, metadata, path)
        batches = [image.unsqueeze(0) for image in images]
        quantize(form.name, path, batches, metadata.to_json())
        float32_bytes, size = size, sum(file.stat().st_size for file in form.files(path))
    program = open_program(path, threads)
    agreement = compare(reference, program, images)
    times = milliseconds({'before': reference, 'after': program}, threads)
    accuracy = evaluate({'before': _reference(opened.network, opened.metadata), 'after': program}) if evaluate else {}
    return ExportReport(
        str(path), form.name, metadata, size, float32_bytes, agreement, times, threads,
        {label: dict(values) for label, values in accuracy.items()},
    )


def _compare_float32(reference: Exported, metadata: Metadata, path: Path) -> None:
    """Before the quantisation: its differences are no errors, those of the float32 file would be."""
    compare(reference, replace(open_program(path), metadata=replace(metadata, precision='float32')))


def _network(network: nn.Module, metadata: Metadata) -> nn.Module:
    return (WithPreprocessing(network, metadata.data_config) if metadata.preprocessing else network).eval()


def _reference(network: nn.Module, metadata: Metadata) -> Exported:
    """The network in PyTorch, with its batch norms, as a program with the same inputs."""
    whole = _network(network, metadata)

    def run(x: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            return whole(x)

    return Exported(run, replace(metadata, precision='float32', batch_size=None))


def _write(network: nn.Module, form: Format, example: torch.Tensor, path: Path, text: str) -> None:
    try:
        form.write(network, example, path, text)
    except (UsageError, OSError):
        raise
    except Exception as e:  # of exporters, any kind
        raise RunError(f'--format {form.name}: this network cannot be exported: {one_line(e)}') from None


def _versions(form: Format) -> dict[str, str]:
    found = {'fpnas_timm': __version__, 'python': sys.version.split()[0]}
    for name in ('torch', 'timm', *form.writer_needs, *form.reader_needs, *(form.int8_needs or ())):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
