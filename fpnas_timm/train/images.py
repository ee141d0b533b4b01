"""The images of a run, from its options: datasets, classes and loaders."""
import argparse
from typing import Any

import torch

from ..runs.device import Precision, Process
from .arguments import loader_arguments, mixup_arguments
from .data import Loaders, check_classes, create_loaders, open_splits

__all__ = ['open_data']


def open_data(
        args: argparse.Namespace,
        process: Process,
        precision: Precision,
        data_config: dict[str, Any],
        classes_asked_for: bool,
        saved_workers: torch.Tensor | None,
) -> tuple[Loaders, list[str]]:
    """The loaders and the class names."""
    common = dict(
        class_map=args.class_map,
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
    return loaders, classes
