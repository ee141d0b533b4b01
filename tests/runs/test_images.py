"""Pixels of image files, whatever their mode: scaled by their depth, or refused by name."""
import io
import tarfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fpnas_timm.errors import RunError, UsageError
from fpnas_timm.runs.datasets import StrictImages, class_indices, open_dataset
from fpnas_timm.runs.images import READ_ERRORS, RefusedImage, open_image, unreadable

LEVELS = np.arange(0, 256, dtype=np.uint8).reshape(16, 16)
DEEP = LEVELS.astype(np.uint16) * 257  # the same greys in 16 bits: 65535 is white


def stored(image: Image.Image, kind: str, **options: object) -> io.BytesIO:
    file = io.BytesIO()
    image.save(file, kind, **options)
    file.seek(0)
    return file


def pixels(file: io.BytesIO, mode: str = 'L') -> np.ndarray:
    return np.asarray(open_image(file, mode))


@pytest.mark.parametrize('kind', ['PNG', 'TIFF', 'PPM', 'JPEG2000'])
def test_16_bits(kind: str) -> None:
    file = stored(Image.fromarray(DEEP), kind)
    assert np.array_equal(pixels(file), LEVELS)
    assert np.array_equal(pixels(file, 'RGB'), np.stack([LEVELS] * 3, -1))


def test_16_bits_are_rounded() -> None:
    """Independent: the nearest of 256 levels."""
    deep = np.random.default_rng(0).integers(0, 65536, (64, 64)).astype(np.uint16)
    assert np.array_equal(pixels(stored(Image.fromarray(deep), 'PNG')), np.rint(deep / 257))


def test_big_endian_and_white_is_zero() -> None:
    big = Image.frombytes('I;16B', (16, 16), DEEP.astype('>u2').tobytes())
    assert np.array_equal(pixels(stored(big, 'TIFF')), LEVELS)
    inverted = Image.fromarray(DEEP)
    assert np.array_equal(pixels(stored(inverted, 'TIFF', tiffinfo={262: 0})), 255 - LEVELS)


def test_12_bits() -> None:
    """A TIFF of 12-bit pixels, two in three bytes: white is 4095."""
    white, black, grey = 4095, 0, 2048
    row = [white, black, grey, white]
    packed = b''.join(((a << 12) | b).to_bytes(3, 'big') for a, b in zip(row[::2], row[1::2]))
    tags = [(256, 3, 4), (257, 3, 1), (258, 3, 12), (259, 3, 1), (262, 3, 1), (273, 4, 0), (277, 3, 1), (278, 3, 1),
            (279, 4, len(packed))]
    start = 8 + 2 + 12 * len(tags) + 4
    entries = b''.join(
        tag.to_bytes(2, 'little') + kind.to_bytes(2, 'little') + (1).to_bytes(4, 'little')
        + (start if tag == 273 else value).to_bytes(4, 'little') for tag, kind, value in tags
    )
    file = b'II*\0' + (8).to_bytes(4, 'little') + len(tags).to_bytes(2, 'little') + entries + bytes(4) + packed
    assert pixels(io.BytesIO(file)).tolist() == [[255, 0, 128, 255]]


@pytest.mark.parametrize(('array', 'said'), [
    (LEVELS.astype(np.int32), r'32-bit integers \(mode I\)'),
    (LEVELS.astype(np.float32) / 255, r'floating-point numbers \(mode F\)'),
])
def test_numbers_without_a_range_are_refused(array: np.ndarray, said: str) -> None:
    with pytest.raises(RefusedImage, match=f'{said}, whose range is not known: convert it to 8 or 16 bits'):
        pixels(stored(Image.fromarray(array), 'TIFF'))
    assert open_image(stored(Image.fromarray(array), 'TIFF'), 'F').getpixel((15, 15)) == array[15, 15]  # as asked for


def test_other_modes() -> None:
    """Palette, CMYK, alpha, bits: as PIL converts them, without transparency."""
    rgb = Image.fromarray(np.random.default_rng(0).integers(0, 255, (16, 16, 3), dtype=np.uint8))
    palette = rgb.quantize(16)
    colours = np.asarray(palette.getpalette()).reshape(-1, 3)[np.asarray(palette)]
    assert np.array_equal(pixels(stored(palette, 'PNG'), 'RGB'), colours)
    clear = stored(palette, 'PNG', transparency=bytes(16))
    assert np.array_equal(pixels(clear, 'RGB'), colours)
    half = rgb.copy()
    half.putalpha(7)
    assert np.array_equal(pixels(stored(half, 'PNG'), 'RGB'), np.asarray(rgb))
    assert np.array_equal(pixels(stored(half, 'PNG'), 'RGBA')[..., 3], np.full((16, 16), 7))
    grey = Image.fromarray(LEVELS)
    assert np.array_equal(pixels(stored(Image.merge('LA', (grey, grey)), 'PNG')), LEVELS)
    assert np.array_equal(pixels(stored(rgb.convert('CMYK'), 'TIFF'), 'RGB'), np.asarray(rgb))
    assert sorted(np.unique(pixels(stored(grey.convert('1'), 'PNG')))) == [0, 255]


