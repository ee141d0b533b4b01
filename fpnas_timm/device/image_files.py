"""Image files of a user: to predict, or to calibrate with. Labels are not used, so any folders will do."""
import os
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from PIL import Image

from ..errors import UsageError
from ..runs.image_folder import read_extensions, walk_folders
from ..runs.images import READ_ERRORS, open_image, unreadable
from ..runs.progress import progress
from ..runs.splits import find_split
from .metadata import Metadata
from .programs import input_transform

__all__ = ['calibration_inputs', 'image_files', 'read_image']


def image_files(given: Sequence[str]) -> list[str]:
    """The files that are meant, in order: files as they are, folders with all images in them and below; links too.

    Raises:
        UsageError: something that does not exist, or a folder without images.
    """
    found: list[str] = []
    missing = [name for name in given if not (os.path.isdir(name) or os.path.isfile(name))]
    if missing:
        raise UsageError(f'{", ".join(missing[:5])}{", .." if len(missing) > 5 else ""}: no such file or folder')
    for name in given:
        if os.path.isdir(name):
            inside = sorted(_images_in(name))
            if not inside:
                raise UsageError(f'{name}: contains no images')
            found += inside
        else:
            found.append(name)
    return found


def _images_in(folder: str) -> Iterator[str]:
    extensions = read_extensions(None)
    for parts, files in walk_folders(folder, (), ()):
        yield from (
            os.path.join(folder, *parts, name) for name in files if os.path.splitext(name)[1].lower() in extensions
        )


def read_image(file: str, mode: str) -> Image.Image:
    """An image file in a PIL mode; RunError names one that cannot be read."""
    try:
        return open_image(file, mode)
    except READ_ERRORS as e:
        raise unreadable(file, e, 'start again') from None


def calibration_inputs(folder: str, metadata: Metadata, count: int, seed: int = 0) -> list[torch.Tensor]:
    """Inputs of a program from images that are drawn at random from a folder: from its training split if it has one.

    Args:
        folder: any folder with images in it or below.
        metadata: of the program.
        count: number of images; all if there are fewer.
        seed: seed of the draw.

    Raises:
        UsageError: no such folder, or no images.
        RunError: an image that cannot be read.
    """
    if not Path(folder).is_dir():
        problem = 'not a folder' if Path(folder).exists() else 'no such folder'
        raise UsageError(f'--calibration {folder}: {problem}: expected a folder with some of the training images')
    try:
        where = str(find_split(folder, 'train'))
    except UsageError:  # no splits, or others: any images will do
        where = folder
    try:
        files = image_files([where])
    except UsageError as e:
        raise UsageError(f'--calibration {e}: expected some of the training images') from None
    chosen = random.Random(seed).sample(files, min(count, len(files)))
    to_input = input_transform(metadata)
    return [to_input(read_image(file, metadata.img_mode)) for file in progress(chosen, 'calibration', primary=True)]
