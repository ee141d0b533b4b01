"""Converts the options of `fpnas train` to plain arguments of the functions that use them; used by `setup.py`."""
import argparse
from collections.abc import Mapping
from typing import Any

import torch
from timm.optim import optimizer_kwargs

from ..runs.device import Precision, Process
from ..weights.recorded import Recorded
from .channels import channels_asked_for
from .epoch import EpochSettings
from .network import NetworkConfig
from .option_checks import loss_of
from .task import Distillation

__all__ = [
    'distillation_of', 'epoch_settings', 'loader_arguments', 'loss_arguments', 'mixup_arguments', 'network_config',
    'optimizer_arguments', 'take_network_args',
]


def network_config(args: argparse.Namespace, recorded: Recorded) -> NetworkConfig:
    """The argument of `create_network`; `recorded`: what the model's folder says of its channels."""
    asked = channels_asked_for(args.in_chans, args.input_size, args.input_img_mode)
    of_file = recorded if args.initial_checkpoint else Recorded()
    return NetworkConfig(
        model=args.model,
        model_kwargs={**of_file.model_args, **args.model_kwargs},
        num_classes=args.num_classes,
        in_chans=asked or recorded.in_chans,
        global_pool=args.gp,
        drop_rate=args.drop,
        drop_path_rate=args.drop_path,
        drop_block_rate=args.drop_block,
        bn_momentum=args.bn_momentum,
        bn_eps=args.bn_eps,
        pretrained=args.pretrained,
        pretrained_path=args.pretrained_path,
        pretrained_cfg_overlay={**of_file.images, **args.pretrained_cfg_overlay},
        initial_checkpoint=args.initial_checkpoint,
        head_init_scale=args.head_init_scale,
        head_init_bias=args.head_init_bias,
        grad_checkpointing=args.grad_checkpointing,
    )


def loader_arguments(
        args: argparse.Namespace, process: Process, precision: Precision, data_config: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The arguments of timm's `create_loader` for the training images, and those for the validation images."""
    interpolation = data_config['interpolation']
    common = dict(
        input_size=data_config['input_size'],
        mean=data_config['mean'],
        std=data_config['std'],
        num_workers=args.workers,
        pin_memory=args.pin_mem or process.device.type == 'cuda',  # else copies wait for the GPU's queued work
        img_dtype=precision.dtype or torch.float32,
        device=process.device,
        distributed=process.distributed,
        use_prefetcher=not args.no_prefetcher,
    )
    training = dict(
        batch_size=args.batch_size,
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
        interpolation=interpolation if args.no_aug or not args.train_interpolation else args.train_interpolation,
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
    )
    evaluation = dict(
        batch_size=args.validation_batch_size or args.batch_size,
        interpolation=interpolation,
        crop_pct=data_config['crop_pct'],
        crop_mode=data_config['crop_mode'],
    )
    return common | training, common | evaluation


def _mixes(args: argparse.Namespace) -> bool:
    return args.mixup > 0 or args.cutmix > 0 or args.cutmix_minmax is not None


def mixup_arguments(args: argparse.Namespace) -> dict[str, Any] | None:
    """The arguments of timm's `Mixup`; None if batches are not mixed."""
    if not _mixes(args):
        return None
    return dict(
        mixup_alpha=args.mixup,
        cutmix_alpha=args.cutmix,
        cutmix_minmax=args.cutmix_minmax,
        prob=args.mixup_prob,
        switch_prob=args.mixup_switch_prob,
        mode=args.mixup_mode,
        label_smoothing=args.smoothing,
        num_classes=args.num_classes,
    )


def take_network_args(args: argparse.Namespace, saved: Mapping[str, Any]) -> None:
    """Give a resumed network the arguments that it had without an option, as from a manifest with `--pretrained`.

    Args:
        args: the options; `model_kwargs` is completed.
        saved: the checkpoint; empty without one.
    """
    for name, value in (saved.get('model_args') or {}).items():
        if getattr(args, {'global_pool': 'gp'}.get(name, name), None) is None and name not in args.model_kwargs:
            args.model_kwargs = {**args.model_kwargs, name: value}


def loss_arguments(args: argparse.Namespace) -> dict[str, Any]:
    """The arguments of `create_criterion`."""
    loss = loss_of(args)
    bce = dict(pos_weight=args.bce_pos_weight, bce_target_thresh=args.bce_target_thresh, bce_sum=args.bce_sum)
    return dict(
        loss=loss,
        smoothing=args.smoothing,
        soft_targets=_mixes(args),
        jsd_splits=args.aug_splits if loss == 'jsd' else 0,
        **(bce if loss == 'bce' else {}),
    )


def optimizer_arguments(args: argparse.Namespace) -> dict[str, Any]:
    """The arguments of `make_optimizer`; those of `--opt-kwargs` override the others."""
    arguments: dict[str, Any] = {**optimizer_kwargs(cfg=args), **args.opt_kwargs}
    return {'name': arguments.pop('opt'), **arguments}


def distillation_of(args: argparse.Namespace) -> Distillation | None:
    """The `distillation` argument of `create_task`; None without a teacher."""
    if args.kd_model_name is None:
        return None
    return Distillation(
        teacher=args.kd_model_name,
        matches=args.kd_distill_type,
        loss_type=args.kd_loss_type,
        temperature=args.kd_temperature,
        distill_loss_weight=args.distill_loss_weight,
        task_loss_weight=args.task_loss_weight,
        student_feature_dim=args.kd_student_feature_dim,
        teacher_feature_dim=args.kd_teacher_feature_dim,
    )


def epoch_settings(args: argparse.Namespace) -> EpochSettings:
    """The settings of `train_epoch`."""
    return EpochSettings(
        accumulate=args.grad_accum_steps,
        clip_grad=args.clip_grad,
        clip_mode=args.clip_mode,
        loss_scale=args.variable_batch_loss_scale if args.train_img_sizes is not None else 'none',
        mixup_off_epoch=args.mixup_off_epoch,
        prefetcher=not args.no_prefetcher,
        synchronize=args.synchronize_step,
        log_interval=args.log_interval,
        recovery_interval=args.recovery_interval,
        save_images=args.save_images,
    )
