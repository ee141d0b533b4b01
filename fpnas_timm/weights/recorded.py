"""What a model's folder or checkpoint says of it: class names, channels, image mode, and the search it comes from."""
import argparse
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import timm
import torch

from ..errors import RunError, UsageError
from ..runs.checkpoints import options_allowed
from .config_checks import NETWORK_ARGS
from .download import download
from .folder import CONFIG_FILE, WEIGHTS_FILE, initial_weights
from .manifest import read_all

__all__ = ['DATA_KEYS', 'MULTILABEL', 'Recorded', 'is_multilabel', 'names_in', 'recorded_of', 'refuse_multilabel']

MAX_CONFIG = 1 << 24  # bytes
RESULT_FILE = 'result.json'  # beside the arch.txt of a search
MULTILABEL = 'multilabel'  # the `task` in the `training` of a config.json, and in the options of timm's train.py
DATA_KEYS = ('input_size', 'mean', 'std', 'interpolation', 'crop_pct', 'crop_mode')


@dataclass(frozen=True)
class Recorded:
    """What is recorded of a model. Folders of older versions of this package, and of others, record less.

    Attributes:
        label_names: class names in the order of the classifier's outputs; empty if they are not recorded.
        num_classes: number of classifier outputs.
        in_chans: number of image channels.
        img_mode: PIL mode of the images; '' if it is not recorded.
        arch: architecture string; '' if it is not recorded or the model is another one.
        search: what the search that found the architecture wrote about itself; empty without one.
        model_args: further arguments of the network that are not the default, such as `bn_eps`.
        multilabel: several labels per image, each with a probability of its own: the sigmoid of its logit.
        data: entries of timm's pretrained cfg on the images, `DATA_KEYS`, and the `license` of the weights.
    """

    label_names: list[str] = field(default_factory=list)
    num_classes: int | None = None
    in_chans: int | None = None
    img_mode: str = ''
    arch: str = ''
    search: Mapping[str, Any] = field(default_factory=dict)
    model_args: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    multilabel: bool = False

    @property
    def images(self) -> dict[str, Any]:
        """The `DATA_KEYS` of `data`, as timm has them in a pretrained cfg."""
        found = {name: self.data[name] for name in DATA_KEYS if name in self.data}
        return {name: tuple(value) if isinstance(value, list) else value for name, value in found.items()}


def recorded_of(model: str, checkpoint: str = '', arch_file: str = '') -> Recorded:
    """What is recorded of a model; nothing if there is no record, or one that cannot be read.

    Args:
        model: as for `timm.create_model`: `local-dir:FOLDER`, `hf-hub:REPO`, or a registered name.
        checkpoint: file with its weights, if they are in one: a training checkpoint, or the weights of a folder.
        arch_file: file with its architecture string; the search that wrote it has its result beside it.
    """
    if checkpoint:
        file, base = Path(checkpoint), recorded_of(model, arch_file=arch_file)
        found = _of_config(_read(file.with_name(CONFIG_FILE))) if file.name == WEIGHTS_FILE else _of_checkpoint(file)
        return replace(
            found, in_chans=found.in_chans or base.in_chans, img_mode=found.img_mode or base.img_mode,
            search=found.search or base.search, arch=base.arch or found.arch,
            multilabel=found.multilabel or base.multilabel,
        )
    if arch_file:
        return _of_search(Path(arch_file))
    scheme, _, place = model.replace('hf_hub:', 'hf-hub:').partition(':')
    if place and scheme == 'local-dir':
        return _of_config(_read(Path(place) / CONFIG_FILE))
    if place and scheme == 'hf-hub':
        try:
            return _of_config(_read(download(place, CONFIG_FILE, MAX_CONFIG)))
        except RunError:
            return Recorded()  # creating the model says what is wrong
    cfg = timm.get_pretrained_cfg(model) if timm.is_model(model) else None
    if cfg is None:
        return Recorded()
    found = _of_config({'pretrained_cfg': cfg.to_dict()})
    try:
        several = {entry.model for entry in read_all() if entry.multilabel}
    except UsageError:
        return found  # creating a model of the manifest says what is wrong
    return replace(found, multilabel=f'{cfg.architecture}.{cfg.tag}' in several)


