"""Pretrained cfgs, which describe a model's weights and input to timm, and the checked weight files they refer to."""
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import resolve_pretrained_cfg

from ..arch import Arch
from ..arch.sizes import ImgSize, hw, out_size
from ..errors import RunError
from .checks import checked_file
from .config_checks import check_cfg, check_model_args, check_network_size
from .folder import CONFIG_FILE, WEIGHTS_FILE
from .manifest import ManifestEntry

__all__ = ['check_config', 'default_cfg', 'entry_cfg', 'named_cfgs', 'with_checked_weights']


def default_cfg(img_size: ImgSize, total_stride: int = 32, **kwargs: Any) -> dict[str, Any]:
    """timm's pretrained cfg of a network.

    Args:
        img_size: input size in pixels: one number for a square, or (height, width).
        total_stride: total stride of the network, which determines the size of the last feature map.
        kwargs: entries that override or extend the defaults.
    """
    size = hw(img_size)
    return {
        'num_classes': 1000,
        'input_size': (3, *size),
        'pool_size': out_size(size, total_stride),  # every convolution with stride 2 rounds up
        'crop_pct': 0.875,  # not stated in the paper: torchvision's usual crop, timm's interpolation
        'interpolation': 'bicubic',
        'mean': IMAGENET_DEFAULT_MEAN,
        'std': IMAGENET_DEFAULT_STD,
        'first_conv': 'stem.conv',
        'classifier': 'classifier',
        'origin_url': 'https://arxiv.org/abs/2011.10949',
        'paper_ids': 'arXiv:2011.10949',
        'paper_name': 'FP-NAS: Fast Probabilistic Neural Architecture Search',
        **kwargs,
    }


def named_cfgs(name: str, arch: Arch, entries: Sequence[ManifestEntry], **kwargs: Any) -> dict[str, dict[str, Any]]:
    """The cfgs of a model by `name.tag`, or by its name alone if there are no entries.

    Args:
        name: name of the model.
        arch: its architecture.
        entries: its weights; without a tag, timm uses the first.
        kwargs: further entries of each cfg.
    """
    if not entries:
        return {name: default_cfg(arch.img_size, arch.total_stride, **kwargs)}
    return {entry.model: {**entry_cfg(entry, arch), **kwargs} for entry in entries}


def entry_cfg(entry: ManifestEntry, arch: Arch) -> dict[str, Any]:
    """The cfg of one entry, with the place of its weights."""
    size = entry.pretrained_cfg.get('input_size', (3, *hw(arch.img_size)))
    place = {'hf_hub_id' if entry.repo_id else 'file': _place(entry)}
    given = {**entry.pretrained_cfg, 'input_size': size}
    return default_cfg(tuple(size[-2:]), arch.total_stride, **{'license': entry.license, **place, **given})


def _place(entry: ManifestEntry) -> str:
    """The location of the weights, as in a cfg: `hf_hub_id` or `file`."""
    return entry.source if entry.repo_id else str(Path(str(entry.folder)) / WEIGHTS_FILE)


def with_checked_weights(
        variant: str, arch: str, tags: Collection[str], entries: Iterable[ManifestEntry], kwargs: dict[str, Any]
) -> dict[str, Any]:
    """Replace the Hub repository or folder in the arguments of an entrypoint by a checked local file.

    The `model_args` of the weights' entry are added, as timm adds those of a `config.json`: as `pretrained_model_args`,
    and as arguments where there are none.

    Args:
        variant: name of the model.
        arch: its architecture string.
        tags: tags of the model; '' for no tag.
        entries: known weights; the hash is compared if an entry has the location given by the cfg.
        kwargs: arguments of the entrypoint, including `pretrained_cfg` and `pretrained_cfg_overlay`.

    Raises:
        RunError: there are no weights, or they are not available or not valid.
    """
    given, overlay = kwargs.get('pretrained_cfg'), kwargs.get('pretrained_cfg_overlay')
    if isinstance(given, str) and given not in tags:
        others = ', '.join(f'{variant}.{t}' for t in tags if t)
        raise _no_weights(variant, f'{variant}.{given}', f'there are {others}' if others else 'none are published')
    cfg = resolve_pretrained_cfg(variant, given, overlay).to_dict()
    place = cfg.get('hf_hub_id') if cfg.get('source') == 'hf-hub' or not cfg.get('file') else cfg['file']
    if not (place or cfg.get('url') or cfg.get('state_dict')):
        raise _no_weights(variant, variant, 'none are published')
    entries = list(entries)
    sha256 = next((entry.sha256 for entry in entries if _place(entry) == str(place)), None)
    stored = kwargs.get('pretrained_model_args')
    if stored is None and cfg.get('source') not in ('hf-hub', 'local-dir'):  # these have a config.json, maybe without
        stored = _model_args(f'{variant}.{cfg.get("tag")}', str(place), entries)
        kwargs = {**stored, **kwargs, 'pretrained_model_args': stored}
    path = checked_file(cfg, arch, sha256, kwargs.get('cache_dir'), (stored or {}).get('global_pool', 'avg'))
    if path is None:
        return kwargs
    checked = {'file': str(path), 'source': 'file', 'state_dict': None, 'custom_load': False}
    return {**kwargs, 'pretrained_cfg_overlay': {**(overlay or {}), **checked}}


def _model_args(model: str, place: str, entries: Iterable[ManifestEntry]) -> dict[str, Any]:
    """The `model_args` of the weights at a place; of two entries there, or for another file, those of `name.tag`."""
    fitting = {(_place(entry) == place, entry.model == model): entry for entry in reversed([*entries])}
    found = next((fitting[key] for key in ((True, True), (True, False), (False, True)) if key in fitting), None)
    return dict(found.model_args) if found is not None else {}


def check_config(variant: str, arch: str, kwargs: Mapping[str, Any]) -> None:
    """Check what timm has read from a `config.json`, in the arguments of an entrypoint; nothing if it has not.

    Args:
        variant: name of the model.
        arch: its architecture string.
        kwargs: arguments of the entrypoint.

    Raises:
        UsageError: an entry is not allowed (`config_checks`), or the network is too large.
    """
    cfg = kwargs.get('pretrained_cfg')
    source = cfg.get('source') if isinstance(cfg, dict) else None
    if not isinstance(cfg, dict) or source not in ('hf-hub', 'local-dir'):
        return
    place = 'file' if source == 'local-dir' else 'hf_hub_id'
    where = f'{cfg["file"]}/{CONFIG_FILE}' if source == 'local-dir' else f'{CONFIG_FILE} of {cfg["hf_hub_id"]}'
    check_cfg(cfg, where, (place, 'source'))
    stored = kwargs.get('pretrained_model_args') or {}
    check_model_args(stored, where, variant, cfg)
    check_network_size(stored.get('arch', arch), cfg.get('num_classes') or 0, (cfg.get('input_size') or (3,))[0], where)


def _no_weights(variant: str, name: str, why: str) -> RunError:
    ours = re.fullmatch('fpnas_[sl].*', variant)  # others are only known where `register_arch` was called
    model, recipe = (variant, f' --recipe {variant}') if ours else ('fpnas --model-kwargs arch=STRING', '')
    return RunError(
        f'No pretrained weights exist for {name}: {why}. Start from those of another network (fpnas train --model '
        f'{model} --init-from efficientnet_b0.ra_in1k), train them (fpnas train --model {model}{recipe}), or load '
        f"your own with timm.create_model('local-dir:FOLDER', pretrained=True) or 'hf-hub:ORG/NAME'; "
        'random weights: pretrained=False'
    )
