"""Checks of an exported file against PyTorch: outputs for several batch sizes, and the time for an image."""
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from ..errors import RunError
from .metadata import Metadata
from .programs import Exported

__all__ = ['TOLERANCE', 'Agreement', 'compare', 'inputs_for', 'milliseconds']

TOLERANCE = 1e-3  # of float32 files: the largest difference of an output, relative to the largest output
BATCH_SIZES = (1, 2, 5)
ROUNDS, SECONDS = 30, 10.0  # of a latency: so many runs, or until so much time has passed


@dataclass(frozen=True)
class Agreement:
    """Outputs of a file compared with those of PyTorch in float32, on the same inputs.

    Attributes:
        largest: largest difference of an output, relative to PyTorch's largest output.
        tolerance: what `largest` may be; None for int8 files, which differ by design.
        same_top1: share of the inputs with the same most probable class.
        inputs: number of inputs.
        real: the inputs are the calibration images; False: they are random.
    """

    largest: float
    tolerance: float | None
    same_top1: float
    inputs: int
    real: bool


def inputs_for(metadata: Metadata, batch: int, seed: int = 0) -> torch.Tensor:
    """Random inputs of a program; with the preprocessing in its graph, pixels of a size of their own."""
    generator = torch.Generator().manual_seed(seed)
    channels, height, width = metadata.data_config['input_size']
    if metadata.preprocessing:
        pixels = (batch, height + 9 + seed, width + 20, channels)
        return torch.randint(0, 256, pixels, dtype=torch.uint8, generator=generator)
    return torch.randn(batch, channels, height, width, generator=generator)


def compare(reference: Exported, program: Exported, images: Sequence[torch.Tensor] = ()) -> Agreement:
    """Compare a file's outputs with PyTorch's: for random inputs of several batch sizes, or for given ones one by one.

    Raises:
        RunError: outputs of the wrong shape, values that are not finite, or those of a float32 file that differ by more
            than the tolerance.
    """
    int8 = program.metadata.precision == 'int8'
    random = [inputs_for(program.metadata, batch, seed) for seed, batch in enumerate(BATCH_SIZES)]
    outputs = [_outputs(reference, program, inputs) for inputs in random]
    if images:  # random inputs say little about an int8 file
        outputs = [_outputs(reference, program, image.unsqueeze(0)) for image in images]
    largest = max(
        ((found - expected).abs().max() / expected.abs().max().clamp(min=1e-12)).item() for expected, found in outputs
    )
    count = sum(len(found) for _, found in outputs)
    same = sum(int((found.argmax(1) == expected.argmax(1)).sum()) for expected, found in outputs)
    if not int8 and largest > TOLERANCE:
        raise RunError(
            f'the file does not compute what PyTorch computes: an output differs by {largest:.2g} of the largest one, '
            f'more than {TOLERANCE:g}; nothing was written: try another --format'
        )
    return Agreement(largest, None if int8 else TOLERANCE, same / count, count, bool(images))


def _outputs(reference: Exported, program: Exported, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    expected, found = reference(inputs), program(inputs)
    if found.shape != expected.shape or not found.isfinite().all():
        raise RunError(
            f'the file does not compute what PyTorch computes: outputs {tuple(found.shape)} instead of '
            f'{tuple(expected.shape)} for {len(inputs)} images, or not finite; nothing was written: try another '
            '--format'
        )
    return expected, found


def milliseconds(programs: Mapping[str, Exported], threads: int) -> dict[str, float]:
    """The median time of each program for one image; they take turns, so that the machine's moods hit all of them.

    With one thread it is the processor time of this process, which is the time on a machine that does nothing else. The
    preprocessing is a part of it if it is in the graph.
    """
    clock = time.process_time if threads == 1 else time.perf_counter
    inputs = {label: inputs_for(program.metadata, 1) for label, program in programs.items()}
    times: dict[str, list[float]] = {label: [] for label in programs}
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for label, program in programs.items():
            program(inputs[label])
        end = time.perf_counter() + SECONDS
        for _ in range(ROUNDS):
            for label, program in programs.items():
                start = clock()
                program(inputs[label])
                times[label].append(clock() - start)
            if time.perf_counter() > end:
                break
    finally:
        torch.set_num_threads(before)
    return {label: round(1e3 * statistics.median(values), 4) for label, values in times.items()}