def names_in(labels: Any) -> list[str]:
    """The class names in timm's `label_names`, a list or a dict by index; empty if they do not name each output once.

    >>> names_in(['cat', 'dog']), names_in({'1': 'dog', '0': 'cat'}), names_in(['cat', 'cat']), names_in({'5': 'cat'})
    (['cat', 'dog'], ['cat', 'dog'], [], [])
    """
    if isinstance(labels, Mapping):
        by_index = {str(i): name for i, name in labels.items()}
        labels = [by_index.get(str(i)) for i in range(len(by_index))]
    if not isinstance(labels, (list, tuple)) or not all(isinstance(name, str) and name for name in labels):
        return []
    return list(labels) if len(set(labels)) == len(labels) else []


def is_multilabel(config: Mapping[str, Any]) -> bool:
    """Whether a model is for several labels per image, as its `config.json` says.

    >>> is_multilabel({'training': {'task': 'multilabel'}}), is_multilabel({'training': {'epochs': 3}})
    (True, False)
    """
    return _mapping(config.get('training')).get('task') == MULTILABEL


def refuse_multilabel(multilabel: bool, model: str, why: str) -> None:
    """Raise UsageError for a model with several labels per image where one is expected; `why` says what for."""
    if multilabel:
        raise UsageError(
            f'{model}: is for several labels per image, {why}: docs/training.md (Several labels per image) has a '
            'script with the parts of timm'
        )


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError, RecursionError):
        return None  # creating the model says what is wrong


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _of_config(config: Any) -> Recorded:
    config = _mapping(config)
    cfg = _mapping(config.get('pretrained_cfg', config))
    args = _mapping(config.get('model_args'))
    size = cfg.get('input_size')
    channels = args.get('in_chans', size[0] if isinstance(size, (list, tuple)) and size else None)
    training = _mapping(config.get('training'))
    return Recorded(
        names_in(config.get('label_names') or cfg.get('label_names')),
        _count(config.get('num_classes', cfg.get('num_classes'))),
        _count(channels),
        _text(config.get('input_img_mode')),
        _text(args.get('arch')),
        _mapping(config.get('search') or training.get('search')),
        _some(args, NETWORK_ARGS),
        # a model that started from trained weights has their license, also if it is not known
        _some({**cfg, **initial_weights(config)}, (*DATA_KEYS, 'license')),
        is_multilabel(config),
    )


def _of_search(arch_file: Path) -> Recorded:
    """The search that wrote `arch_file`, if the result beside it is of the same string."""
    result = _mapping(_read(arch_file.with_name(RESULT_FILE)))
    try:
        string = arch_file.read_text(encoding='utf-8').strip()
    except (OSError, ValueError):
        return Recorded()
    if not string or result.get('arch') != string:
        return Recorded()
    extracted = _of_config(_read(arch_file.with_name('extract') / CONFIG_FILE))
    search = extracted.search if extracted.arch == string else {k: v for k, v in result.items() if k != 'arch'}
    return Recorded(arch=string, search=search)


def _of_checkpoint(file: Path) -> Recorded:
    """What a training checkpoint of this package records: the options of its run."""
    try:
        with options_allowed():
            state = torch.load(file, map_location='cpu', weights_only=True, mmap=True)
    except Exception:  # other formats, damaged or missing: loading the weights says what is wrong
        return Recorded()
    state = _mapping(state)
    args = state.get('args')
    args = _mapping(vars(args) if isinstance(args, argparse.Namespace) else args)
    # all there is in checkpoints of older versions
    given = {**_mapping(args.get('model_kwargs')), **_some(args, ('bn_eps', 'bn_momentum')), **_renamed(args)}
    return Recorded(
        names_in(args.get('label_names')), _count(args.get('num_classes')), _count(args.get('in_chans')),
        _text(args.get('input_img_mode')), _text(state.get('arch_string')),
        model_args=_some(_mapping(state.get('model_args')) or given, NETWORK_ARGS),
        data=_some(_mapping(state.get('data_config')) or {**args, **given}, DATA_KEYS),
        multilabel=args.get('task') == MULTILABEL,
    )


def _renamed(args: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a training that have another name in a config."""
    found = {'global_pool': args['gp']} if args.get('gp') else {}
    if (size := args.get('img_size')) and not args.get('input_size'):
        found['input_size'] = [args.get('in_chans') or 3, size, size]
    return found


def _some(values: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: values[name] for name in names if values.get(name) is not None}


def _count(value: Any) -> int | None:
    return value if type(value) is int and value > 0 else None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ''
