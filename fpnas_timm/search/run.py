"""`search.py`: a search on images, from the options to the files it leaves."""
import contextlib
import fcntl
import json
import logging
import math
import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import yaml
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, create_transform
from timm.data.loader import PrefetchLoader, adapt_to_chs, fast_collate
from timm.loss import LabelSmoothingCrossEntropy
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.utils import is_primary, random_seed, setup_default_logging
from torch import nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from ..cost import cost
from ..data import class_indices, open_dataset
from ..device import low_precision, start_device
from ..errors import RunError, UsageError, exit_status
from ..export import export_model
from ..files import load_checkpoint, save_checkpoint, write_jsonl, write_text
from ..interrupt import StopRequest, stop_on_signal
from ..spaces import MBConvSpace, get_space
from ..tracking import Trackers
from ..train_data import class_names
from .data import Half, Halves, StepBatches, pick_classes, stratified_halves
from .decode import InfeasibleError, decode
from .distribution import Factorized
from .evaluator import SuperNetEvaluator
from .loop import Search, SearchConfig
from .options import ARGS_FILE, parse_search_args
from .pictures import draw_search
from .supernet import SuperNet

__all__ = ['main', 'run_search']

CHECKPOINT = 'last.pt'

_logger = logging.getLogger('search')


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status 0, 1 if the run failed, 2 for a wrong option, 128 + n if signal n stopped it."""
    return exit_status(lambda: run_search(parse_search_args(argv)))


def run_search(args: Namespace) -> int:
    """Search as the options say and write the result into `args.output`.

    Raises:
        UsageError: options, data or budget do not fit; nothing has been started.
        RunError: an image, a loss or the disk went wrong on the way; the last checkpoint is kept.
    """
    setup_default_logging()
    settings = {k: v for k, v in vars(args).items() if k not in ('resume', 'config')}
    device = start_device(args)
    random_seed(args.seed, 0)  # the same on every process: all start from the same weights
    folder = Path(args.output)
    space, config = open_space(args), search_config(args)
    dataset, halves, names = open_halves(args)
    cost_kwargs = {'num_classes': args.target_num_classes or len(halves.classes), 'in_chans': args.in_chans}
    check_target(space, config, cost_kwargs)
    evaluator = create_evaluator(args, space, dataset, halves, device)
    search = Search(space, evaluator, config, args.seed)
    primary = is_primary(args)
    with hold(folder, bool(args.resume), primary), stop_on_signal() as request:
        if args.resume and ((folder / CHECKPOINT).exists() or (folder / 'last.previous.pt').exists()):
            search.load_state_dict(load_checkpoint(folder / CHECKPOINT))
            _logger.info('going on at epoch %d, step %d', search.epoch, search.step)
        if primary and not args.resume:
            write_text(folder / ARGS_FILE, yaml.safe_dump(settings))
            write_text(folder / 'space.json', json.dumps(space.to_dict(), indent=1) + '\n')
            write_text(folder / 'halves.json', json.dumps({**vars(halves), 'class_names': names}) + '\n')
        report = Report(args, folder, evaluator.steps_per_epoch, primary)
        stop = SharedStop(request, device) if args.world_size > 1 else request
        with contextlib.closing(report):
            finished = search.run(stop, report.step, report.epoch)
        if not finished:
            if primary:
                save_checkpoint(folder / CHECKPOINT, search.state_dict())
            number = int(request.signal) if request.signal else 15
            _logger.warning(
                'stopped at epoch %d, step %d; go on with --resume %s', search.epoch, search.step, folder
            )
            return 128 + number
        if primary:
            finish(args, folder, search, names)
    if args.world_size > 1:
        dist.barrier()
        dist.destroy_process_group()
    return 0


# ---------------------------------------------------------------- what is searched


def open_space(args: Namespace) -> MBConvSpace:
    """The space at the size of the images; `UsageError` where it does not exist or is too deep for them."""
    try:
        space = get_space(args.space)
        if args.img_size is not None:
            space = space.with_img_size(args.img_size)
            space.to_arch(tuple((0,) * len(group) for group in space.groups))
    except (OSError, ValueError) as e:
        raise UsageError(f'--space {args.space}: {e}') from None
    return space


def search_config(args: Namespace) -> SearchConfig:
    """The loop's settings; `UsageError` where one is out of range."""
    return SearchConfig(
        epochs=args.epochs,
        warmup_epochs=args.warmup_epochs,
        joint_epoch=args.joint_epoch,
        lam=args.lam,
        num_samples=args.num_samples,
        weight_samples=args.weight_samples,
        beta=args.beta,
        target=args.target_macs,
        tolerance=args.tolerance,
        cost_form=args.cost_form,
        baseline=not args.no_baseline,
        temperature=args.temperature,
        alpha_lr=args.alpha_lr,
    )


