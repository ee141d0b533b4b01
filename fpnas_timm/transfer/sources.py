"""Opens what `--init-from` names: a timm model, a model on the Hub, a folder, or a file of weights."""
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import timm
import torch
from safetensors import SafetensorError
from timm.models import load_state_dict
from torch import nn

from ..arch import Arch, ArchError
from ..errors import UsageError, did_you_mean, one_line
from ..model.network import FPNAS, checkpoint_filter_fn
from ..weights.folder import initial_weights, model_folder, read_config
from ..weights.recorded import Recorded, recorded_of
from ..zoo.names import resolve_arch
from .timm_arch import create_source
from .timm_weights import from_timm

__all__ = ['Source', 'describe_source', 'open_source', 'recorded_source']


@dataclass(frozen=True)
class Source:
    """A trained network to start from.

    Attributes:
        model: the network, in eval mode.
        name: what it is, for messages and cards, such as 'timm/efficientnet_b0.ra_in1k'.
        license: license of its weights; '' if unknown.
        label_names: names of its classes in order; empty if unknown.
        origin: what its weights started from themselves; '' if from scratch or unknown.
        img_mode: PIL mode of its images; '' if it is not recorded.
        multilabel: several labels per image.
    """

    model: FPNAS
    name: str
    license: str = ''
    label_names: tuple[str, ...] = ()
    origin: str = ''
    img_mode: str = ''
    multilabel: bool = False

    @property
    def record(self) -> dict[str, str]:
        """What a model that starts from it records as `init_from`: the first network of a chain, and its license."""
        return {'name': self.origin or self.name, 'license': self.license}


def open_source(source: str, model: str | None = None, in_chans: int | None = None) -> Source:
    """Open a source and load its weights; nothing but tensors is read from pickles.

    Args:
        source: a timm model with the tag of its weights ('efficientnet_b0.ra_in1k'), 'hf-hub:ORG/NAME',
            'local-dir:FOLDER', the folder of a training run or a search, or a file of weights.
        model: for a file, the timm model or the architecture string that it belongs to; not needed for a checkpoint of
            this package, nor for the weights in a folder of it, which say all of their network.
        in_chans: number of image channels, to which timm adapts the first convolution; if None, those recorded, or 3.

    Raises:
        UsageError: an unknown name, no weights, a damaged file, or another family of networks.
    """
    recorded = recorded_source(source)
    recorded = _of_model(recorded, model)
    opened = _open(source, model, recorded, in_chans or recorded.in_chans or 3)
    names = tuple(recorded.label_names) if len(recorded.label_names) == opened.model.num_classes else ()
    return replace(opened, label_names=names, img_mode=recorded.img_mode, multilabel=recorded.multilabel)


def describe_source(source: str, model: str | None = None) -> nn.Module:
    """The network of a source without its weights; arguments and errors are those of `open_source`."""
    recorded = recorded_source(source)
    path, folder = Path(source), Path(source.removeprefix('local-dir:'))
    if not path.is_file():
        _refuse_model(source, model)
        channels = {'in_chans': recorded.in_chans} if recorded.in_chans else {}
        return create_source(str(folder) if folder.is_dir() else source, pretrained=False, **channels)
    recorded = _of_model(recorded, model)
    named, state = _known(path, recorded.arch), _read(path)
    return _network(named, recorded.in_chans or _in_chans(state) or 3, _num_classes(state), recorded)


def _of_model(recorded: Recorded, model: str | None) -> Recorded:
    """The record of a file whose network is named; of another network, only what is said of the images is left."""
    if model is None:
        return recorded
    try:
        same = str(resolve_arch(model)[0]) == recorded.arch
    except ArchError:  # a timm model, or a mistake that is named later
        same = False
    if same:
        return recorded
    return replace(recorded, arch=model, model_args={}, data={} if recorded.arch else recorded.data)


def _refuse_model(source: str, model: str | None) -> None:
    if model is not None:
        kind = 'folder' if Path(source.removeprefix('local-dir:')).is_dir() else 'model'
        raise UsageError(f'{source} is a {kind}, not a file: leave out the model that the file belongs to ({model})')


def _open(source: str, model: str | None, recorded: Recorded, in_chans: int) -> Source:
    path = Path(source)
    if path.is_file():
        return _open_file(path, recorded, in_chans)
    if source.startswith(('hf-hub:', 'local-dir:')) or path.is_dir():
        _refuse_model(source, model)
    if source.startswith('hf-hub:'):
        return _wrap(create_source(source, pretrained=True, in_chans=in_chans), source)
    if source.startswith('local-dir:') or path.is_dir():
        return _open_folder(Path(source.removeprefix('local-dir:')), source, in_chans)
    if path.suffix in ('.safetensors', '.pth', '.pt', '.bin', '.tar') or len(path.parts) > 1:
        raise UsageError(f'{source}: no such file or folder')
    _refuse_model(source, model)
    if not timm.is_model(source.partition('.')[0]):
        hint = did_you_mean(source.partition('.')[0], timm.list_models())
        raise UsageError(f'{source}: neither a file or folder, nor a model of timm{hint}')
    return _wrap(create_source(source, pretrained=True, in_chans=in_chans), f'timm/{source}')


