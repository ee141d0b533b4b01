"""`--init-from`: the weights of a trained network of any shape as the start of a run."""
import argparse
import logging
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from torch.utils.data import Dataset, IterableDataset

from ..errors import UsageError
from ..model.network import FPNAS
from ..transfer.images import sample_images
from ..transfer.remap import Inherited, transfer
from ..transfer.sources import Source, open_source
from ..weights.folder import model_folder
from .checkpoints import options_in
from .recorded import Recorded, recorded_of

__all__ = ['inherit', 'open_start']

_logger = logging.getLogger('train')

# What a network expects of its images: taken from the source unless given.
_IMAGE_OPTIONS = ('mean', 'std', 'interpolation', 'crop_pct')


def open_start(args: argparse.Namespace, saved: Mapping[str, Any]) -> Source | None:
    """Open the source that `--init-from` names, and take the network and the pixel statistics from it.

    Args:
        args: the options. `model_kwargs` gets the source's architecture if none is given; `mean`, `std`,
            `interpolation`, `crop_pct` and `bn_eps` get the source's values unless given.
        saved: the checkpoint of `--resume auto`; if there is one, these values are those of the resumed run, and the
            source is not needed.

    Returns:
        The source; None without `--init-from`, or if the run goes on from a checkpoint.

    Raises:
        UsageError: the source cannot be opened, or the network to train is not one of this package.
    """
    if not args.init_from:
        return None
    if saved:
        before = options_in(saved)
        for name in ('model_kwargs', 'bn_eps', 'init_from_record', *_IMAGE_OPTIONS):
            setattr(args, name, before.get(name, getattr(args, name, None)))
        return None
    recorded = _recorded(args.init_from)
    if args.in_chans is None and not args.input_size and recorded.in_chans is not None:
        vars(args).update(in_chans=recorded.in_chans, input_img_mode=args.input_img_mode or recorded.img_mode or None)
        if recorded.in_chans != 3:
            _logger.info('%s takes %d image channels: so does this run', args.init_from, recorded.in_chans)
    is_file = Path(args.init_from).is_file()
    model = args.init_from_model or (recorded.arch if is_file else None) or None
    source = open_source(args.init_from, model, args.in_chans or (args.input_size or [3])[0])
    if not source.label_names and len(recorded.label_names) == source.model.num_classes:
        source = replace(source, label_names=tuple(recorded.label_names))
    args.init_from_record = source.record  # for the export, also of a resumed run
    if args.model == 'fpnas' and 'arch' not in args.model_kwargs:
        args.model_kwargs = {**args.model_kwargs, 'arch': str(source.model.arch)}
    config: Mapping[str, Any] = cast(Any, source.model.pretrained_cfg)
    for name in _IMAGE_OPTIONS:
        if getattr(args, name) in (None, '') and config.get(name) is not None:
            value = config[name]
            setattr(args, name, list(value) if isinstance(value, (tuple, list)) else value)
    eps = source.model.stem.bn.eps
    if args.bn_eps is None and eps != 1e-5:
        args.bn_eps = eps
    return source


def _recorded(source: str) -> Recorded:
    """What a folder, a model on the Hub or a file says of its network, classes, channels and image mode."""
    if Path(source).is_file():
        return recorded_of('', source)
    if Path(source).is_dir():
        source = f'local-dir:{model_folder(source)}'
    return recorded_of(source) if ':' in source else Recorded()


def inherit(
        model: nn.Module,
        source: Source,
        dataset: Dataset,
        data_config: Mapping[str, Any],
        classes: Sequence[str],
        seed: int,
) -> Inherited:
    """Write the source's weights into the network of a run, fitted to some of its training images.

    Args:
        model: the network; in place.
        source: what to start from.
        dataset: the training data, with or without a transform.
        data_config: timm's data config of the run.
        classes: names of the classes of the data, in order; empty if unknown.
        seed: seed of the choice of images.

    Raises:
        UsageError: the network is not one of this package, or does not fit the source.
    """
    if not isinstance(model, FPNAS):
        raise UsageError(
            f'--init-from {source.name}: for networks of this package (--model fpnas, or a named one), not for a '
            f'{type(model).__name__}: use --pretrained with those of timm'
        )
    images = None if isinstance(dataset, IterableDataset) else _images(dataset, data_config, seed)
    anew = model.classifier.state_dict() if isinstance(model.classifier, nn.Linear) else {}
    anew = {name: value.clone() for name, value in anew.items()}
    inherited = transfer(source.model, model, images)
    order = _order_of_classes(source.label_names, classes) if inherited.classifier else None
    if inherited.classifier and order is None:
        model.classifier.load_state_dict(anew)
        inherited = Inherited(**{**vars(inherited), 'classifier': False})
    elif order:
        with torch.no_grad():
            for p in model.classifier.parameters():
                p.copy_(p[torch.tensor(order, device=p.device)].clone())
    _logger.info('from %s: %s', source.name, inherited.summary)
    if inherited.classifier and not (source.label_names and classes):
        _logger.warning(
            '%s: its class names are not known: its outputs are taken to be your classes in order', source.name
        )
    elif order and list(order) != sorted(order):
        _logger.info('its outputs are put into the order of your classes: %s', ', '.join(classes))
    return inherited


def _order_of_classes(theirs: Sequence[str], ours: Sequence[str]) -> list[int] | None:
    """Index of each of our classes among the source's; None if the names differ, [] if they are not known."""
    if not theirs or not ours:
        return []
    if sorted(theirs) != sorted(ours) or len(set(theirs)) < len(theirs):
        return None
    return [list(theirs).index(name) for name in ours]


def _images(dataset: Dataset, data_config: Mapping[str, Any], seed: int) -> torch.Tensor:
    """Some training images as in validation. Global random numbers, which a transform may draw, stay as they were."""
    given = getattr(dataset, 'transform', None)
    states = (random.getstate(), torch.get_rng_state())
    try:
        if given is not None:
            cast(Any, dataset).transform = None
        return sample_images(dataset, data_config, seed=seed)
    finally:
        if given is not None:
            cast(Any, dataset).transform = given
        random.setstate(states[0])
        torch.set_rng_state(states[1])
