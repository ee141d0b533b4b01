"""Writes, finds and reads `local-dir:` folders, timm's own format."""
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError
from timm.layers import SplitBatchNorm2d
from timm.models import save_for_hf
from torch import nn

from ..errors import RunError, UsageError, one_line
from ..model.network import FPNAS
from ..runs.files import replacing_folder
from ..runs.image_options import USUAL
from .config_checks import check_cfg, check_model_args
from .json_file import read_json, show

__all__ = [
    'CARD_FILE', 'CONFIG_FILE', 'PICTURE', 'WEIGHTS_FILE', 'args_of', 'check_empty', 'config_problem',
    'drop_doubled_num_classes', 'export_model', 'initial_weights', 'is_own', 'model_folder', 'read_config',
]

CONFIG_FILE, WEIGHTS_FILE, CARD_FILE, PICTURE = 'config.json', 'model.safetensors', 'README.md', 'arch.png'
TOP_LEVEL = ('num_classes', 'label_names', 'label_descriptions')  # timm moves these to the pretrained cfg


def export_model(
        model: nn.Module,
        folder: Path,
        data_config: Mapping[str, Any],
        label_names: Sequence[str],
        training: Mapping[str, Any],
) -> None:
    """Write `folder/config.json` and `folder/model.safetensors`; an existing folder is replaced completely.

    A network of this package is always written as `fpnas` with its architecture string, even if it was created by name:
    the architecture of a named model is a reconstruction and may change, but a string always means the same network.

    Args:
        model: the network with the weights to export; modified in place (memory format, auxiliary batch norms).
        folder: output folder.
        data_config: from timm's `resolve_data_config`: input size, crop, mean and standard deviation; with
            `input_img_mode`, the PIL mode of the images (by default the usual one of so many channels).
        label_names: class names in order; empty if unknown.
        training: facts about the training, written to `config.json` under `training`.

    Raises:
        RunError: the folder cannot be written.
    """
    channels: Any = model.in_chans
    config: dict[str, Any] = {'training': dict(training)}
    if img_mode := data_config.get('input_img_mode') or USUAL.get(channels):
        config['input_img_mode'] = img_mode
    if label_names:
        config['label_names'] = list(label_names)
    model_args = None
    if isinstance(model, FPNAS):
        config['pretrained_cfg'] = {'architecture': 'fpnas'}
        model_args = {'arch': str(model.arch), **args_of(model)}
    model = model.to(memory_format=torch.contiguous_format)  # required by safetensors
    for module in model.modules():
        if isinstance(module, SplitBatchNorm2d):  # its main batch norm is used for inference
            module.aux_bn = nn.ModuleList()
    keys = ('input_size', 'interpolation', 'mean', 'std', 'crop_pct', 'crop_mode')
    try:
        with replacing_folder(folder) as temporary:
            save_for_hf(
                model,
                str(temporary),
                model_config=config,
                model_args=model_args,
                safe_serialization=True,
                data_config={k: data_config[k] for k in keys if k in data_config},
            )
            config_file = temporary / CONFIG_FILE
            written = json.loads(config_file.read_text(encoding='utf-8'))
            for key in ('label_names', 'label_descriptions'):  # of the model that the training started from
                written['pretrained_cfg'].pop(key, None)
            config_file.write_text(json.dumps(drop_doubled_num_classes(written), indent=2), encoding='utf-8')
    except (OSError, SafetensorError) as e:
        reason = e.strerror if isinstance(e, OSError) and e.strerror else one_line(e)
        raise RunError(f'{folder}: cannot be written ({reason})') from None


def args_of(model: FPNAS) -> dict[str, Any]:
    """A network's `config_checks.NETWORK_ARGS` that are not the default, such as the epsilon of a `tf_` model."""
    norm, usual = model.stem.bn, nn.BatchNorm2d(1)
    found: dict[str, Any] = {'bn_eps': norm.eps, 'bn_momentum': norm.momentum, 'output_stride': model.output_stride}
    found['global_pool'] = getattr(model.global_pool, 'pool_type', '') or ''
    default = {'bn_eps': usual.eps, 'bn_momentum': usual.momentum, 'output_stride': 32, 'global_pool': 'avg'}
    return {name: v for name, v in found.items() if v is not None and v != default[name]}


