"""What does not go together in the options about images: sizes, channels and modes."""
import argparse

from ..errors import UsageError, did_you_mean

__all__ = ['BANDS', 'USUAL', 'check_image_options', 'check_policy_mode']

USUAL = {1: 'L', 3: 'RGB', 4: 'RGBA'}  # channels -> the mode that images are converted to by default
# PIL mode -> number of channels, for --in-chans with --input-img-mode; only those of 8-bit intensities: timm reads all
# pixels as bytes, so that 16-bit ones (I, F) would lose their upper half
BANDS = {
    'L': 1, 'LA': 2, 'La': 2, 'RGB': 3, 'YCbCr': 3, 'LAB': 3, 'HSV': 3, 'RGBA': 4, 'RGBa': 4, 'RGBX': 4, 'CMYK': 4,
}
_OTHERS = {'I': 'L', 'F': 'L', '1': 'L', 'P': 'RGB or L', 'PA': 'RGBA or LA'}  # what to use instead


def check_image_options(args: argparse.Namespace) -> None:
    """Raise UsageError for options of `search`, `train` or `validate` that contradict each other about the images."""
    folder, size, mode = getattr(args, 'data', None), args.input_size, args.input_img_mode
    if folder and args.data_dir and str(folder) != str(args.data_dir):
        raise UsageError(f'the data folder is given twice: {folder} and --data-dir {args.data_dir}')
    if size and args.img_size and {args.img_size} != {*size[1:]}:
        raise UsageError(f'--img-size {args.img_size} contradicts --input-size {" ".join(map(str, size))}')
    if size and args.in_chans and args.in_chans != size[0]:
        raise UsageError(f'--in-chans {args.in_chans} contradicts --input-size {" ".join(map(str, size))}')
    if mode in _OTHERS:
        raise UsageError(
            f'--input-img-mode {mode}: images are read as 8 bits per channel, without a palette: use {_OTHERS[mode]}, '
            'to which 16-bit images are scaled and others converted'
        )
    if mode and mode not in BANDS:
        raise UsageError(
            f'--input-img-mode {mode!r}: expected one of {", ".join(BANDS)}{did_you_mean(mode.upper(), BANDS)}'
        )
    channels = args.in_chans or (size[0] if size else BANDS.get(mode))
    if channels and mode and BANDS[mode] != channels:
        raise UsageError(f'--input-img-mode {mode} has {BANDS[mode]} channels, the model {channels}: see --in-chans')
    if channels not in (None, 1, 3, 4) and not mode:
        fitting = ', '.join(m for m, bands in BANDS.items() if bands == channels)
        way = f'give --input-img-mode, one of {fitting}' if fitting else 'images have 1 to 4'
        raise UsageError(f'--in-chans {channels}: expected 1, 3 or 4 channels, or the mode that has as many: {way}')
    for name in ('mean', 'std'):
        values = getattr(args, name)
        if values and channels and len(values) not in (1, channels):
            raise UsageError(f'--{name}: expected one number, or {channels}, one per channel')
    check_policy_mode(getattr(args, 'aa', None), mode or USUAL.get(channels or 3, 'RGB'))


def check_policy_mode(policy: str | None, mode: str) -> None:
    """Raise UsageError if the operations of `--aa` cannot be applied to images of a mode."""
    if policy and mode not in ('L', 'RGB'):
        raise UsageError(f'--aa {policy}: its operations need images of 1 or 3 channels (L or RGB), not {mode}')
