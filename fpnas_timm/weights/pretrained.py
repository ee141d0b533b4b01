"""Pretrained cfgs: what timm needs to know of a model's weights and input, and the way from there to a checked file."""
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import resolve_pretrained_cfg

from ..arch import Arch
from ..arch.sizes import out_size
from ..errors import RunError, UsageError
from .checks import checked_file
from .folder import WEIGHTS_FILE
from .manifest import ManifestEntry

__all__ = ['default_cfg', 'named_cfgs', 'with_checked_weights']

_hashes: dict[str, str] = {}  # where weights are -> sha256


def default_cfg(img_size: int, total_stride: int = 32, **kwargs: Any) -> dict[str, Any]:
    """timm's configuration of a network.

    Args:
        img_size: height and width of the input, pixels.
        total_stride: of the network; with it, the size of the last map.
        kwargs: entries that win over these.
    """
    pool = out_size(img_size, total_stride)  # every convolution with stride 2 rounds up
    return {
        'num_classes': 1000,
        'input_size': (3, img_size, img_size),
        'pool_size': (pool, pool),
        'crop_pct': 0.875,  # the paper names no preprocessing: torch's usual one, timm's interpolation
        'interpolation': 'bicubic',
        'mean': IMAGENET_DEFAULT_MEAN,
        'std': IMAGENET_DEFAULT_STD,
        'first_conv': 'stem.conv',
        'classifier': 'classifier',
        'license': 'apache-2.0',
        'origin_url': 'https://arxiv.org/abs/2011.10949',
        'paper_ids': 'arXiv:2011.10949',
        'paper_name': 'FP-NAS: Fast Probabilistic Neural Architecture Search',
        **kwargs,
    }


def _weights_cfg(weights: ManifestEntry, arch: Arch) -> dict[str, Any]:
    size = weights.pretrained_cfg.get('input_size', (3, arch.img_size, arch.img_size))
    if weights.repo_id:
        place = {'hf_hub_id': weights.source}
    else:
        place = {'file': str(Path(str(weights.folder)) / WEIGHTS_FILE)}
    given = {**weights.pretrained_cfg, 'input_size': size}
    return default_cfg(size[-1], arch.total_stride, **{'license': weights.license, **place, **given})


def named_cfgs(name: str, arch: Arch, weights: Sequence[ManifestEntry], **kwargs: Any) -> dict[str, dict[str, Any]]:
    """The cfgs of a model by name or `name.tag`; timm takes the first tag as the default one."""
    for w in weights:
        if w.arch is not None and Arch.parse(w.arch) != arch:
            raise UsageError(f'{w.model}: these weights are of another architecture than {name}: {w.arch}')
        _hashes[w.source if w.repo_id else str(Path(str(w.folder)) / WEIGHTS_FILE)] = w.sha256
    return {w.model: {**_weights_cfg(w, arch), **kwargs} for w in weights} or {
        name: default_cfg(arch.img_size, arch.total_stride, **kwargs)
    }


def with_checked_weights(
        variant: str, arch: str, tags: Collection[str], kwargs: dict[str, Any]
) -> dict[str, Any]:
    """The arguments of an entrypoint with a local file in place of the Hub or folder that they name, and checked.

    Args:
        variant: the model's name.
        arch: its string.
        tags: those it has, '' for none.
        kwargs: of the entrypoint, `pretrained_cfg` and `pretrained_cfg_overlay` among them.

    Raises:
        RunError: there are no weights, or they are not to be had, or not what they should be.
    """
    given, overlay = kwargs.get('pretrained_cfg'), kwargs.get('pretrained_cfg_overlay')
    if isinstance(given, str) and given not in tags:
        others = ', '.join(f'{variant}.{t}' for t in tags if t)
        raise _no_weights(variant, f'{variant}.{given}', f'there are {others}' if others else 'none are published')
    cfg = resolve_pretrained_cfg(variant, given, overlay).to_dict()
    place = cfg.get('hf_hub_id') if cfg.get('source') == 'hf-hub' or not cfg.get('file') else cfg['file']
    if not (place or cfg.get('url') or cfg.get('state_dict')):
        raise _no_weights(variant, variant, 'none are published')
    path = checked_file(cfg, arch, _hashes.get(str(place)), kwargs.get('cache_dir'))
    if path is None:
        return kwargs
    return {**kwargs, 'pretrained_cfg_overlay': {**(overlay or {}), 'file': str(path), 'source': 'file'}}


def _no_weights(variant: str, name: str, why: str) -> RunError:
    recipe = f' --recipe {variant}' if re.fullmatch('fpnas_[sl].*', variant) else ''
    return RunError(
        f'No pretrained weights exist for {name}: {why}. Train them (fpnas train --model {variant}{recipe}), or load '
        f"your own with timm.create_model('local-dir:FOLDER', pretrained=True) or 'hf-hub:ORG/NAME'"
    )
