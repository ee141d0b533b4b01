"""The images that cut layers are fitted to."""
import random
from collections.abc import Mapping, Sized
from typing import Any, cast

import torch
from timm.data import create_transform
from torch.utils.data import Dataset

from ..weights.recorded import DATA_KEYS

__all__ = ['NUM_IMAGES', 'sample_images']

NUM_IMAGES = 1024


def sample_images(
        dataset: Dataset, data_config: Mapping[str, Any], count: int = NUM_IMAGES, seed: int = 0
) -> torch.Tensor:
    """Some images of a dataset, as in validation: resized, cropped and normalised.

    Args:
        dataset: items (PIL image, class), without a transform; labels are not used.
        data_config: timm's data config: input size, interpolation, mean, standard deviation, crop and its mode.
        count: number of images, drawn at random without replacement; all if there are fewer.
        seed: seed of the draw.

    Returns:
        Images (count, C, H, W).
    """
    size = len(cast(Sized, dataset))
    known = {key: data_config[key] for key in DATA_KEYS if key in data_config}
    transform = create_transform(**known, is_training=False)
    chosen = random.Random(seed).sample(range(size), min(count, size))
    return torch.stack([cast(Any, transform)(dataset[i][0]) for i in sorted(chosen)])
