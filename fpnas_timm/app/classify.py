"""An image and a trained model: the classes that it finds. Runs in `worker`, the only place where torch is imported."""
import base64
import io
from functools import lru_cache
from typing import Any

from ..errors import RunError, UsageError, one_line

__all__ = ['classify_answer']

TOP = 5
SIDE = 16384  # pixels; beyond it an image is refused before it is decoded


@lru_cache(maxsize=1)
def _model(folder: str, _stamp: int) -> tuple[Any, Any, str, list[str]]:
    """Network, preprocessing, PIL mode and class names of a `local-dir:` folder."""
    import timm
    from timm.data import create_transform, resolve_data_config

    from ..weights.folder import model_folder, read_config
    from ..weights.recorded import recorded_of

    read_config(model_folder(folder))
    name = f'local-dir:{folder}'
    try:
        model = timm.create_model(name, pretrained=True).eval()
    except (OSError, RuntimeError, ValueError, TypeError, KeyError, AttributeError) as e:
        raise UsageError(f'{folder}: the model cannot be loaded ({one_line(e)})') from None
    recorded = recorded_of(name)
    transform = create_transform(**resolve_data_config({}, model=model), is_training=False)
    channels = recorded.in_chans or 3
    mode = recorded.img_mode or {1: 'L', 3: 'RGB', 4: 'RGBA'}.get(channels, 'RGB')
    return model, transform, mode, recorded.label_names


def classify_answer(given: dict[str, Any]) -> dict[str, Any]:
    """The most probable classes of an image, for `worker`.

    Args:
        given: `folder`: of the model, with `config.json`; `stamp`: when its weights were written; `image`: the file in
            base64.

    Raises:
        UsageError: it is no image, or the folder has no model that can be loaded.
    """
    import torch
    from PIL import Image, UnidentifiedImageError

    from ..runs.images import READ_ERRORS, to_mode, unreadable

    data = base64.b64decode(given['image'])
    try:
        image = Image.open(io.BytesIO(data))
        if max(image.size) > SIDE:
            raise UsageError(f'the image has {image.size[0]:,} x {image.size[1]:,} pixels: expected at most {SIDE:,} a '
                             'side')
    except UnidentifiedImageError:
        raise UsageError('the file is not an image of a known format: expected JPEG, PNG, WebP or another that Pillow '
                         'reads') from None
    except READ_ERRORS as e:
        raise _plain(e, unreadable) from None
    model, transform, mode, names = _model(given['folder'], given['stamp'])
    try:
        pixels = transform(to_mode(image, mode))
    except READ_ERRORS as e:
        raise _plain(e, unreadable) from None
    with torch.inference_mode():
        logits = model(pixels.unsqueeze(0))[0]
    if not torch.isfinite(logits).all():
        raise UsageError('the outputs of this model are not finite numbers: its weights are damaged')
    probs = logits.softmax(0)
    found = probs.topk(min(TOP, len(probs)))
    return {
        'classes': [
            {'name': names[i] if i < len(names) else f'class {i}', 'prob': p}
            for p, i in zip(found.values.tolist(), found.indices.tolist())
        ],
        'size': f'{image.width} x {image.height}',
    }


def _plain(e: BaseException, unreadable: Any) -> RunError | UsageError:
    return e if isinstance(e, UsageError) else unreadable('the file', e, 'drop it again')
