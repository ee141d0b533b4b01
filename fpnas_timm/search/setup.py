"""Builds the parts of a search from its options: space, data, supernet, settings.

Only this module and `images` read the options (`args`); all others take plain arguments.
"""
import math
import random
from argparse import Namespace
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from timm.loss import LabelSmoothingCrossEntropy
from timm.scheduler import create_scheduler_v2
from timm.utils import random_seed
from torch import nn
from torch.utils.data import Dataset

from ..device.latency_table import LatencyTable
from ..errors import UsageError, one_line
from ..model.supernet import SuperNet
from ..runs.device import low_precision, start_device
from ..runs.imbalance import WeightedCrossEntropy
from ..runs.timm_checks import check_optimizer, check_policy, make_optimizer
from ..runs.tracking import Trackers
from ..spaces import MBConvSpace, get_space
from ..transfer.fitted import FittedSuperNet
from .alpha_settings import with_alpha_settings
from .evaluator import SuperNetEvaluator
from .final_stage import check_finalists
from .finalist_training import OpenOptimizer
from .fitted_evaluator import MAX_IMAGES, FittedEvaluator
from .folder import check_new, fingerprint_of, read_record
from .halves import HalfLoader, Halves
from .image_evaluator import ImageEvaluator
from .images import create_half_loader, data_config_of, half_class_weights, open_halves, work_split
from .joined import JoinedImages
from .latency import digest, open_latency
from .loop import SearchConfig
from .names import AROUND, SPACE_FILE
from .saved import saved_space
from .start import open_start, space_of, start, start_record
from .strategies import AnySearch, candidate_config, create_search
from .strategy_options import FITTED, FP_NAS
from .targets import check_target, other_targets, small_contexts
from .weight_training import BESIDE_LARGEST

__all__ = ['Setup', 'set_up']


@dataclass(frozen=True)
class Setup:
    """A search that is ready to start, and its output settings.

    Attributes:
        space: the search space.
        evaluator: the evaluator, with the supernet.
        search: the search, in its initial state.
        folder: output folder.
        resume: whether to continue the search in that folder.
        anew: if not `resume`, whether to replace a search there that has no checkpoint yet (`--resume auto`).
        settings: the options, as saved in `args.yaml`.
        record: number of processes, search space, data and halves; must be the same on resume.
        latency: the latency table, if there is one.
        class_names: names of the classes searched on; empty if unknown.
        data_config: timm's data config of the extracted model (input size, mean, ..).
        calibration_batches: number of batches for the batch-norm statistics of the extracted model.
        finalists: number of finalists; None: the default, or as many as there are.
        refine: number of networks that are scored before, see `refine`; 0: none.
        finalist_epochs: epochs of training in each round of the finalists; 0: no training.
        open_optimizer: makes the optimizer of a finalist.
        log_interval: steps between log lines.
        open_trackers: opens TensorBoard and Weights & Biases; call it on rank 0.
        device: device of this process.
        rank: rank of this process.
        world_size: number of processes.
    """

    space: MBConvSpace
    evaluator: ImageEvaluator
    search: AnySearch
    folder: Path
    resume: bool
    anew: bool
    settings: dict[str, Any]
    record: dict[str, Any]
    latency: LatencyTable | None
    class_names: list[str]
    data_config: dict[str, Any]
    calibration_batches: int
    finalists: int | None
    refine: int
    finalist_epochs: int
    open_optimizer: OpenOptimizer
    log_interval: int
    open_trackers: Callable[[], Trackers]
    device: torch.device
    rank: int
    world_size: int


