"""The data of a training run: splits, classes, and timm's loaders with timm's augmentation."""
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sized
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from timm.data import AugMixDataset, FastCollateMixup, Mixup, create_loader, resolve_data_config
from torch import nn
from torch.utils.data import Dataset, IterableDataset

from ..errors import UsageError, one_line
from ..runs.datasets import StrictImages, class_indices, class_names, fingerprint, open_dataset
from ..runs.holdout import hold_out
from ..runs.image_folder import counted
from ..runs.processes import log_on_primary, shield_workers
from ..runs.splits import NoSplitError, find_split, kind_of
from .classes import classes_of, listed
from .workers import WorkerStates, track_workers

__all__ = ['ImagesUsed', 'Loaders', 'create_loaders', 'data_config_of', 'open_splits']

_logger = logging.getLogger(__name__)


def open_splits(
        name: str,
        root: str | Path | None,
        train_split: str,
        val_split: str,
        training: Mapping[str, Any],
        validation: Mapping[str, Any],
        val_fraction: float = 0.0,
        val_seed: int = 0,
) -> tuple[Dataset, Dataset | None]:
    """Open the training and the validation data.

    Args:
        name: as `--dataset`: '' for an image folder.
        root: the data folder.
        train_split: name of the training split.
        val_split: name of the validation split; '' for none.
        training: further arguments of timm's `create_dataset` for the training split.
        validation: the same for the validation split.
        val_fraction: hold out this fraction of the training images for validation instead; 0: none.
        val_seed: random seed of this choice.

    Returns:
        Training set and validation set (None without validation); its classes are numbered as in the training set.

    Raises:
        UsageError: the data cannot be opened, the validation split has classes that the training split lacks, or they
            are the same images.
    """
    if val_fraction and val_split and not name and root is not None and _other_split(root, train_split, val_split):
        raise UsageError(
            f"--val-fraction {val_fraction:g}: {root} has a folder for {val_split}: add --val-split '' to hold out "
            'training images anyway'
        )
    train = open_dataset(name, root, train_split, is_training=True, **training)
    if val_fraction:
        rest, chosen = hold_out(train, val_fraction, val_seed)
        if alone := _with_one_image(train):
            note = f'--val-fraction: validation has no images of {listed(alone)}: one image is too few to hold one out.'
            log_on_primary(_logger, note, logging.WARNING)
        split = f'{counted(len(rest), "image")} to train on, {counted(len(chosen), "image")} held out for validation'
        log_on_primary(_logger, f'{train_split}: {split}')
        return rest, chosen
    if not val_split:
        return train, None
    instead = "--val-fraction 0.2 holds out part of the training images, --val-split '' trains without validation"
    try:
        held_out = open_dataset(name, root, val_split, is_training=False, **validation)
    except NoSplitError as e:
        others = [f'--val-split {s} validates on {s}' for s in e.splits if kind_of(s) == 'test'][:1]
        raise UsageError(f'{e}: {", ".join([*others, instead])}') from None
    if _same_images(train, held_out):
        raise UsageError(f'{root}: {train_split} and {val_split} are the same images: {instead}')
    return train, _with_same_classes(
        train, held_out, f'{name or root}: {val_split}', train_split,
        None if name else lambda known: open_dataset(
            name, root, val_split, is_training=False, quiet=True, **{**validation, 'class_map': known}
        ),
    )


def _with_same_classes(
        train: Dataset, held_out: Dataset, where: str, train_split: str,
        reopen: Callable[[dict[str, int]], Dataset] | None,
) -> Dataset:
    """The validation set with the class numbers of the training set, by name; `reopen` opens it with a class map."""
    ours, theirs = classes_of(train), classes_of(held_out)
    if not ours.names or not theirs.names:
        return held_out
    known = {name: number for number, names in ours.names.items() for name in names}
    strange = [n for number in theirs.with_images() for n in theirs.names[number] if n not in known]
    if strange:
        raise UsageError(
            f'{where} has classes that {train_split} lacks: {listed(strange)}: move them away, or list the classes to '
            'use in a --class-map file, one per line'
        )
    if dict(ours.names) != dict(theirs.names):  # timm numbers each split on its own
        if reopen is None:
            raise UsageError(
                f'{where} and {train_split} have different classes, so that their numbers differ: give both all '
                'classes, or use the images as a folder (leave out --dataset), where they are matched by name'
            )
        held_out = reopen(known)
        theirs = classes_of(held_out)
    lacking = [theirs.name(n) for n in theirs.names if n not in theirs.with_images()]
    if lacking:
        log_on_primary(_logger, f'{where} has no images of {listed(lacking)}.', logging.WARNING)
    return held_out


def _other_split(root: str | Path, train_split: str, val_split: str) -> bool:
    """Whether an image folder has a folder for the validation split."""
    if not Path(root).is_dir():
        return False
    try:
        return not find_split(root, val_split).samefile(find_split(root, train_split))
    except UsageError:  # none, or it is said when they are opened
        return False


def _with_one_image(dataset: Dataset) -> list[str]:
    """The classes that have one image: their names, or their numbers if they have none."""
    names = class_names(dataset)
    numbers = sorted(n for n, count in Counter(class_indices(dataset)).items() if count == 1)
    return [names[n] if n < len(names) else str(n) for n in numbers]