def recorded_source(source: str) -> Recorded:
    """What a folder, a file or a model on the Hub says of its network, classes, channels and image mode.

    Raises:
        UsageError: a folder without a model.
    """
    if Path(source).is_file():
        return recorded_of('', source)
    folder = source.removeprefix('local-dir:')
    if Path(folder).is_dir():
        return recorded_of(f'local-dir:{model_folder(folder)}')
    return recorded_of(source) if ':' in source else Recorded()


def _open_folder(folder: Path, source: str, in_chans: int) -> Source:
    folder = model_folder(folder)
    opened = _wrap(create_source(f'local-dir:{folder}', pretrained=True, in_chans=in_chans), source)
    before = initial_weights(read_config(folder))  # its license is that of all that comes after
    return replace(opened, license=before['license'], origin=before['name']) if before else opened


def _read(path: Path) -> dict[str, Any]:
    """The tensors of a file by their names in the plain model."""
    try:
        state = load_state_dict(str(path), device='cpu', weights_only=True)
    except (OSError, RuntimeError, SafetensorError, KeyError, ValueError, EOFError) as e:
        raise UsageError(f'{path}: cannot be read as weights: {one_line(e)}') from None
    except Exception as e:  # pickle's errors, of objects that are no tensors
        raise UsageError(f'{path}: not a file of tensors alone, so it is not loaded: {one_line(e)}') from None
    return checkpoint_filter_fn(dict(state), nn.Identity())


def _open_file(path: Path, recorded: Recorded, in_chans: int) -> Source:
    state = _read(path)
    model = _known(path, recorded.arch)
    net = _network(model, in_chans, _num_classes(state), recorded)
    try:
        net.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as e:
        raise UsageError(f'{path}: not the weights of {model}: {one_line(e, limit=400)}') from None
    # the license is not that of timm's own weights, but that of this file
    return replace(_wrap(net, path.name), license=str(recorded.data.get('license') or ''))


def _known(path: Path, model: str) -> str:
    if not model:
        raise UsageError(
            f'{path}: which network do these weights belong to? Give its timm name or architecture string '
            '(--init-from-model; fpnas transfer --source-model)'
        )
    return model


def _network(model: str, in_chans: int, num_classes: int | None, recorded: Recorded) -> nn.Module:
    """The network of a file; with all that is recorded of it, if it is one of this package."""
    kwargs: dict[str, Any] = {'in_chans': in_chans}
    if model == 'fpnas':
        raise UsageError('fpnas is a network of any string: give the architecture string itself')
    if num_classes is not None:
        kwargs['num_classes'] = num_classes
    if timm.is_model(model.partition('.')[0]):
        return _expecting(create_source(model, pretrained=False, **kwargs), recorded)
    try:
        arch = Arch.parse(model)
    except ArchError as e:
        if '-' in model:
            raise UsageError(f'{model[:40]}: {e}') from None
        return create_source(model, pretrained=False, **kwargs)  # its error has a hint
    return _expecting(
        create_source('fpnas', pretrained=False, arch=str(arch), **kwargs, **recorded.model_args), recorded
    )


def _expecting(net: nn.Module, recorded: Recorded) -> nn.Module:
    """The network, with what is recorded of its images in its `pretrained_cfg`."""
    cfg = {**cast(Any, net.pretrained_cfg), **recorded.images}
    channels = getattr(net, 'in_chans', None) or cfg['input_size'][0]
    net.pretrained_cfg = {**cfg, 'input_size': (channels, *cfg['input_size'][-2:])}  # type: ignore[assignment]
    return net


def _in_chans(state: dict[str, Any]) -> int | None:
    """How many image channels the stem in a state dict reads."""
    weight = next((state[name] for name in ('stem.conv.weight', 'conv_stem.weight') if name in state), None)
    return weight.shape[1] if isinstance(weight, torch.Tensor) and weight.dim() == 4 else None


def _num_classes(state: dict[str, Any]) -> int | None:
    """How many outputs the classifier in a state dict has."""
    for name in ('classifier.weight', 'fc.weight', 'head.fc.weight'):
        weight = state.get(name)
        if isinstance(weight, torch.Tensor) and weight.dim() == 2:
            return weight.shape[0]
    return None


def _wrap(model: nn.Module, name: str) -> Source:
    config: dict[str, Any] = dict(getattr(model, 'pretrained_cfg', None) or {})
    return Source(from_timm(model.eval()).eval(), name, str(config.get('license') or ''))
