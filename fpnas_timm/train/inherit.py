"""`--init-from`: the weights of a trained network of any shape as the start of a run."""
import argparse
import logging
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from timm.data import AugMixDataset
from torch import nn
from torch.utils.data import Dataset, IterableDataset

from ..errors import UsageError
from ..model.network import FPNAS
from ..runs.processes import log_on_primary
from ..transfer.classes import order_of_classes, said_of_classes
from ..transfer.images import sample_images
from ..transfer.layers import pooling
from ..transfer.remap import Inherited, transfer
from ..transfer.sources import Source, open_source
from .checkpoints import options_in
from .classes import arrange_outputs

__all__ = ['inherit', 'open_start']

_logger = logging.getLogger('train')

# What a network expects of its images: taken from the source unless given.
_IMAGE_OPTIONS = ('mean', 'std', 'interpolation', 'crop_pct')


def open_start(args: argparse.Namespace, saved: Mapping[str, Any]) -> Source | None:
    """Open the source that `--init-from` names, and take the network and the pixel statistics from it.

    Args:
        args: the options. `model_kwargs` gets the source's architecture if none is given; `mean`, `std`,
            `interpolation`, `crop_pct`, `bn_eps`, `gp`, `in_chans`, `input_img_mode` and, in `pretrained_cfg_overlay`,
            `crop_mode` get the source's values unless given.
        saved: the checkpoint of `--resume auto`; if there is one, its values are taken instead, and the source is not
            needed.

    Returns:
        The source; None without `--init-from`, or if the run goes on from a checkpoint.

    Raises:
        UsageError: the source cannot be opened, or the network to train is not one of this package.
    """
    if not args.init_from:
        return None
    if saved:
        before = options_in(saved)
        args.init_from_record = before.get('init_from_record')
        if args.model == 'fpnas' and 'arch' not in args.model_kwargs:
            args.model_kwargs = {**before.get('model_kwargs', {}), **args.model_kwargs}
        for name in ('bn_eps', 'gp', 'in_chans', 'input_img_mode', *_IMAGE_OPTIONS):
            if getattr(args, name) in (None, ''):
                setattr(args, name, before.get(name))
        args.pretrained_cfg_overlay = {**(before.get('pretrained_cfg_overlay') or {}), **args.pretrained_cfg_overlay}
        return None
    asked = args.in_chans or (args.input_size or [None])[0]
    source = open_source(args.init_from, args.init_from_model, asked)
    if asked is None:
        vars(args).update(in_chans=source.model.in_chans, input_img_mode=args.input_img_mode or source.img_mode or None)
        if source.model.in_chans != 3:
            log_on_primary(_logger, f'{source.name} takes {source.model.in_chans} image channels: so does this run')
    args.init_from_record = source.record  # for the export, also of a resumed run
    if args.model == 'fpnas' and 'arch' not in args.model_kwargs:
        args.model_kwargs = {**args.model_kwargs, 'arch': str(source.model.arch)}
        if source.model.output_stride != 32:
            args.model_kwargs = {'output_stride': source.model.output_stride, **args.model_kwargs}
    config: Mapping[str, Any] = cast(Any, source.model.pretrained_cfg)
    for name in _IMAGE_OPTIONS:
        if getattr(args, name) in (None, '') and config.get(name) is not None:
            value = config[name]
            if isinstance(value, (tuple, list)) and len(value) != source.model.in_chans:  # as in `data_config_of`
                value = [sum(value) / len(value)] * source.model.in_chans
            setattr(args, name, list(value) if isinstance(value, (tuple, list)) else value)
    if config.get('crop_mode') not in (None, 'center'):
        args.pretrained_cfg_overlay = {'crop_mode': config['crop_mode'], **args.pretrained_cfg_overlay}
    eps = source.model.stem.bn.eps
    if args.bn_eps is None and eps != 1e-5:
        args.bn_eps = eps
    if args.gp is None and pooling(source.model) != 'avg':
        args.gp = pooling(source.model)
    return source


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
    order = order_of_classes(source.label_names, classes) if inherited.classifier else None
    if inherited.classifier and order is None:
        model.classifier.load_state_dict(anew)
        inherited = replace(inherited, classifier=False)
    log_on_primary(_logger, f'from {source.name}: {inherited.summary}')
    if order is not None and (note := said_of_classes(source.label_names, classes)):
        arrange_outputs(model, order or range(model.num_classes))
        log_on_primary(_logger, f'{source.name}: {note}', logging.WARNING)
    return inherited


def _images(dataset: Dataset, data_config: Mapping[str, Any], seed: int) -> torch.Tensor:
    """Some training images as in validation. Global random numbers, which a transform may draw, stay as they were."""
    while isinstance(dataset, AugMixDataset):
        dataset = dataset.dataset
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