def check_target(space: MBConvSpace, config: SearchConfig, cost_kwargs: dict[str, int]) -> None:
    """Raise UsageError if no architecture of the space has the multiply-adds asked for."""
    if config.target is None:
        return
    window = (math.ceil(config.target * (1 - config.tolerance)), math.floor(config.target))
    try:
        decode(space, Factorized(space).log_probs(), macs=window, **cost_kwargs)
    except InfeasibleError as e:
        raise UsageError(f'--target-macs {config.target:,.0f}: {e}') from None


def open_halves(args: Namespace) -> tuple[Dataset, Halves, list[str]]:
    """The data, its two halves, and the names of the classes that are searched on.

    Raises:
        UsageError: data that cannot be opened, too few classes or images, another number of classes than asked for.
    """
    dataset = open_dataset(
        args.dataset, args.data_dir, args.train_split, download=args.dataset_download, class_map=args.class_map,
        input_img_mode='RGB' if args.in_chans == 3 else 'L',
    )
    targets = class_indices(dataset)
    found = len(set(targets))
    if args.num_classes not in (None, found):
        raise UsageError(f'--num-classes {args.num_classes}: the data has {found} classes')
    classes = pick_classes(targets, args.search_classes, args.class_seed)
    halves = stratified_halves(targets, classes, args.seed)
    step = args.batch_size * args.grad_accum_steps * args.world_size
    if args.batch_size < 2:
        raise UsageError(f'--batch-size {args.batch_size}: expected at least 2, for the statistics of batch norm')
    if min(len(halves.train), len(halves.val)) < step:
        raise UsageError(
            f'halves of {len(halves.train)} and {len(halves.val)} images are smaller than the {step} of one step: '
            'use a smaller --batch-size'
        )
    names = class_names(dataset)
    return dataset, halves, [names[c] for c in classes] if names else []


def create_evaluator(
        args: Namespace, space: MBConvSpace, dataset: Dataset, halves: Halves, device: torch.device
) -> SuperNetEvaluator:
    """The supernet with its loaders, optimizer and schedule, from timm's parts."""
    net = SuperNet(space, len(halves.classes), args.in_chans).to(device)
    if args.channels_last:
        net = net.to(memory_format=torch.channels_last)
    loaders = [
        create_half_loader(args, space.img_size, dataset, indices, halves.classes, is_training, device)
        for indices, is_training in ((halves.train, True), (halves.val, False))
    ]
    optimizer = create_optimizer_v2(
        net, opt=args.opt, lr=args.lr, weight_decay=args.weight_decay, momentum=args.momentum
    )
    steps = min(getattr(loader, 'loader', loader).batch_sampler.steps for loader in loaders)
    scheduler, _ = create_scheduler_v2(
        optimizer, sched=args.sched, num_epochs=args.epochs, warmup_epochs=args.warmup_lr_epochs,
        warmup_lr=args.warmup_lr, min_lr=args.min_lr, warmup_prefix=True, step_on_epochs=False, updates_per_epoch=steps,
    )
    autocast, _ = low_precision(args, device)
    return SuperNetEvaluator(
        net,
        *loaders,
        optimizer,
        scheduler,
        LabelSmoothingCrossEntropy(args.smoothing) if args.smoothing else nn.CrossEntropyLoss(),
        autocast,
        torch.amp.GradScaler(device.type, enabled=args.amp and args.amp_dtype == 'float16'),
        args.clip_grad or None,
        args.grad_accum_steps,
        args.target_num_classes,
        args.world_size,
    )