def set_up(args: Namespace, space: MBConvSpace | None = None, dataset: Dataset | None = None) -> Setup:
    """Build everything that a search needs from its options. Writes no files.

    Args:
        args: from `parse_search_args`.
        space: used instead of `args.space`, which names the file from which a resumed search reads the space.
        dataset: items (PIL image, class), used instead of the dataset that the options name.

    Raises:
        UsageError: invalid options, data or budget.
    """
    source = open_start(args)
    settings = {k: v for k, v in vars(args).items() if k not in ('resume', 'config', 'anew')}
    check_optimizer(args.opt)
    check_policy(args.aa)
    process = start_device(args.device, needs_float64=True)
    device = process.device
    settings['device'] = device.type if args.device == 'auto' else args.device  # a resumed search goes on there
    vars(args).update(rank=process.rank, world_size=process.world_size)
    args.pin_mem = args.pin_mem or device.type == 'cuda'  # else copies to the GPU wait for its queued work
    if process.world_size == 1 and not args.resume:  # several processes: when the first one locks it
        check_new(Path(args.output), args.anew)
    torch.backends.cudnn.benchmark = False  # shapes change with every architecture: it would tune all the time
    random_seed(args.seed, 0)  # the same on every process: all start from the same weights
    if space is None and source is not None and args.space == AROUND:
        space = space_of(source, args.supernet)
    space = open_space(args, space)
    config = search_config(args) if args.strategy == FP_NAS else candidate_config(args)
    dataset, halves, names = open_halves(args, dataset)
    weights = half_class_weights(args, dataset, halves)
    classes = args.target_num_classes or len(halves.classes)
    others = [] if (latency := open_latency(args, space, classes)) is None else [latency.cost()]
    check_target(space, config, classes, args.in_chans, others)
    evaluator: ImageEvaluator
    if args.supernet == FITTED:
        evaluator = own = create_fitted(args, space, dataset, halves, device, weights)
        if source is not None:
            near = small_contexts(args.seed, space, config, classes, args.in_chans, others)
            own.fit(source, args.seed, args.rank == 0, near)
    else:
        evaluator = trained = create_evaluator(args, space, dataset, halves, device, weights)
        if source is not None:
            start(trained.net, source, names)
    evaluator.others = others
    if isinstance(config, SearchConfig):
        config = with_alpha_settings(
            config, args.temperature, args.alpha_lr, evaluator.steps_per_epoch,
            evaluator.val_loader.batches.images_per_step,
        )
    search = create_search(args, space, evaluator, config)
    if not args.resume:
        check_finalists(search, args.finalists)
    images = fingerprint_of(dataset, read_record(Path(args.output)).get('images') if args.resume else None)
    return Setup(
        space=space,
        evaluator=evaluator,
        search=search,
        folder=Path(args.output),
        resume=bool(args.resume),
        anew=args.anew,
        settings=settings,
        record={
            'processes': args.world_size, 'space': space.to_dict(), 'images': images, 'class_names': names,
            **vars(halves), 'alpha_from': dataset.count if isinstance(dataset, JoinedImages) else None,
            'class_weights': weights, 'init_from': start_record(source, args.resume),
            **({} if latency is None else {'latency': digest(latency)}),
        },
        latency=latency,
        class_names=names,
        data_config=data_config_of(args, space),
        calibration_batches=args.calibration_batches,
        finalists=args.finalists,
        refine=args.refine, finalist_epochs=args.finalist_epochs,
        open_optimizer=lambda *given: open_optimizer(args, *given),
        log_interval=args.log_interval,
        open_trackers=lambda: open_trackers(args, settings),
        device=device,
        rank=args.rank,
        world_size=args.world_size,
    )


def open_trackers(args: Namespace, settings: Mapping[str, Any]) -> Trackers:
    """TensorBoard and Weights & Biases, if enabled by the options."""
    wandb = dict(
        project=args.wandb_project, tags=args.wandb_tags, resume_id=args.wandb_resume_id, config=settings
    )
    return Trackers(Path(args.output), args.log_tensorboard, wandb if args.log_wandb else None)


def open_space(args: Namespace, space: MBConvSpace | None = None) -> MBConvSpace:
    """The space at the input size of the search; `UsageError` if it does not exist or the images are too small."""
    try:
        space = _named_space(args) if space is None else space
        size = args.input_size[1:] if args.input_size else args.img_size
        if size is not None:
            space = space.with_img_size(size)
            space.to_arch(tuple((0,) * len(group) for group in space.groups))
    except (OSError, ValueError) as e:
        raise e if isinstance(e, UsageError) else UsageError(f'--space {args.space}: {e}') from None
    return space


def _named_space(args: Namespace) -> MBConvSpace:
    """The space that the options name; that of a resumed search is in its folder, whatever became of its file."""
    own = Path(args.resume) / SPACE_FILE if args.resume else None
    return saved_space(own) if own is not None and own.exists() else get_space(args.space)


def search_config(args: Namespace) -> SearchConfig:
    """The settings of the loop but those that `with_alpha_settings` adds; `UsageError` if one is out of range."""
    return SearchConfig(
        epochs=args.epochs,
        warmup_epochs=args.warmup_epochs,
        joint_epoch=args.joint_epoch,
        lam=args.lam,
        num_samples=args.num_samples,
        weight_samples=args.weight_samples or (None if args.weight_archs == 'sampled' else BESIDE_LARGEST),
        beta=args.beta,
        target=args.target_macs,
        targets=other_targets(args),
        tolerance=args.tolerance,
        cost_form=args.cost_form,
        baseline=not args.no_baseline,
    )


def weight_window(args: Namespace) -> tuple[int, int] | None:
    """Smallest and largest multiply-adds that the weights are trained at; None for any."""
    if args.weight_draws != 'budget':
        return None
    share = args.weight_window
    return math.ceil(args.target_macs * (1 - share)), math.floor(args.target_macs * (1 + share))


