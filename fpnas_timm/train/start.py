"""Where a network starts: the model that `--model` names, and what of it starts from random weights."""
import re
from pathlib import Path
from typing import Any

import timm
from torch import nn

from ..errors import UsageError
from ..weights.folder import CONFIG_FILE
from ..weights.recorded import Recorded
from .classes import listed
from .network import NetworkConfig, has_trained_classifier

__all__ = ['named_model', 'random_start']


def named_model(name: str, option: str = '--model') -> str:
    """The model that an option names: a folder RUN becomes `local-dir:RUN/export` (of a search, `RUN/extract`).

    Args:
        name: a registered name, `local-dir:FOLDER`, the folder alone, or `hf-hub:REPO`.
        option: for messages.

    Raises:
        UsageError: a folder without a model, or a repository without its prefix.

    >>> named_model('resnet18'), named_model('hf-hub:timm/resnet18.a1_in1k')
    ('resnet18', 'hf-hub:timm/resnet18.a1_in1k')
    """
    scheme, _, place = name.partition(':')
    if scheme == 'local-dir' and place and not (Path(place) / CONFIG_FILE).is_file():
        inner = [Path(place) / part for part in ('export', 'extract')]
        return next((f'local-dir:{folder}' for folder in inner if (folder / CONFIG_FILE).is_file()), name)
    if re.match('[A-Za-z][A-Za-z0-9_-]+:', name):
        return name
    if Path(name).is_dir() and not timm.is_model(name):
        found = named_model(f'local-dir:{name}', option)
        if (Path(found.partition(':')[2]) / CONFIG_FILE).is_file():
            return found
        raise UsageError(
            f'{option} {name}: no model there: expected the folder of a training run (export/), of a search (extract/) '
            f'or one with {CONFIG_FILE}'
        )
    if '/' in name or '\\' in name:
        raise UsageError(
            f'{option} {name}: no such folder (local-dir:FOLDER), and for a model on the Hub write hf-hub:{name}'
        )
    return name


def random_start(model: nn.Module, config: NetworkConfig, recorded: Recorded) -> str:
    """A sentence about the part of a network that starts from random weights where one may expect trained ones.

    Args:
        model: as `create_network` made it.
        config: from this.
        recorded: what is recorded of the model or checkpoint.

    Returns:
        '' if all is as asked for.
    """
    if config.initial_checkpoint or has_trained_classifier(model, config):
        return ''
    if config.pretrained_path:
        if 'num_classes' in config.pretrained_cfg_overlay:
            return ''
        return (
            f'--pretrained-path {config.pretrained_path}: all weights are loaded but those of the classifier, which is '
            'new (as in timm): --initial-checkpoint keeps it, if it is for as many classes'
        )
    if not config.pretrained:
        from_elsewhere = config.model.partition(':')[0] in ('local-dir', 'hf-hub', 'hf_hub')
        return f'{config.model} starts from random weights: add --pretrained to start from its own' * from_elsewhere
    names, outputs = recorded.label_names, _outputs(model)
    if not names or not outputs:
        return ''
    return (
        f'--num-classes {outputs}: the classifier is new, since that of {config.model} is for {len(names)} classes, '
        f'{listed(names)}: --num-classes {len(names)} keeps it (images of some of its classes are enough)'
    )


def _outputs(model: nn.Module) -> int:
    number: Any = model.num_classes
    return number
