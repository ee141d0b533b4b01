"""Image channels and PIL modes: a model, its images and the options must agree."""
from ..errors import UsageError
from ..runs.image_options import BANDS, USUAL
from ..weights.recorded import Recorded

__all__ = ['bands_of', 'channels_asked_for', 'check_conversion', 'choose_mode']


def channels_asked_for(in_chans: int | None, input_size: list[int] | None, img_mode: str | None) -> int | None:
    """The number of image channels that the options ask for: `--in-chans`, `--input-size` or `--input-img-mode`.

    >>> channels_asked_for(None, [1, 32, 32], None), channels_asked_for(None, None, 'RGBA')
    (1, 4)
    """
    if in_chans is not None or input_size is not None:
        return in_chans if input_size is None else input_size[0]
    return None if img_mode is None else bands_of(img_mode)


def bands_of(img_mode: str) -> int:
    """The number of channels of a PIL mode.

    Raises:
        UsageError: it is none that images are read in.

    >>> bands_of('RGBA'), bands_of('L')
    (4, 1)
    """
    if img_mode not in BANDS:
        raise UsageError(f'--input-img-mode {img_mode}: expected one of {", ".join(BANDS)}')
    return BANDS[img_mode]


def choose_mode(channels: int, asked: str | None, recorded: Recorded, source: str) -> tuple[str, list[str]]:
    """The PIL mode to convert the images to, and what the user should know about the choice.

    Args:
        channels: number of channels of the model.
        asked: `--input-img-mode`.
        recorded: what the model's folder says.
        source: the model, for messages.

    Raises:
        UsageError: the mode has another number of channels, or no mode has so many.

    >>> choose_mode(3, None, Recorded(), 'fpnas_l0'), choose_mode(4, None, Recorded(img_mode='CMYK'), 'x')
    (('RGB', []), ('CMYK', []))
    """
    of_model = recorded.img_mode if _fits(recorded.img_mode, channels) else ''
    if asked is not None:
        if bands_of(asked) != channels:
            raise UsageError(
                f'--input-img-mode {asked} has {bands_of(asked)} channels, {source} {channels}: leave it out, or give '
                f'a model with --in-chans {bands_of(asked)}'
            )
        if of_model and asked != of_model:
            return asked, [f'{source} was trained on {of_model} images; --input-img-mode says {asked}.']
        return asked, []
    if of_model:
        return of_model, []
    if channels not in USUAL:
        raise UsageError(f'{source} has {channels} image channels: expected 1, 3 or 4, or an --input-img-mode')
    notes = []
    if recorded.img_mode and recorded.img_mode not in BANDS:
        notes = [f'{source} was trained on images of the mode {recorded.img_mode}, which are not read any more: it '
                 f'gets {USUAL[channels]} now, which its weights do not expect. Train it again.']
    elif channels == 4:
        notes = ['4 channels: images are converted to RGBA; give another mode with --input-img-mode.']
    return USUAL[channels], notes


def _fits(img_mode: str, channels: int) -> bool:
    try:
        return bool(img_mode) and bands_of(img_mode) == channels
    except UsageError:
        return False


def check_conversion(weights: int | None, model: int, source: str, for_training: bool) -> list[str]:
    """Compare the channels that weights were trained for with those of the model that they are loaded into.

    Args:
        weights: channels of the weights; None if unknown.
        model: channels of the model.
        source: where the weights come from, for messages.
        for_training: the model is trained further, so that the first convolution may be adapted.

    Returns:
        What the user should know.

    Raises:
        UsageError: not for training, and the adapted weights are not the same function. Those of three channels are
            for one: timm adds up their first convolution, which is what they compute on grey RGB images.
    """
    if weights in (None, model):
        return []
    if for_training:
        return [f'The first convolution of {source} is adapted by timm from {weights} to {model} image channels.']
    if (weights, model) == (3, 1):
        return [f'{source} is for 3 image channels: validated on grey images, by adding up its first convolution.']
    raise UsageError(
        f'{source} is for {weights} image channels, the options ask for {model}: leave out --in-chans, --input-size '
        'and --input-img-mode, or train it for these images first'
    )