def create_loaders(
        args: Namespace, space: MBConvSpace, dataset: Dataset, halves: Halves
) -> tuple[HalfLoader, HalfLoader]:
    """The loaders of the half that trains the weights and of the half that trains alpha."""
    train_loader = create_half_loader(args, space.img_size, dataset, halves.train, halves.classes, is_training=True)
    val_loader = create_half_loader(  # of halves of one split, one has a step more or less; of two splits, all differs
        args, space.img_size, dataset, halves.val, halves.classes, is_training=False,
        steps=train_loader.steps if isinstance(dataset, JoinedImages) else None,
    )
    return train_loader, val_loader


def create_fitted(
        args: Namespace, space: MBConvSpace, dataset: Dataset, halves: Halves, device: torch.device,
        weights: list[list[float]] | None,
) -> FittedEvaluator:
    """The evaluator of `--supernet fitted`, still to be fitted or restored; arguments as for `create_evaluator`."""
    train_loader, val_loader = create_loaders(args, space, dataset, halves)
    net = FittedSuperNet(space, len(halves.classes), args.in_chans).to(device)
    if args.channels_last:
        net = net.to(memory_format=torch.channels_last)
    chosen = random.Random(args.seed).sample(halves.train, min(len(halves.train), MAX_IMAGES))
    fit_loader = create_half_loader(args, space.img_size, dataset, chosen, halves.classes, is_training=False)
    return FittedEvaluator(
        net, train_loader, val_loader, fit_loader, low_precision(args.amp, args.amp_dtype, device)[0],
        args.grad_accum_steps, args.target_num_classes, work_split(args),
        torch.channels_last if args.channels_last else torch.contiguous_format,
        weights[1] if weights is not None else None,
    )


def create_evaluator(
        args: Namespace,
        space: MBConvSpace,
        dataset: Dataset,
        halves: Halves,
        device: torch.device,
        weights: list[list[float]] | None = None,
) -> SuperNetEvaluator:
    """The evaluator: supernet, loaders, and timm's optimizer and learning-rate schedule.

    `weights` of the classes: those of the half that trains the weights, and those of the half that trains alpha.
    """
    net = SuperNet(space, len(halves.classes), args.in_chans).to(device)
    if args.channels_last:
        net = net.to(memory_format=torch.channels_last)
    train_loader, val_loader = create_loaders(args, space, dataset, halves)
    optimizer, scheduler = open_optimizer(
        args, net, args.epochs, min(train_loader.steps, val_loader.steps), args.warmup_lr_epochs
    )
    autocast, _ = low_precision(args.amp, args.amp_dtype, device)
    loss_fn: nn.Module = LabelSmoothingCrossEntropy(args.smoothing) if args.smoothing else nn.CrossEntropyLoss()
    if weights is not None:
        loss_fn = WeightedCrossEntropy(weights[0], args.smoothing).to(device)
    return SuperNetEvaluator(
        net=net,
        train_loader=train_loader,
        val_loader=val_loader,
        optimizer=optimizer,
        scheduler=scheduler,
        loss_fn=loss_fn,
        autocast=autocast,
        scaler=torch.amp.GradScaler(device.type, enabled=args.amp and args.amp_dtype == 'float16'),
        clip_grad=args.clip_grad or None,
        accum_steps=args.grad_accum_steps,
        cost_classes=args.target_num_classes,
        split=work_split(args),
        memory_format=torch.channels_last if args.channels_last else torch.contiguous_format,
        val_class_weights=weights[1] if weights is not None else None,
        weight_archs=args.weight_archs,
        weight_draws=args.weight_draws,
        weight_window=weight_window(args),
        distill=args.distill,
        weight_ema=args.weight_ema,
        seed=args.seed,
    )


def open_optimizer(
        args: Namespace, module: nn.Module, epochs: int, steps_per_epoch: int, warmup_epochs: int = 0
) -> tuple[torch.optim.Optimizer, Any]:
    """timm's optimizer and learning-rate schedule that the options name, over so many epochs."""
    optimizer = make_optimizer(module, args.opt, lr=args.lr, weight_decay=args.weight_decay, momentum=args.momentum)
    try:
        scheduler, _ = create_scheduler_v2(
            optimizer, sched=args.sched, num_epochs=epochs, warmup_epochs=warmup_epochs, warmup_lr=args.warmup_lr,
            min_lr=args.min_lr, step_on_epochs=False, updates_per_epoch=steps_per_epoch,
        )
    except (AssertionError, TypeError, ValueError) as e:
        raise UsageError(f'--sched {args.sched}: cannot be used in a search: {one_line(e)}') from None
    return optimizer, scheduler