def create_half_loader(
        args: Namespace,
        img_size: int,
        dataset: Dataset,
        indices: Sequence[int],
        classes: Sequence[int],
        is_training: bool,
        device: torch.device,
) -> DataLoader | PrefetchLoader:
    """Batches of one half, augmented for the weights and plain for alpha; on a GPU through timm's prefetcher."""
    prefetch = device.type == 'cuda'
    mean, std = (adapt_to_chs(x, args.in_chans) for x in (
        args.mean or IMAGENET_DEFAULT_MEAN, args.std or IMAGENET_DEFAULT_STD
    ))
    erasing = {'re_prob': args.reprob, 're_mode': args.remode} if is_training and not args.no_aug else {}
    common = {'mean': mean, 'std': std, 'crop_pct': args.crop_pct, 'use_prefetcher': prefetch}
    transform = create_transform(
        (args.in_chans, img_size, img_size),
        is_training=is_training,
        no_aug=args.no_aug,
        scale=args.scale,
        ratio=args.ratio,
        hflip=args.hflip,
        vflip=args.vflip,
        color_jitter=args.color_jitter if args.in_chans == 3 else 0.0,
        auto_augment=args.aa,
        interpolation=args.train_interpolation if is_training and not args.no_aug else args.interpolation,
        **common,
        **erasing,
    )
    half = Half(dataset, indices, classes, transform, 'RGB' if args.in_chans == 3 else 'L', args.seed)
    batches = StepBatches(
        len(half), args.batch_size, args.seed, args.grad_accum_steps, args.rank, args.world_size
    )
    loader = DataLoader(
        half,
        batch_sampler=batches,
        num_workers=args.workers,
        pin_memory=args.pin_mem,
        collate_fn=fast_collate if prefetch else None,
        generator=torch.Generator(),  # seeds the workers, which draw nothing: keeps torch's own generator out of it
    )
    return PrefetchLoader(loader, mean, std, args.in_chans, device, **erasing) if prefetch else loader


# ---------------------------------------------------------------- the folder and what is written into it


@contextlib.contextmanager
def hold(folder: Path, resume: bool, primary: bool) -> Iterator[None]:
    """Hold the output folder, made if it is not there, while the search runs.

    Raises:
        UsageError: it holds another search, or another process is using it.
    """
    if not primary:
        yield
        return
    if not resume and (folder / ARGS_FILE).exists():
        raise UsageError(f'--output {folder}: holds a search: --resume {folder} goes on with it, or name another one')
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / '.lock').open('w')
    except OSError as e:
        raise UsageError(f'--output {folder}: cannot be written ({e.strerror})') from None
    with lock:
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # not handed on to the loader's workers, as flock is
        except (BlockingIOError, PermissionError):
            raise UsageError(f'--output {folder}: another process is searching there: wait, or stop it') from None
        yield


class SharedStop:
    """A request to stop that reached any process stops all of them after the same step."""

    def __init__(self, request: StopRequest, device: torch.device) -> None:
        self.request = request
        self.device = device

    def __bool__(self) -> bool:
        flag = torch.tensor([int(bool(self.request))], device=self.device)
        dist.all_reduce(flag, dist.ReduceOp.MAX)
        return bool(flag.item())


