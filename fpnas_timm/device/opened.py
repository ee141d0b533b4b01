"""The network that `fpnas export` and `fpnas predict` are given: a name, a string, a folder or a model on the Hub."""
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
from timm.data import resolve_model_data_config
from torch import nn

from ..arch import ArchError
from ..errors import UsageError
from ..model.network import FPNAS
from ..runs.image_options import BANDS, USUAL
from ..transfer.timm_arch import create_source
from ..weights.folder import model_folder
from ..weights.recorded import Recorded, recorded_of
from ..zoo.names import resolve_arch
from .formats import FORMATS
from .metadata import DATA_CONFIG, Metadata

__all__ = ['Opened', 'open_network']


@dataclass(frozen=True)
class Opened:
    """A network in eval mode on the CPU, and what is known of it."""

    network: nn.Module
    metadata: Metadata


def open_network(model: str, img_size: int | None = None) -> Opened:
    """Open a network with its weights; with random ones if there are none (`metadata.trained`).

    Args:
        model: a registered name, with the tag of its weights or without one; an architecture string;
            `local-dir:FOLDER`, `hf-hub:REPO`, or the folder of a training run or a search.
        img_size: height and width of the images; the network's own if None.

    Raises:
        UsageError: nothing of this name, no weights where some are expected, or no classifier.
    """
    name, kwargs, pretrained = _resolve(model)
    recorded = recorded_of(name)
    if recorded.in_chans and ':' in name:
        kwargs['in_chans'] = recorded.in_chans
    network: Any = create_source(name, pretrained=pretrained, **kwargs).eval()
    if not network.num_classes:
        raise UsageError(f'{model}: has no classifier: train it first (fpnas train)')
    return Opened(network, _metadata(model, network, recorded, pretrained, img_size))


def _resolve(model: str) -> tuple[str, dict[str, Any], bool]:
    """A name for timm, arguments of the model, and whether it has weights."""
    scheme, _, place = model.partition(':')
    if scheme == 'local-dir' and place:
        return f'local-dir:{model_folder(place)}', {}, True
    if scheme in ('hf-hub', 'hf_hub') and place:
        return model, {}, True
    if timm.is_model(model.partition('.')[0]) and model != 'fpnas':
        cfg = timm.get_pretrained_cfg(model, allow_unregistered=True)
        return model, {}, '.' in model or bool(cfg and cfg.has_weights)
    if Path(model).is_dir():
        return f'local-dir:{model_folder(model)}', {}, True
    if Path(model).suffix.lower() in {f.suffix for f in FORMATS.values()} or Path(model).is_file():
        raise UsageError(f'{model}: {"a file" if Path(model).is_file() else "no such file"}: expected a network')
    try:
        arch, _ = resolve_arch(model)
    except ArchError as e:
        raise UsageError(f'{model}: no such folder' if '/' in model else str(e)) from None
    return 'fpnas', {'arch': str(arch)}, False


def _metadata(model: str, network: Any, recorded: Recorded, trained: bool, img_size: int | None) -> Metadata:
    config = resolve_model_data_config(network)
    config = {key: config[key] for key in DATA_CONFIG}
    channels = network.in_chans if isinstance(network, FPNAS) else config['input_size'][0]
    height, width = (img_size, img_size) if img_size else config['input_size'][1:]
    config['input_size'] = [channels, height, width]
    for key in ('mean', 'std'):  # as timm's loader does for other numbers of channels
        values = [float(v) for v in config[key]]
        config[key] = values if len(values) == channels else [sum(values) / len(values)] * channels
    if recorded.img_mode and recorded.img_mode not in BANDS:
        raise UsageError(f'{model}: is for images of the mode {recorded.img_mode}, which are not read any more: train '
                         f'it again with one of {", ".join(BANDS)}')
    mode = recorded.img_mode if BANDS.get(recorded.img_mode) == channels else USUAL.get(channels, '')
    if not mode:
        raise UsageError(f'{model}: has {channels} image channels, and no image mode with so many is recorded')
    names = recorded.label_names if len(recorded.label_names) == network.num_classes else []
    arch = str(network.arch) if isinstance(network, FPNAS) else ''
    return Metadata(
        model, arch, network.num_classes, names, config, mode, trained=trained, multilabel=recorded.multilabel
    )
