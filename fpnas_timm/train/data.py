"""The data of a training run: splits, classes, and timm's loaders with timm's augmentation."""
import argparse
import logging
from dataclasses import dataclass
from typing import Any

import torch
from timm.data import AugMixDataset, FastCollateMixup, Mixup, create_loader, resolve_data_config
from torch import nn
from torch.utils.data import Dataset

from ..errors import UsageError
from ..runs.datasets import class_names, open_dataset
from ..runs.device import model_dtype
from .workers import WorkerStates, track_workers

__all__ = ['Loaders', 'check_classes', 'create_loaders', 'data_config_of', 'open_splits']

_logger = logging.getLogger(__name__)



def open_splits(args: argparse.Namespace, in_chans: int) -> tuple[Dataset, Dataset | None, list[str]]:
    """The training and validation data (None without `--val-split`) and the names of the classes, empty if unknown.

    Raises:
        UsageError: data that cannot be opened, or splits whose classes differ.
    """
    common = dict(
        class_map=args.class_map,
        download=args.dataset_download,
        batch_size=args.batch_size,
        input_img_mode=args.input_img_mode or ('RGB' if in_chans == 3 else 'L'),
        input_key=args.input_key,
        target_key=args.target_key,
        trust_remote_code=args.dataset_trust_remote_code,
    )
    train = open_dataset(
        args.dataset, args.data_dir, args.train_split, is_training=True, seed=args.seed, repeats=args.epoch_repeats,
        num_samples=args.train_num_samples, **common,
    )
    names = class_names(train)
    if not args.val_split:
        return train, None, names
    validation = open_dataset(
        args.dataset, args.data_dir, args.val_split, is_training=False, num_samples=args.val_num_samples, **common
    )
    others = class_names(validation)
    if names and others and names != others:
        odd = sorted(set(names) ^ set(others))
        raise UsageError(
            f'{args.data_dir}: {args.train_split} and {args.val_split} have other classes '
            f'({", ".join(map(repr, odd[:5])) or "in another order"}): each class needs a folder in both'
        )
    return train, validation, names


def check_classes(args: argparse.Namespace, names: list[str], asked_for: bool) -> None:
    """Raise UsageError if the classifier has not the data's number of classes.

    Args:
        args: with the model's `num_classes`.
        names: of the data's classes; nothing is checked without.
        asked_for: whether `--num-classes` was given: then more outputs than classes are the user's wish.
    """
    if not names or len(names) == args.num_classes:
        return
    if asked_for and args.num_classes > len(names):
        _logger.warning('The classifier has %d outputs, the data %d classes.', args.num_classes, len(names))
        return
    raise UsageError(
        f'{args.data_dir}: the data has {len(names)} classes, the model {args.num_classes}: '
        f'use --num-classes {len(names)}'
    )


@dataclass
class Loaders:
    """Batches to train on and to validate on, and what belongs to them."""

    train: Any
    eval: Any | None
    mixup: Mixup | None  # where batches are mixed here, not in the loader
    mixes: bool  # mixup or cutmix is on
    workers: WorkerStates
    mean_batch_size: float  # of a process

    def set_epoch(self, epoch: int, mixup_off_epoch: int) -> None:
        """To be called before each epoch, counted from 0."""
        if hasattr(self.train.dataset, 'set_epoch'):
            self.train.dataset.set_epoch(epoch)
        if hasattr(self.train.batch_sampler, 'set_epoch'):
            self.train.batch_sampler.set_epoch(epoch)
        elif hasattr(self.train.sampler, 'set_epoch'):
            self.train.sampler.set_epoch(epoch)
        if mixup_off_epoch and epoch >= mixup_off_epoch:
            self.workers.stop_mixing()
            if self.mixup is not None:
                self.mixup.mixup_enabled = False


