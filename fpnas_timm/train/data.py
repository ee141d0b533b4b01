"""The data of a training run: splits, classes, and timm's loaders with timm's augmentation."""
import logging
from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from timm.data import AugMixDataset, FastCollateMixup, Mixup, create_loader, resolve_data_config
from torch import nn
from torch.utils.data import Dataset

from ..errors import UsageError
from ..runs.datasets import class_names, open_dataset
from .workers import WorkerStates, track_workers

__all__ = ['Loaders', 'check_classes', 'create_loaders', 'data_config_of', 'open_splits']

_logger = logging.getLogger(__name__)


def open_splits(
        name: str,
        root: str | Path | None,
        train_split: str,
        val_split: str,
        training: Mapping[str, Any],
        validation: Mapping[str, Any],
) -> tuple[Dataset, Dataset | None, list[str]]:
    """Open the training and the validation data.

    Args:
        name: as `--dataset`: '' for an image folder.
        root: the data folder.
        train_split: name of the training split.
        val_split: name of the validation split; '' for none.
        training: further arguments of timm's `create_dataset` for the training split.
        validation: the same for the validation split.

    Returns:
        Training set, validation set (None without a validation split), and class names, empty if unknown.

    Raises:
        UsageError: the data cannot be opened, or the splits have different classes.
    """
    train = open_dataset(name, root, train_split, is_training=True, **training)
    names = class_names(train)
    if not val_split:
        return train, None, names
    held_out = open_dataset(name, root, val_split, is_training=False, **validation)
    others = class_names(held_out)
    if names and others and names != others:
        odd = sorted(set(names) ^ set(others))
        raise UsageError(
            f'{root}: {train_split} and {val_split} have different classes '
            f'({", ".join(map(repr, odd[:5])) or "in another order"}): each class needs a folder in both'
        )
    return train, held_out, names


def check_classes(num_outputs: int, names: Sequence[str], asked_for: bool, root: str | Path | None) -> None:
    """Raise UsageError if the number of classifier outputs does not match the number of classes in the data.

    Args:
        num_outputs: number of classifier outputs.
        names: class names of the data; no check if empty (unknown).
        asked_for: `--num-classes` was given, so having more outputs than classes is intended.
        root: the data folder, for the message.
    """
    if not names or len(names) == num_outputs:
        return
    if asked_for and num_outputs > len(names):
        _logger.warning('The classifier has %d outputs, the data %d classes.', num_outputs, len(names))
        return
    raise UsageError(
        f'{root}: the data has {len(names)} classes, the model {num_outputs}: use --num-classes {len(names)}'
    )


@dataclass
class Loaders:
    """The training and validation loaders."""

    train: Any
    eval: Any | None
    mixup: Mixup | None  # to apply to the batches, unless the loader does so
    workers: WorkerStates
    mean_batch_size: float  # images per process

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
        raise UsageError(f'incompatible data and augmentation options: {e}') from None
    batch_size = training['batch_size']
    if len(loader) == 0:
        raise UsageError(
            f'{root}: {len(cast(Sized, train))} training images, less than a batch of {batch_size}: lower --batch-size'
        )
    eval_loader = None
    if validation is not None:
        held_out: Any = validation
        eval_loader = create_loader(held_out, is_training=False, **evaluation)
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
    try:
        config = resolve_data_config(dict(options), model=model, use_test_size=use_test_size)
    except AssertionError:
        raise UsageError('--mean and --std: expected one value, or one per channel') from None
    channels: Any = model.in_chans
    config['input_size'] = (channels, *config['input_size'][1:])
    for key in ('mean', 'std'):
        if len(config[key]) != channels:  # like timm's loader
            config[key] = (sum(config[key]) / len(config[key]),) * channels
    return config
