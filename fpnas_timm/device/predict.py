"""The most probable classes of images, with a network in PyTorch or an exported file."""
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ..errors import RunError, UsageError
from ..runs.progress import progress
from .image_files import image_files, read_image
from .opened import open_network
from .programs import Exported, input_transform, open_program

__all__ = ['Prediction', 'most_probable', 'open_predictor', 'predict']

BATCH_SIZE = 16


@dataclass(frozen=True)
class Prediction:
    """The most probable classes of an image, with their probabilities, most probable first.

    The probabilities of all classes add up to 1, unless the network is for several labels per image.
    """

    image: str
    classes: list[str]
    probabilities: list[float]


def open_predictor(model: str) -> Exported:
    """A network that predicts: a file of `fpnas export`, or what `open_network` takes.

    Raises:
        UsageError: it cannot be opened, or its weights are random.
    """
    if Path(model).is_file():
        program = open_program(model)
    else:
        opened = open_network(model)

        def run(x: torch.Tensor) -> torch.Tensor:
            with torch.inference_mode():
                return opened.network(x)

        program = Exported(run, opened.metadata)
    if not program.metadata.trained:
        raise UsageError(f'{model}: has no trained weights, its classes would be random: train it first (fpnas train)')
    return program


def predict(program: Exported, images: Sequence[str], topk: int = 5) -> Iterator[Prediction]:
    """The most probable classes of images, one after the other.

    Args:
        program: from `open_predictor`.
        images: files, and folders of images.
        topk: number of classes; all if there are fewer.

    Raises:
        UsageError: an image does not exist, or a folder has none.
        RunError: images cannot be read; after all others, it names the first of them and says how many there are.
    """
    files, metadata = image_files(images), program.metadata
    to_input = input_transform(metadata)
    at_once = 1 if metadata.preprocessing else BATCH_SIZE  # images of all sizes do not fit into one batch
    batches = [files[i:i + at_once] for i in range(0, len(files), at_once)]
    failed: list[RunError] = []
    for batch in progress(batches, 'images', primary=True):
        read, inputs = list[str](), list[torch.Tensor]()
        for file in batch:
            try:
                inputs.append(to_input(read_image(file, metadata.img_mode)))
                read.append(file)
            except RunError as e:
                failed.append(e)
        if read:
            yield from most_probable(program, torch.stack(inputs), read, topk)
    if len(failed) == 1:
        raise failed[0]
    if failed:
        others = ', '.join(str(e).partition(': this image')[0] for e in failed[1:6])
        raise RunError(f'{failed[0]}; of the {len(files):,} images, {len(failed) - 1:,} more cannot be read: {others}'
                       f'{", .." if len(failed) > 6 else ""}')


def most_probable(
        program: Exported, inputs: torch.Tensor, images: Sequence[str], topk: int = 5
) -> Iterator[Prediction]:
    """The most probable classes of a batch of inputs, which are of these images; `topk` as in `predict`."""
    logits, metadata = program(inputs).float(), program.metadata
    probabilities = logits.sigmoid() if metadata.multilabel else logits.softmax(1)
    values, classes = probabilities.topk(min(topk, metadata.num_classes))
    for image, row, numbers in zip(images, values.tolist(), classes.tolist()):
        yield Prediction(image, [metadata.label(number) for number in numbers], row)
