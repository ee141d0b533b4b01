"""Image files as 8-bit images of one PIL mode: the same pixels in the search, in training and in validation.

16-bit images are scaled to 8 bits; images whose numbers have no known range (32-bit, floating-point) are refused. All
others are converted as PIL does: a palette to its colours, CMYK to RGB, colours to luminance; transparency is dropped,
the first frame is taken, and the orientation in the EXIF data is not applied (as in timm).
"""
import struct
import warnings
from collections.abc import Mapping
from typing import IO, Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from ..errors import RunError, one_line

__all__ = ['READ_ERRORS', 'RefusedImage', 'open_image', 'to_mode', 'unreadable']

# what PIL raises for damaged files, and the system for missing ones
READ_ERRORS = (
    ArithmeticError, AttributeError, EOFError, LookupError, OSError, RuntimeError, SyntaxError, TypeError, ValueError,
    MemoryError, struct.error, Image.DecompressionBombError,
)
_NUMBERS = {'I': '32-bit integers', 'F': 'floating-point numbers'}
_BITS_PER_SAMPLE, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0  # tags of TIFF


class RefusedImage(ValueError):
    """An image that is not damaged, but that no right conversion is known for; says what to do."""


def open_image(file: str | IO[bytes], mode: str) -> Image.Image:
    """Read an image file and convert it as `to_mode` does; raises one of `READ_ERRORS`."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', Image.DecompressionBombWarning)  # an error from twice that size on
        image = Image.open(file)
    return to_mode(image, mode)


def to_mode(image: Image.Image, mode: str) -> Image.Image:
    """Convert an image to a PIL mode, such as 'RGB' or 'L'; 16-bit pixels are scaled to 8 bits.

    Args:
        image: an image of any mode.
        mode: the PIL mode of the result.

    Raises:
        RefusedImage: the range of its pixels is not known.

    >>> image = Image.frombytes('I;16', (3, 1), bytes([0, 0, 255, 127, 255, 255]))
    >>> to_mode(image, 'RGB').getpixel((1, 0)), to_mode(image, 'L').getpixel((2, 0))
    ((127, 127, 127), 255)
    """
    if image.mode == mode:
        return image.convert(mode)  # reads the pixels
    if image.mode.startswith(('I', 'F')) and not mode.startswith(('I', 'F')):
        image = _to_8_bits(image)
    elif image.mode == 'P' and 'transparency' in image.info:
        image = image.convert('RGBA')  # without PIL's warning
    return image.convert(mode)


def _to_8_bits(image: Image.Image) -> Image.Image:
    """A grey image of more than 8 bits, scaled by its depth."""
    tags: Mapping[int, Any] = getattr(image, 'tag_v2', {})
    if image.mode.startswith('I;16'):
        bits = int(tags.get(_BITS_PER_SAMPLE, (16,))[0])
    elif image.mode == 'I' and image.format in ('PNG', 'PPM'):
        bits = 16  # PIL has 16-bit files of these formats as 'I'
    else:
        raise RefusedImage(
            f'its pixels are {_NUMBERS.get(image.mode, "numbers")} (mode {image.mode}), whose range is not known: '
            'convert it to 8 or 16 bits'
        )
    top = 2**bits - 1
    pixels = np.asarray(image).astype(np.uint32)
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        pixels = top - pixels
    return Image.fromarray(((pixels * 255 + top // 2) // top).astype(np.uint8))


def unreadable(name: str, e: BaseException, again: str = 'resume') -> RunError:
    """The error for an image that cannot be read.

    Args:
        name: the image's file, or its place in the dataset.
        e: what was raised while reading it.
        again: what to do once the image has been repaired.
    """
    if isinstance(e, Image.DecompressionBombError):
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0) / 1e6
        return RunError(
            f'{name}: this image has more than {limit:.0f} million pixels, the most that Pillow reads: make it '
            f'smaller, then {again}'
        )
    if isinstance(e, RefusedImage):
        return RunError(f'{name}: this image cannot be used: {e}, then {again}')
    if isinstance(e, UnidentifiedImageError):
        e = ValueError('not an image of a known format')
    if isinstance(e, OSError) and e.strerror:
        e = OSError(e.strerror)
    return RunError(f'{name}: this image cannot be read ({one_line(e)}): fix it, then {again}')