def png_of(width: int, height: int) -> bytes:
    """A small PNG file that claims to be large."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, 'big') + name + data + zlib.crc32(name + data).to_bytes(4, 'big')

    header = width.to_bytes(4, 'big') + height.to_bytes(4, 'big') + bytes([8, 2, 0, 0, 0])
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + chunk(b'IDAT', zlib.compress(b'')) + chunk(b'IEND', b'')


@pytest.mark.parametrize(('content', 'said'), [
    (png_of(17_000, 11_000), 'this image has more than 179 million pixels, the most that .* reads: make it smaller'),
    (b'GIF89a', r'this image cannot be read \(.+\): fix it'),
    (b'', r'this image cannot be read \(not an image of a known format\): fix it'),
    (b'<svg/>', r'this image cannot be read \(not an image of a known format\): fix it'),
    (stored(Image.fromarray(LEVELS.astype(np.float32)), 'TIFF').read(),
     r'this image cannot be used: its pixels are floating-point numbers .*: convert it to 8 or 16 bits'),
])
def test_images_that_are_refused_are_named(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / 'train' / 'red' / 'x.png'
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with pytest.raises(RunError, match=f'^{path}: {said}, then resume$'):
        open_dataset('', tmp_path, 'train')[0]


def test_an_image_that_has_gone(tmp_path: Path) -> None:
    path = tmp_path / 'train' / 'red' / 'x.png'
    path.parent.mkdir(parents=True)
    path.symlink_to(tmp_path / 'gone')
    with pytest.raises(RunError, match=r'x.png: this image cannot be read \(No such file or directory\): fix it'):
        open_dataset('', tmp_path, 'train')[0]


@pytest.mark.filterwarnings('ignore::UserWarning')
def test_hostile_files() -> None:
    """Whatever is wrong with a file, it is one of the errors that are turned into a sentence."""
    rng = np.random.default_rng(0)
    for kind in ('PNG', 'TIFF', 'GIF', 'BMP', 'WEBP', 'JPEG', 'PPM', 'JPEG2000'):
        good = stored(Image.fromarray(LEVELS), kind).read()
        for _ in range(40):
            bad = bytearray(good)
            for place in rng.integers(0, len(bad), 4):
                bad[place] = rng.integers(0, 256)
            try:
                open_image(io.BytesIO(bytes(bad[: rng.integers(1, len(bad) + 1)])), 'RGB')
            except READ_ERRORS as e:
                assert '\n' not in str(unreadable('x', e))


def write_tar(file: Path, folders: Sequence[str]) -> None:
    """A .tar with an image in each folder."""
    with tarfile.open(file, 'w') as tar:
        for folder in folders:
            data = stored(Image.fromarray(DEEP), 'PNG')
            info = tarfile.TarInfo(f'{folder}/0.png')
            info.size = len(data.getvalue())
            tar.addfile(info, data)


def test_in_a_tar(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_tar(tmp_path / 'data.tar', ('red', 'green'))
    dataset = open_dataset('', tmp_path / 'data.tar', 'train')
    assert isinstance(dataset, StrictImages)
    assert class_indices(dataset) == [0, 1]
    assert np.array_equal(np.asarray(dataset[1][0])[..., 0], LEVELS)
    with tarfile.open(tmp_path / 'data.tar', 'a') as tar:
        for name in ('red/1.bmp', 'red/2.webp', 'green/3.BMP', 'green/a.txt', 'green/._4.bmp', '__MACOSX/red/1.bmp'):
            tar.addfile(tarfile.TarInfo(name))
    for quiet in (False, True):
        caplog.clear()
        assert len(open_dataset('', tmp_path / 'data.tar', 'train', quiet=quiet)) == 2
        assert ('left out 2 .bmp, 1 .webp files: timm reads PNG and JPEG from a .tar' in caplog.text) != quiet
    with tarfile.open(tmp_path / 'webp.tar', 'w') as tar:
        tar.addfile(tarfile.TarInfo('red/2.webp'))
    (tmp_path / 'no.tar').write_text('text')
    for name in ('stray.png', 'red/._1.png', '__MACOSX/red/2.png'):
        with tarfile.open(tmp_path / f'{Path(name).stem}.tar', 'w') as tar:
            for member in ('red/1.png', name):
                tar.addfile(tarfile.TarInfo(member))
    with tarfile.open(tmp_path / 'gz.tar', 'w:gz') as tar:
        tar.addfile(tarfile.TarInfo('red/1.png'))
    with pytest.raises(UsageError, match=r'^--img-extensions: has no effect on a \.tar'):
        open_dataset('', tmp_path / 'data.tar', 'train', ['jpg'])
    for file, message in (
        ('webp', r'contains 1 \.webp files only, and timm'), ('no', r'cannot be read as a \.tar \('),
        ('gz', r'as a \.tar \(damaged, compressed'), ('stray', r'1 image, such as stray\.png, is in no folder'),
        ('._1', r'1 image, such as red/\._1\.png, is hidden, and timm would'), ('2', '__MACOSX/red/2.png, is hidden'),
    ):
        with pytest.raises(UsageError, match=message):
            open_dataset('', tmp_path / f'{file}.tar', 'train')
    for top in ('', 'data/'):
        write_tar(tmp_path / 'splits.tar', [f'./{top}{name}' for name in ('train/red', 'validation/red')])
        with pytest.raises(UsageError, match=r'has the splits train, validation, but a \.tar is read as one'):
            open_dataset('', tmp_path / 'splits.tar', 'train')