class Report:
    """What a user sees and keeps while the search goes on."""

    def __init__(self, args: Namespace, folder: Path, steps_per_epoch: int, primary: bool) -> None:
        self.folder = folder
        self.primary = primary
        self.interval = args.log_interval
        self.steps = steps_per_epoch
        self.trackers = Trackers(args, folder) if primary else None
        self.shows_bar = primary and sys.stderr.isatty()
        self.bar: tqdm | None = None

    def step(self, search: Search, figures: dict[str, float]) -> None:
        """After every step: the progress bar, or now and then a line."""
        text = {
            'loss': f'{figures["train_loss"]:.3f}',
            'K': str(int(figures['k'])),
            'H': f'{figures["entropy"]:.1f}',
            'MACs': f'{figures["cost"] / 1e6:.2f}M',
        }
        if self.shows_bar:
            if self.bar is None:
                name = f'epoch {search.epoch + 1}/{search.config.epochs}'
                self.bar = tqdm(total=self.steps, initial=search.step - 1, desc=name, leave=False)
            self.bar.set_postfix(text)
            self.bar.update()
        elif self.primary and search.step % self.interval == 0:
            _logger.info(
                'epoch %d step %d/%d  %s', search.epoch + 1, search.step, self.steps,
                '  '.join(f'{k} {v}' for k, v in text.items()),
            )

    def epoch(self, search: Search) -> None:
        """After every epoch: a line, the checkpoint, and then what can be made again from it."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None
        if not self.primary:
            return
        row = search.history[-1]
        save_checkpoint(self.folder / CHECKPOINT, search.state_dict())
        write_jsonl(self.folder / 'history.jsonl', search.history)
        search.distribution.save(self.folder / 'distribution.safetensors')
        self.trackers.log(row)
        _logger.info(
            'epoch %d/%d (%s)  loss %.3f  K %.1f  entropy %.2f nats  %.2fM multiply-adds expected  %.0f s',
            row['epoch'] + 1, search.config.epochs, row['phase'], row['train_loss'], row['k'], row['entropy'],
            row['cost'] / 1e6, row['seconds'],
        )

    def close(self) -> None:
        """Write what is left."""
        if self.bar is not None:
            self.bar.close()
        if self.trackers is not None:
            self.trackers.close()


def finish(args: Namespace, folder: Path, search: Search, names: list[str]) -> None:
    """Write the result: `arch.txt`, the extracted model and the pictures. The string is the last line printed.

    Raises:
        RunError: the learned distribution excludes every architecture within the budget, or the disk is full.
    """
    evaluator: Any = search.evaluator
    try:
        choices = search.result()
    except InfeasibleError as e:
        raise RunError(str(e)) from None
    arch = search.space.to_arch(choices)
    mode = search.distribution.most_probable()
    write_jsonl(folder / 'history.jsonl', search.history)
    search.distribution.save(folder / 'distribution.safetensors')
    model = evaluator.net.extract(arch, evaluator.calibration_batches(args.calibration_batches))
    spent = cost(arch, **evaluator.cost_kwargs)
    figures = {
        'macs': spent.macs,
        'params': spent.params,
        'target_macs': args.target_macs,
        'log_prob': float(search.distribution.log_prob([choices]).detach()),
        'entropy': float(search.distribution.entropy().detach()),
        'most_probable': search.describe(mode),
        'most_probable_macs': evaluator.cost(mode),
        'samples': search.num_samples,
        'seconds': sum(row['seconds'] for row in search.history),
    }
    data_config = {
        'input_size': (args.in_chans, search.space.img_size, search.space.img_size),
        'interpolation': args.interpolation,
        'mean': adapt_to_chs(args.mean or IMAGENET_DEFAULT_MEAN, args.in_chans),
        'std': adapt_to_chs(args.std or IMAGENET_DEFAULT_STD, args.in_chans),
        'crop_pct': args.crop_pct,
    }
    note = {'weights': 'inherited from the supernet, not trained on their own', 'space': search.space.name, **figures}
    export_model(model.cpu(), folder / 'extract', data_config, names, {'search': note})
    write_text(folder / 'result.json', json.dumps({'arch': str(arch), **figures}, indent=1) + '\n')
    write_text(folder / 'arch.txt', f'{arch}\n')
    try:
        draw_search(search.history, arch, folder, search.space.groups, args.target_macs)
    except ImportError:
        _logger.info("no pictures: pip install 'fpnas-timm[draw]'")
    _logger.info(
        '%s multiply-adds, %s parameters; %s architectures sampled for alpha in %.0f s; model: local-dir:%s',
        f'{spent.macs:,}', f'{spent.params:,}', f'{search.num_samples:,}', figures['seconds'], folder / 'extract',
    )
    print(arch, flush=True)


if __name__ == '__main__':
    sys.exit(main())
