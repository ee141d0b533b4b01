"""The images of a run, from its options: datasets, classes and loaders."""
import argparse
import logging
from typing import Any

import torch
from torch.utils.data import IterableDataset

from ..errors import UsageError
from ..runs.datasets import class_indices
from ..runs.device import Precision, Process
from ..runs.imbalance import class_weights, count_classes
from .arguments import loader_arguments, mixup_arguments
from .data import Loaders, check_classes, create_loaders, open_splits
from .sampling import use_balanced_sampling

__all__ = ['open_data']

_logger = logging.getLogger('train')


def open_data(
        args: argparse.Namespace,
        process: Process,
        precision: Precision,
        data_config: dict[str, Any],
        classes_asked_for: bool,
        saved_workers: torch.Tensor | None,
) -> tuple[Loaders, list[str], list[float] | None]:
    """The loaders, the class names, and the weights of the classes, if the options ask for some."""
    common = dict(
        class_map=args.class_map,
        extensions=args.img_extensions,
        download=args.dataset_download,
        batch_size=args.batch_size,
        input_img_mode=args.input_img_mode or ('RGB' if data_config['input_size'][0] == 3 else 'L'),
        input_key=args.input_key,
        target_key=args.target_key,
        trust_remote_code=args.dataset_trust_remote_code,
    )
    train, validation, classes = open_splits(
        args.dataset, args.data_dir, args.train_split, args.val_split,
        dict(seed=args.seed, repeats=args.epoch_repeats, num_samples=args.train_num_samples, **common),
        dict(num_samples=args.val_num_samples, **common),
    )
    check_classes(args.num_classes, classes, classes_asked_for, args.data_dir)
    training, evaluation = loader_arguments(args, process, precision, data_config)
    loaders = create_loaders(
        train, validation, args.data_dir, training, evaluation, mixup_arguments(args), args.aug_splits, saved_workers
    )
    if not (args.class_weights or args.balanced_sampling):
        return loaders, classes, None
    if isinstance(train, IterableDataset):
        option = '--class-weights' if args.class_weights else '--balanced-sampling'
        raise UsageError(f'{option}: not for a streaming dataset, whose classes are not known before it is read')
    targets = class_indices(train)
    if args.balanced_sampling:
        use_balanced_sampling(loaders.train, targets, args.seed, process.rank, process.world_size)
        return loaders, classes, None
    weights = class_weights(args.class_weights, count_classes(targets, args.num_classes), classes)
    if process.primary:
        _logger.info('class weights: %s', ', '.join(f'{name} {w:.4g}' for name, w in zip(classes, weights)))
    return loaders, classes, weights
