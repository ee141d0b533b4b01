"""An image and a trained model: what `fpnas predict` says, of an image in memory.

Runs in `worker`, the only place where torch is imported.
"""
import base64
import io
import math
from functools import lru_cache
from typing import Any

from ..errors import UsageError, one_line

__all__ = ['classify_answer']

SIDE = 16384  # pixels; beyond it an image is refused before it is decoded


@lru_cache(maxsize=1)
def _program(folder: str, _stamp: int) -> Any:
    """The network of a `local-dir:` folder; read again if its weights have changed."""
    from ..device.predict import open_predictor
    from ..weights.folder import model_folder, read_config

    read_config(model_folder(folder))
    try:
        return open_predictor(f'local-dir:{folder}')
    except UsageError:
        raise
    except Exception as e:  # whatever timm and safetensors raise for damaged files
        raise UsageError(f'{folder}: the model cannot be loaded ({one_line(e)})') from None


def classify_answer(given: dict[str, Any]) -> dict[str, Any]:
    """The most probable classes of an image, for `worker`.

    Args:
        given: `folder`: of the model, with `config.json`; `stamp`: when its weights were written; `image`: the file in
            base64.

    Raises:
        UsageError, RunError: it is no image, or the folder has no model that can be loaded.
    """
    from PIL import Image

    from ..device.predict import most_probable
    from ..device.programs import input_transform
    from ..runs.images import READ_ERRORS, to_mode, unreadable

    program = _program(given['folder'], given['stamp'])
    try:
        image = Image.open(io.BytesIO(base64.b64decode(given['image'])))
        if max(image.size) > SIDE:
            raise UsageError(f'the image has {image.size[0]:,} x {image.size[1]:,} pixels: expected at most {SIDE:,} a '
                             'side')
        inputs = input_transform(program.metadata)(to_mode(image, program.metadata.img_mode))
    except UsageError:
        raise
    except READ_ERRORS as e:
        raise unreadable('the file', e, 'drop it again') from None
    [found] = most_probable(program, inputs[None], ['the file'])
    if not all(map(math.isfinite, found.probabilities)):
        raise UsageError('the outputs of this model are not finite numbers: its weights are damaged')
    return {'classes': [{'name': name, 'prob': prob} for name, prob in zip(found.classes, found.probabilities)]}
