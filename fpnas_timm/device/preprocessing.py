"""The preprocessing of the validation images as a part of the network: pixels as a camera gives them -> logits.

The numbers of Pillow and timm's transform, but for a rounding here and there, by one of 255 steps. A resize is linear
in rows and in columns, so it is two matrix products; their weights are computed in the graph from height and width, so
that images of all sizes fit. Nothing but plain operations, which all formats have: `interpolate` with antialiasing is
missing in some.
"""
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ..errors import UsageError

__all__ = ['WithPreprocessing', 'check_preprocessing']

WITH_OPACITY = 'RGBA', 'LA'

FILTERS = ('bicubic', 'bilinear')
CROPS = ('center', 'squash')


class WithPreprocessing(nn.Module):
    """Resize, crop and normalisation, then a network.

    Args:
        network: takes images (B, C, size, size).
        config: timm's data config: `input_size`, `interpolation`, `crop_pct`, `crop_mode`, `mean`, `std`.

    Raises:
        UsageError: a config that this module does not have.
    """

    def __init__(self, network: nn.Module, config: Mapping[str, Any]) -> None:
        super().__init__()
        check_preprocessing(config)
        self.network = network
        size = config['input_size'][-1]
        self.size = size
        self.resized = math.floor(size / (config.get('crop_pct') or 1.0))  # as timm: the shorter side, before the crop
        self.cubic = config['interpolation'] == 'bicubic'
        self.squash = config.get('crop_mode') == 'squash'
        self.mean: torch.Tensor
        self.register_buffer('mean', 255 * torch.tensor(config['mean']).view(1, -1, 1, 1))
        self.std: torch.Tensor
        self.register_buffer('std', 255 * torch.tensor(config['std']).view(1, -1, 1, 1))
        self.outputs: torch.Tensor
        self.register_buffer('outputs', torch.arange(size, dtype=torch.float32) + 0.5)

    def preprocess(self, images: torch.Tensor) -> torch.Tensor:
        """Pixels (B, H, W, C), 0 to 255 -> images (B, C, size, size), normalised."""
        height, width = images.shape[1], images.shape[2]
        x = images.permute(0, 3, 1, 2).float()
        x = _whole(torch.matmul(x, self._weights(width, height).t()))  # Pillow has 8 bits in between, too
        x = _whole(torch.matmul(self._weights(height, width), x))
        return (x - self.mean) / self.std

    def _weights(self, pixels: int, other: int) -> torch.Tensor:
        """Weights (size, pixels) of the pixels of one side in those that are left after resize and crop.

        Pillow's filters, stretched by the scale if the image gets smaller (antialiasing), normalised over the pixels
        that there are. `other` is the length of the other side.
        """
        inputs = torch.arange(pixels, dtype=torch.float32) + 0.5
        length = inputs[-1:] + 0.5
        if self.squash:
            resized = torch.full_like(length, float(self.resized))
        else:
            shorter = torch.minimum(length, torch.arange(other, dtype=torch.float32)[-1:] + 1.0)
            # a runtime may divide by multiplying with the reciprocal, which makes 32 * 41 / 41 a millionth less than 32
            resized = torch.floor(self.resized * length / shorter + 0.0001)
        scale = length / resized
        first = torch.round((resized - self.size) / 2)
        centres = (self.outputs + first) * scale
        d = torch.abs(inputs.unsqueeze(0) - centres.unsqueeze(1)) / scale.clamp(min=1.0)
        if self.cubic:
            near, far = (1.5 * d - 2.5) * d * d + 1.0, ((-0.5 * d + 2.5) * d - 4.0) * d + 2.0
            weights = torch.where(d < 1.0, near, torch.where(d < 2.0, far, torch.zeros_like(d)))
        else:
            weights = (1.0 - d).clamp(min=0.0)
        return weights / weights.sum(1, keepdim=True)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Pixels (B, H, W, C) as whole numbers from 0 to 255 -> logits (B, num_classes)."""
        return self.network(self.preprocess(images))


def _whole(x: torch.Tensor) -> torch.Tensor:
    """The nearest whole numbers from 0 to 255; halves are rounded up, as in Pillow.

    Bilinear weights often give exact halves. Runtimes add them up in different orders, so that one may find a half
    where another finds a millionth less: a thousandth (2**-10) less is rounded up, too.
    """
    return torch.floor(x + 0.5009765625).clamp(0, 255)


def check_preprocessing(config: Mapping[str, Any], img_mode: str = '') -> None:
    """Raise UsageError for a data config, or a PIL mode of images, that `WithPreprocessing` does not have."""
    if img_mode in WITH_OPACITY:
        raise UsageError(
            f'--with-preprocessing: the images of this network are {img_mode}, whose colours Pillow weights with their '
            'opacity in a resize: leave it out'
        )
    _, height, width = config['input_size']
    crop = config.get('crop_mode') or 'center'
    for what, given, known in (
            ('interpolation', config['interpolation'], FILTERS), ('crop mode', crop, CROPS),
            ('input', f'{height} x {width}', (f'{width} x {width}',)),
    ):
        if given not in known:
            expected = 'a square' if what == 'input' else ' or '.join(known)
            raise UsageError(
                f'--with-preprocessing: the {what} of this network is {given}, expected {expected}: leave it out'
            )
