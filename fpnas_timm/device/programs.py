"""Opens an exported file: a program that takes images of any number, with its metadata."""
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from PIL import Image
from timm.data import create_transform

from ..errors import UsageError, one_line
from .formats import Program, format_of_file
from .metadata import Metadata, read_metadata

__all__ = ['Exported', 'input_transform', 'open_program', 'pixels_of']


@dataclass(frozen=True)
class Exported:
    """A network as a program, from a file or in PyTorch.

    Attributes:
        run: inputs -> logits (B, num_classes); the inputs are those of `metadata`.
        metadata: of the network.
    """

    run: Program
    metadata: Metadata

    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        """As `run`, also for more images than the program takes at once."""
        at_once = self.metadata.batch_size
        if at_once is None or len(inputs) == at_once:
            return self.run(inputs)
        return torch.cat([self.run(part) for part in inputs.split(at_once)])


def input_transform(metadata: Metadata) -> Callable[[Image.Image], torch.Tensor]:
    """How an image of the PIL mode `metadata.img_mode` becomes an input of the program, without its batch dimension."""
    if metadata.preprocessing:
        return pixels_of
    config = {**metadata.data_config, 'input_size': tuple(metadata.data_config['input_size'])}
    return cast(Any, create_transform(**config, is_training=False))


def pixels_of(image: Image.Image) -> torch.Tensor:
    """An image of 8 bits per channel -> its pixels (H, W, C), uint8."""
    pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    return pixels.view(image.height, image.width, -1)


def open_program(path: str | Path, threads: int | None = None) -> Exported:
    """Open a file that `fpnas export` wrote.

    Args:
        path: the file; its ending says the format.
        threads: number of threads; None for the runtime's own choice. torch's formats use `torch.set_num_threads`.

    Raises:
        UsageError: an unknown ending, a package that is missing, or a file that cannot be read or is not one of ours.
    """
    path = Path(path)
    form = format_of_file(path)
    form.check_installed(form.reader_needs, f'{path}')
    if not path.is_file():
        raise UsageError(f'{path}: no such file')
    try:
        run, text = form.read(path, threads)
    except Exception as e:  # each runtime has errors of its own
        raise UsageError(f'{path}: cannot be opened as {form.name}: {one_line(e)}') from None
    if not text:
        raise UsageError(
            f'{path}: has no metadata of fpnas export, so that classes and preprocessing are not known: export the '
            'network again with fpnas export'
        )
    return Exported(run, read_metadata(text, str(path)))
