"""`--init-from`: a search that starts from a trained network, in the space around it."""
import argparse
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from ..errors import UsageError
from ..model.supernet import SuperNet
from ..runs.processes import log_on_primary
from ..spaces import MBConvSpace
from ..spaces.around import BLOCK_FRACTIONS, space_around
from ..transfer.classes import said_of_classes
from ..transfer.sources import Source, open_source, recorded_source
from ..transfer.supernet import start_supernet
from ..transfer.timm_arch import input_size_of
from .folder import read_record
from .saved import has_checkpoint
from .strategy_options import FITTED

__all__ = ['open_start', 'space_of', 'start', 'start_record']

_logger = logging.getLogger('search')


def open_start(args: argparse.Namespace) -> Source | None:
    """Open the source that `--init-from` names; mean and standard deviation of the pixels are taken from it.

    Returns:
        The source; None without `--init-from`, or if the search is resumed from a checkpoint, which has the weights.

    Raises:
        UsageError: the source cannot be opened.
    """
    if not args.init_from or (args.resume and has_checkpoint(Path(args.resume))):
        return None
    channels = recorded_source(args.init_from).in_chans
    if channels not in (None, args.in_chans):
        raise UsageError(
            f'--init-from {args.init_from}: takes {channels} image channels, the search {args.in_chans}: give '
            f'--in-chans {channels}'
        )
    source = open_source(args.init_from, args.init_from_model, args.in_chans)
    config: Mapping[str, Any] = cast(Any, source.model.pretrained_cfg)
    for name in ('mean', 'std'):
        if getattr(args, name) is None and config.get(name) is not None:
            setattr(args, name, list(config[name]))
    return source


def space_of(source: Source, supernet: str) -> MBConvSpace:
    """The space around a source.

    Args:
        source: the trained network.
        supernet: how the supernet gets its weights: for a fitted one the channels stay, and each block has choices of
            its own.
    """
    name = f'around {source.name}'
    arch = source.model.arch.with_img_size(input_size_of(source.model))
    try:
        if supernet == FITTED:
            return space_around(
                arch, kernels=False, expansion=BLOCK_FRACTIONS, channels=(1.0,), blocks=True, name=name
            )
        return space_around(arch, name=name)
    except ValueError as e:
        raise UsageError(f'--init-from {source.name}: {e}') from None


def start(net: SuperNet, source: Source, classes: Sequence[str]) -> None:
    """Write the source's weights into the supernet, and say so.

    Args:
        net: the supernet.
        source: what it starts from.
        classes: names of the classes searched on, in order; empty if unknown.
    """
    kept = start_supernet(net, source.model, source.label_names, classes)
    head = 'its classifier' if kept else f'a new classifier of {net.num_classes} classes'
    log_on_primary(_logger, f'the supernet starts from {source.name} with {head}, channels sorted by importance')
    if kept and (note := said_of_classes(source.label_names, classes)):
        log_on_primary(_logger, f'{source.name}: {note}', logging.WARNING)


def start_record(source: Source | None, resume: str | None) -> dict[str, str] | None:
    """What the extracted model records of the source, also that of a resumed search; None without a source."""
    if source is not None:
        return source.record
    return read_record(Path(resume)).get('init_from') if resume else None
