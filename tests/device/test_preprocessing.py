"""The preprocessing in the graph against Pillow's and timm's."""
import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import create_transform
from torch import nn

from fpnas_timm.device.preprocessing import WithPreprocessing, check_preprocessing
from fpnas_timm.device.programs import pixels_of
from fpnas_timm.errors import UsageError

CONFIG = dict(input_size=(3, 48, 48), interpolation='bicubic', crop_pct=0.875, crop_mode='center',
              mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


def photo(height: int, width: int, channels: int = 3) -> Image.Image:
    pixels = np.random.default_rng(height).integers(0, 256, (height // 4 + 1, width // 4 + 1, channels), dtype=np.uint8)
    return Image.fromarray(pixels.squeeze()).resize((width, height), Image.Resampling.BICUBIC)


@pytest.mark.parametrize('changes', [
    {}, {'interpolation': 'bilinear'}, {'crop_pct': 1.0}, {'crop_mode': 'squash'},
    {'input_size': (1, 48, 48), 'mean': (0.5,), 'std': (0.25,)},
], ids=['bicubic', 'bilinear', 'no crop', 'squash', 'grey'])
@pytest.mark.parametrize('size', [(200, 310), (97, 41), (48, 48), (20, 30)], ids=str)
def test_the_pixels_are_those_of_pillow(changes: dict, size: tuple[int, int]) -> None:
    config = {**CONFIG, **changes}
    image = photo(*size, config['input_size'][0])
    expected = create_transform(**config, is_training=False)(image)
    module = WithPreprocessing(nn.Identity(), config)
    found = module(pixels_of(image).unsqueeze(0))[0]
    steps = ((found - expected) * module.std[0]).abs()  # of 255
    share = 0.1 if config['interpolation'] == 'bilinear' else 0.01  # bilinear weights make many halves
    if config['crop_mode'] == 'squash' and size[0] > 54 > size[1]:  # Pillow shrinks first, so that it rounds elsewhere
        share = 0.3
    assert steps.max() < 1.1 and (steps > 0.5).float().mean() < share


def test_pixels_of_an_image() -> None:
    image = photo(5, 7)
    assert np.array_equal(pixels_of(image).numpy(), np.asarray(image))
    assert pixels_of(image).dtype == torch.uint8 and pixels_of(photo(5, 7, 1)).shape == (5, 7, 1)


@pytest.mark.parametrize(('changes', 'what'), [
    ({'interpolation': 'lanczos'}, 'interpolation of this network is lanczos'),
    ({'crop_mode': 'border'}, 'crop mode of this network is border'),
    ({'input_size': (3, 32, 48)}, 'expected a square'),
])
def test_what_it_does_not_have_is_refused(changes: dict, what: str) -> None:
    with pytest.raises(UsageError, match=what):
        WithPreprocessing(nn.Identity(), {**CONFIG, **changes})


@pytest.mark.parametrize('mode', ['RGBA', 'LA'])
def test_images_with_opacity_are_refused(mode: str) -> None:
    """Pillow's resize of a half-transparent image is not that of its channels one by one."""
    image = Image.new(mode, (40, 40), 0)
    image.paste(Image.new(mode, (20, 40), (200,) * (len(mode) - 1) + (255,)))
    resized = np.asarray(image.resize((15, 15), Image.Resampling.BICUBIC), float)
    alone = [np.asarray(band.resize((15, 15), Image.Resampling.BICUBIC), float) for band in image.split()]
    assert np.abs(resized - np.stack(alone, -1)).max() > 50
    with pytest.raises(UsageError, match=f'the images of this network are {mode}, whose colours'):
        check_preprocessing({**CONFIG, 'input_size': (len(mode), 32, 32)}, mode)