def create_loaders(
        args: argparse.Namespace,
        data_config: dict[str, Any],
        train: Dataset,
        validation: Dataset | None,
        device: torch.device,
        saved_workers: torch.Tensor | None = None,
) -> Loaders:
    """timm's loaders with timm's augmentation.

    Args:
        args: the options.
        data_config: of timm's `resolve_data_config`.
        train: the training images.
        validation: those to validate on.
        device: where batches go.
        saved_workers: random states of the loader's workers in the run that is resumed.
    """
    common = dict(
        input_size=data_config['input_size'],
        mean=data_config['mean'],
        std=data_config['std'],
        num_workers=args.workers,
        pin_memory=args.pin_mem,
        img_dtype=model_dtype(args) or torch.float32,
        device=device,
        distributed=args.distributed,
        use_prefetcher=not args.no_prefetcher,
    )
    mixes = args.mixup > 0 or args.cutmix > 0 or args.cutmix_minmax is not None
    mixup, collate_fn = None, None
    if mixes:
        if not args.no_prefetcher and args.aug_splits:
            raise UsageError('mixup and --aug-splits do not go together: add --no-prefetcher')
        mix = (Mixup if args.no_prefetcher else FastCollateMixup)(
            mixup_alpha=args.mixup,
            cutmix_alpha=args.cutmix,
            cutmix_minmax=args.cutmix_minmax,
            prob=args.mixup_prob,
            switch_prob=args.mixup_switch_prob,
            mode=args.mixup_mode,
            label_smoothing=args.smoothing,
            num_classes=args.num_classes,
        )
        mixup, collate_fn = (mix, None) if args.no_prefetcher else (None, mix)
    if args.aug_splits:
        train = AugMixDataset(train, num_splits=args.aug_splits)
    interpolation = data_config['interpolation']
    try:
        loader = create_loader(
            train,
            batch_size=args.batch_size,
            is_training=True,
            no_aug=args.no_aug,
            re_prob=args.reprob,
            re_mode=args.remode,
            re_count=args.recount,
            re_split=args.resplit,
            train_crop_mode=args.train_crop_mode,
            scale=args.scale,
            ratio=args.ratio,
            hflip=args.hflip,
            vflip=args.vflip,
            color_jitter=args.color_jitter,
            color_jitter_prob=args.color_jitter_prob,
            grayscale_prob=args.grayscale_prob,
            gaussian_blur_prob=args.gaussian_blur_prob,
            auto_augment=args.aa,
            num_aug_repeats=args.aug_repeats,
            num_aug_splits=args.aug_splits,
            interpolation=interpolation if args.no_aug or not args.train_interpolation else args.train_interpolation,
            collate_fn=collate_fn,
            worker_seeding=args.worker_seeding,
            input_size_choices=args.train_img_sizes,
            batch_size_choices=args.train_batch_sizes,
            batch_choice_weights=args.train_size_probs,
            batch_choice_seed=args.seed,
            batch_choice_schedule=args.train_size_schedule,
            batch_schedule_epochs=args.epochs if args.train_size_schedule == 'progressive' else None,
            batch_schedule_spread=args.train_size_schedule_spread,
            batch_schedule_random_mix=args.train_size_random_mix,
            num_batches=args.train_batches_per_epoch,
            **common,
        )
    except (AssertionError, TypeError, ValueError) as e:
        raise UsageError(f'these options of data and augmentation do not go together: {e}') from None
    if len(loader) == 0:
        raise UsageError(
            f'{args.data_dir}: {len(train)} training images make no batch of {args.batch_size}: lower --batch-size'
        )
    evaluation = None
    if validation is not None:
        evaluation = create_loader(
            validation,
            batch_size=args.validation_batch_size or args.batch_size,
            is_training=False,
            interpolation=interpolation,
            crop_pct=data_config['crop_pct'],
            **common,
        )
    mean_batch_size = float(args.batch_size)
    if args.train_img_sizes is not None:
        mean_batch_size = loader.batch_sampler.average_batch_size
    workers = track_workers(loader, saved_workers)
    return Loaders(loader, evaluation, mixup, mixes, workers, mean_batch_size)


def data_config_of(args: argparse.Namespace, model: nn.Module) -> dict[str, Any]:
    """timm's `resolve_data_config`, with the model's own number of channels."""
    try:
        config = resolve_data_config(vars(args), model=model)
    except AssertionError:
        raise UsageError('--mean and --std: expected one value, or one a channel') from None
    channels = model.in_chans
    config['input_size'] = (channels, *config['input_size'][1:])
    for key in ('mean', 'std'):
        if len(config[key]) != channels:  # as timm's loader does
            config[key] = (sum(config[key]) / len(config[key]),) * channels
    return config