def drop_doubled_num_classes(config: dict[str, Any]) -> dict[str, Any]:
    """Remove `num_classes` from the `model_args` of a `config.json`: timm writes it twice, transformers rejects that.

    >>> drop_doubled_num_classes({'num_classes': 10, 'model_args': {'num_classes': 10, 'arch': 'i32-..'}})
    {'num_classes': 10, 'model_args': {'arch': 'i32-..'}}
    """
    args = {k: v for k, v in config.get('model_args', {}).items() if k != 'num_classes'}
    return {**config, 'model_args': args} if 'model_args' in config else config


def initial_weights(config: Mapping[str, Any]) -> dict[str, str]:
    """Which trained network the weights of a model started from, as its `config.json` says.

    Returns:
        `name` and `license` ('' if unknown); empty if they started from scratch or nothing is recorded.

    >>> initial_weights({'training': {'init_from': {'name': 'timm/mobilenetv2_050.lamb_in1k'}}})
    {'name': 'timm/mobilenetv2_050.lamb_in1k', 'license': ''}
    """
    training = config.get('training')
    training = training if isinstance(training, Mapping) else {}
    for place in (training, training.get('search'), config.get('search')):
        found = place.get('init_from') if isinstance(place, Mapping) else None
        if isinstance(found, Mapping) and isinstance(found.get('name'), str):
            return {'name': found['name'], 'license': str(found.get('license') or '')}
    return {}


def check_empty(folder: str | Path) -> Path:
    """Check that a folder is empty or does not exist yet.

    Raises:
        UsageError: the folder is not empty, or it is a file.
    """
    folder = Path(folder)
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise UsageError(f'{folder}: not empty: choose another folder')
    return folder


def model_folder(run_or_dir: str | Path) -> Path:
    """The `local-dir:` folder of a training run (`export/`) or a search (`extract/`), or the folder itself.

    Raises:
        UsageError: there is no model in the folder.
    """
    root = Path(run_or_dir)
    for folder in (root, root / 'export', root / 'extract'):
        if (folder / CONFIG_FILE).is_file():
            if not (folder / WEIGHTS_FILE).is_file():
                raise UsageError(f'{folder}: holds no {WEIGHTS_FILE}: save with safe_serialization=True')
            return folder
    raise UsageError(
        f'{root}: no model there: expected the folder of a training run (export/), of a search (extract/), or one with '
        f'{CONFIG_FILE} and {WEIGHTS_FILE}'
    )


def read_config(folder: Path) -> dict[str, Any]:
    """Read the `config.json` of a `local-dir:` folder.

    Raises:
        UsageError: the file is not JSON, not in timm's format, or of a model that is not registered; or it is of a
            network of this package and has an entry that `config_checks` does not allow.
    """
    path = folder / CONFIG_FILE
    config = read_json(path)
    name = config.get('architecture') if isinstance(config, dict) else None
    parts = [config.get(k, {}) for k in ('pretrained_cfg', 'model_args')] if isinstance(config, dict) else []
    if not isinstance(name, str) or not all(isinstance(part, dict) for part in parts):
        raise UsageError(f"{path}: not timm's format: expected architecture, num_classes and pretrained_cfg")
    if not timm.is_model(name):
        raise UsageError(f'{path}: {show(name)} is no model here')
    cfg = {**config.get('pretrained_cfg', {}), **{k: config[k] for k in TOP_LEVEL if k in config}}
    if type(config.get('num_classes')) is not int or config['num_classes'] < 0:
        raise UsageError(f'{path}: num_classes is {show(config.get("num_classes"))}: expected a whole number')
    if cfg.get('input_size') is None:
        raise UsageError(f'{path}: pretrained_cfg has no input_size: expected channels, height and width')
    if is_own(name):
        check_cfg(config.get('pretrained_cfg', {}), str(path))
        check_cfg(cfg, str(path))
        check_model_args(config.get('model_args', {}), str(path), name, cfg)
    return config


def config_problem(model: str) -> str:
    """What is wrong with the `config.json` of `local-dir:FOLDER`, which timm reads itself; '' if nothing is.

    >>> config_problem('resnet18')
    ''
    """
    scheme, _, folder = model.partition(':')
    if scheme != 'local-dir' or not (Path(folder) / CONFIG_FILE).is_file():
        return ''
    try:
        read_config(Path(folder))
    except UsageError as e:
        return str(e)
    return ''


def is_own(name: str) -> bool:
    """Whether a registered model is a network of this package."""
    return timm.is_model(name) and timm.model_entrypoint(name).__module__.startswith('fpnas_timm.')