def _same_images(one: Dataset, other: Dataset) -> bool:
    """Whether two datasets are the same folder, or copies of it."""
    if isinstance(one, IterableDataset) or isinstance(other, IterableDataset):
        return False
    roots = [Path(d.dataset.reader.root) for d in (one, other) if isinstance(d, StrictImages) and d.is_folder]
    if len(roots) == 2 and roots[0].samefile(roots[1]):
        return True
    if len(cast(Sized, one)) != len(cast(Sized, other)) or class_indices(one) != class_indices(other):
        return False
    return fingerprint(one) == fingerprint(other)


@dataclass(frozen=True)
class ImagesUsed:
    """What a run records about its images.

    Attributes:
        fingerprint: of the training and validation images; '' on other ranks, and for streams.
        held_out: the validation images, if they were held out of the training images.
        notes: for the export: how they were chosen.
    """

    fingerprint: str = ''
    held_out: Dataset | None = None
    notes: dict[str, Any] = field(default_factory=dict)


@dataclass
class Loaders:
    """The training and validation loaders."""

    train: Any
    eval: Any | None
    mixup: Mixup | None  # to apply to the batches, unless the loader does so
    workers: WorkerStates
    mean_batch_size: float  # images per process
    images: ImagesUsed = field(default_factory=ImagesUsed)

    def set_epoch(self, epoch: int, mixup_off_epoch: int) -> None:
        """Call this before each epoch, counted from 0. Mixup stops at `mixup_off_epoch` (0: never)."""
        if hasattr(self.train.dataset, 'set_epoch'):
            self.train.dataset.set_epoch(epoch)
        if hasattr(self.train.batch_sampler, 'set_epoch'):
            self.train.batch_sampler.set_epoch(epoch)
        elif hasattr(self.train.batch_sampler.sampler, 'set_epoch'):
            self.train.batch_sampler.sampler.set_epoch(epoch)
        if mixup_off_epoch and epoch >= mixup_off_epoch:
            self.workers.stop_mixing()
            if self.mixup is not None:
                self.mixup.mixup_enabled = False


def create_loaders(
        train: Dataset,
        validation: Dataset | None,
        root: str | Path | None,
        training: Mapping[str, Any],
        evaluation: Mapping[str, Any],
        mixup: Mapping[str, Any] | None = None,
        aug_splits: int = 0,
        saved_workers: torch.Tensor | None = None,
) -> Loaders:
    """timm's loaders with timm's augmentation.

    Args:
        train: the training images.
        validation: the validation images.
        root: the data folder, for messages.
        training: arguments of timm's `create_loader` for the training images.
        evaluation: the same for the validation images.
        mixup: arguments of timm's `Mixup`, if batches are mixed.
        aug_splits: number of parts of a batch that are augmented separately; 0: none.
        saved_workers: random states of the DataLoader workers in the run that is resumed.

    Raises:
        UsageError: incompatible options, or fewer images than one batch.
    """
    prefetcher = training['use_prefetcher']
    in_loader = mixup is not None and prefetcher  # batches are mixed in the DataLoader workers
    if in_loader and aug_splits:
        raise UsageError('mixup and --aug-splits cannot be combined: add --no-prefetcher')
    collate_fn = FastCollateMixup(**mixup) if mixup is not None and in_loader else None
    mix = Mixup(**mixup) if mixup is not None and not in_loader else None
    images: Any = AugMixDataset(train, num_splits=aug_splits) if aug_splits else train
    try:
        loader: Any = create_loader(
            images, is_training=True, num_aug_splits=aug_splits, collate_fn=collate_fn, **training
        )
    except (AssertionError, TypeError, ValueError) as e:
        raise UsageError(f'incompatible data and augmentation options: {one_line(e)}') from None
    batch_size = training['batch_size']
    if len(loader) == 0:
        raise UsageError(
            f'{root}: {len(cast(Sized, train))} training images, less than a batch of {batch_size}: lower --batch-size'
        )
    eval_loader = None
    if validation is not None:
        held_out: Any = validation
        eval_loader = create_loader(held_out, is_training=False, **evaluation)
        shield_workers(eval_loader)
    scheduled = training.get('input_size_choices') is not None
    mean_batch_size = loader.batch_sampler.average_batch_size if scheduled else float(batch_size)
    return Loaders(loader, eval_loader, mix, track_workers(loader, saved_workers), mean_batch_size)


def data_config_of(options: Mapping[str, Any], model: nn.Module, use_test_size: bool = False) -> dict[str, Any]:
    """timm's `resolve_data_config`, with the number of channels that the model has.

    Args:
        options: command-line options with the names of timm's function: `img_size`, `mean`, `crop_pct`, ..
        model: its pretrained cfg provides the defaults.
        use_test_size: use the model's test size instead of its training size, if it has one.

    Returns:
        `input_size` (channels, height, width), `interpolation`, `mean`, `std` (one value per channel), `crop_pct`, ..

    Raises:
        UsageError: `mean` or `std` has neither one value nor one per channel.
    """
    channels: Any = model.in_chans
    try:
        options = {**options, 'in_chans': channels}
        config = resolve_data_config(options, model=model, use_test_size=use_test_size)
    except AssertionError:
        raise UsageError('--mean and --std: expected one value, or one per channel') from None
    config['input_size'] = (channels, *config['input_size'][1:])
    for key in ('mean', 'std'):
        if not isinstance(config[key], (tuple, list)):
            raise UsageError(f'--pretrained-cfg-overlay {key}={config[key]}: expected a list, such as {key}=[0.5]')
        if len(config[key]) != channels:  # like timm's loader
            config[key] = (sum(config[key]) / len(config[key]),) * channels
    return config
