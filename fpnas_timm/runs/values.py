"""What an option's value may be: a whole number, a number or text, its range, and the names that are known.

The same checks apply on the command line, in YAML files and in Python.
"""
import argparse
import ast
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..errors import did_you_mean

__all__ = ['NAMES', 'RANGES', 'Range', 'Value', 'key_values']


class Range(NamedTuple):
    """An interval of finite numbers."""

    low: float = -math.inf
    high: float = math.inf
    above: bool = False  # `low` itself is not allowed
    below: bool = False  # `high` itself is not allowed

    def __contains__(self, value: object) -> bool:
        if not isinstance(value, (int, float)) or not math.isfinite(value):
            return False
        return not (
            value < self.low or value > self.high or (self.above and value == self.low)
            or (self.below and value == self.high)
        )

    def __str__(self) -> str:
        if math.isinf(self.low) and math.isinf(self.high):
            return 'a finite number'
        low = f'more than {self.low:g}' if self.above else f'{self.low:g} or more'
        high = f'less than {self.high:g}' if self.below else f'at most {self.high:.16g}'
        if math.isinf(self.high):
            return low
        if not self.above and not self.below:
            return f'{self.low:g} to {self.high:.16g}'
        return f'{low} and {high}'


FINITE, FROM_0, FROM_1, ABOVE_0 = Range(), Range(0), Range(1), Range(0, above=True)
FRACTION, BELOW_1, UP_TO_1 = Range(0, 1), Range(0, 1, below=True), Range(0, 1, above=True)
SEED = Range(0, 2**32 - 1)  # NumPy's generators take no others

# Option -> its range; a command that allows less gives `range` where it adds the option.
RANGES: dict[str, Range] = {
    # data
    'num_classes': FROM_1, 'img_size': FROM_1, 'in_chans': FROM_1, 'input_size': FROM_1, 'batch_size': FROM_1,
    'validation_batch_size': FROM_1, 'grad_accum_steps': FROM_1, 'mean': FINITE, 'std': ABOVE_0,
    'crop_pct': Range(0, 2, above=True), 'workers': FROM_0, 'train_num_samples': FROM_1, 'val_num_samples': FROM_1,
    'val_fraction': BELOW_1, 'val_seed': SEED,
    'class_seed': SEED, 'search_classes': Range(2), 'target_num_classes': FROM_1,
    # optimizer and schedule
    'lr': ABOVE_0, 'momentum': BELOW_1, 'weight_decay': FROM_0, 'warmup_lr': FROM_0, 'min_lr': FROM_0,
    'opt_eps': FROM_0, 'opt_betas': BELOW_1, 'clip_grad': FROM_0, 'layer_decay': UP_TO_1,
    'layer_decay_min_scale': FRACTION, 'layer_decay_no_opt_scale': FRACTION, 'lr_base': ABOVE_0,
    'lr_base_size': FROM_1, 'lr_noise': FROM_0, 'lr_noise_pct': FROM_0, 'lr_noise_std': FROM_0,
    'lr_cycle_mul': ABOVE_0, 'lr_cycle_decay': FROM_0, 'lr_cycle_limit': FROM_1, 'lr_k_decay': ABOVE_0,
    'lr_stable_timescale': ABOVE_0, 'epochs': FROM_1, 'stop_epoch': FROM_1, 'epoch_repeats': FROM_0,
    'start_epoch': FROM_0, 'decay_milestones': FROM_1, 'decay_epochs': ABOVE_0, 'warmup_epochs': FROM_0,
    'cooldown_epochs': FROM_0, 'patience_epochs': FROM_0, 'decay_rate': ABOVE_0, 'warmup_lr_epochs': FROM_0,
    # augmentation and regularisation
    'smoothing': BELOW_1, 'scale': ABOVE_0, 'ratio': ABOVE_0, 'hflip': FRACTION, 'vflip': FRACTION,
    'color_jitter': FROM_0, 'reprob': FRACTION, 'color_jitter_prob': FRACTION, 'grayscale_prob': FRACTION,
    'gaussian_blur_prob': FRACTION, 'aug_repeats': FROM_0, 'aug_splits': FROM_0, 'bce_target_thresh': FRACTION,
    'bce_pos_weight': ABOVE_0, 'recount': FROM_1, 'mixup': FROM_0, 'cutmix': FROM_0, 'cutmix_minmax': FRACTION,
    'mixup_prob': FRACTION, 'mixup_switch_prob': FRACTION, 'mixup_off_epoch': FROM_0, 'drop': BELOW_1,
    'drop_path': BELOW_1, 'drop_block': BELOW_1, 'train_img_sizes': FROM_1, 'train_batch_sizes': FROM_1,
    'train_size_probs': FROM_0, 'train_size_schedule_spread': ABOVE_0, 'train_size_random_mix': FRACTION,
    'train_batches_per_epoch': FROM_1,
    # the model, its moving average, a teacher
    'head_init_scale': FINITE, 'head_init_bias': FINITE, 'bn_momentum': UP_TO_1, 'bn_eps': ABOVE_0,
    'model_ema_decay': FRACTION, 'distill_loss_weight': FROM_0, 'task_loss_weight': FROM_0,
    'kd_temperature': ABOVE_0, 'kd_student_feature_dim': FROM_1, 'kd_teacher_feature_dim': FROM_1,
    # the search
    'target_macs': Range(0, 1e15, True, True), 'target_params': Range(0, 1e15, True, True),
    'target_latency': Range(0, 1e9, True, True),
    'tolerance': Range(0, 1, True, True), 'joint_epoch': FROM_0,
    'lam': ABOVE_0, 'num_samples': Range(2), 'weight_samples': FROM_1, 'beta': FROM_0, 'temperature': ABOVE_0,
    'alpha_lr': ABOVE_0, 'calibration_batches': FROM_1, 'search_epochs': FROM_1, 'distill': FRACTION,
    'weight_ema': BELOW_1, 'weight_window': Range(0, 1, True, True),
    'evaluations': FROM_1, 'score_batches': FROM_0, 'population': Range(2), 'tournament': FROM_1,
    'crossover': FRACTION, 'finalists': Range(1, 1000), 'finalist_epochs': FROM_0, 'refine': FROM_0,
    # the run
    'seed': SEED, 'log_interval': FROM_1, 'val_interval': FROM_1, 'recovery_interval': FROM_0,
    'checkpoint_hist': FROM_1, 'save_epochs': FROM_1, 'local_rank': Range(-1),
}

_INTERPOLATIONS = ('nearest', 'bilinear', 'bicubic', 'box', 'hamming', 'lanczos')
# Option -> timm's names for it (tests/runs/test_values.py compares them with timm's); '' is allowed if listed.
NAMES: dict[str, tuple[str, ...]] = {
    'interpolation': ('', *_INTERPOLATIONS),
    'train_interpolation': ('', 'random', *_INTERPOLATIONS),
    'sched': ('cosine', 'tanh', 'step', 'multistep', 'plateau', 'poly', 'constant', 'wsd', 'rsqrt', 'none'),
    'lr_decay_fn': ('linear', '1-sqrt', 'cosine', 'power', 'exp'),
    'lr_base_scale': ('', 'linear', 'sqrt'),
    'torchcompile_mode': ('default', 'reduce-overhead', 'max-autotune', 'max-autotune-no-cudagraphs'),
    'remode': ('pixel', 'rand', 'const'),
    'mixup_mode': ('batch', 'pair', 'elem'),
    'train_crop_mode': ('rrc', 'rkrc', 'rkrr'),
    'crop_mode': ('center', 'squash', 'border'),
    'gp': ('avg', 'max', 'avgmax', 'catavgmax', 'fast', 'fastavg', 'fastmax', 'fastavgmax', 'fastcatavgmax', 'token',
           'map', 'prr'),
}


@dataclass(frozen=True)
class Value:
    """Converts and checks one value of an option; argparse calls it as the option's type.

    Attributes:
        kind: int, float or str.
        range: the numbers allowed.
        names: the texts allowed; empty for any.
        optional: None is allowed, in a YAML file or in Python.
        parse: used instead of `kind` to convert a text; its ValueError says what is expected.
    """

    kind: type = str
    range: Range = FINITE
    names: tuple[Any, ...] = ()
    optional: bool = True
    parse: Callable[[str], Any] | None = None

    def __call__(self, given: Any) -> Any:
        try:
            value = self._converted(given)
        except (OverflowError, TypeError, ValueError):
            raise argparse.ArgumentTypeError(f'{_shown(given)}: expected {self._expected()}') from None
        except argparse.ArgumentTypeError as e:
            raise argparse.ArgumentTypeError(f'{_shown(given)}: {e}') from None
        if self.names and value not in self.names:
            named = ', '.join(str(n) for n in self.names if n != '')
            hint = did_you_mean(value, [n for n in self.names if isinstance(n, str)])
            raise argparse.ArgumentTypeError(f'{_shown(given)}: expected one of {named}{hint}')
        if isinstance(value, (int, float)) and value not in self.range:
            raise argparse.ArgumentTypeError(f'{_shown(given)}: expected {self.range}')
        if isinstance(value, str) and '\0' in value:
            raise argparse.ArgumentTypeError(f'{_shown(given)}: expected text without a NUL character')
        return value

    def _converted(self, given: Any) -> Any:
        if isinstance(given, (bool, dict, list, tuple)) or given is None:
            raise TypeError
        text = str(given)
        if self.parse is not None:
            try:
                return self.parse(text)
            except ValueError as e:
                raise argparse.ArgumentTypeError(str(e)) from None
        if self.kind is int:
            try:
                return int(text)
            except ValueError:
                number = float(text)  # 2.0 and 1e3 are whole numbers too
                if number != int(number):
                    raise ValueError from None
                return int(number)
        value = self.kind(text)
        if isinstance(value, float) and math.isnan(value):
            raise ValueError
        return value

    def _expected(self) -> str:
        return {int: 'a whole number', float: 'a number'}.get(self.kind, 'text')


def _shown(value: Any) -> str:
    """A value as it is shown in a message: numbers as they were written, texts in quotes."""
    text = str(value)
    try:
        float(text)
    except ValueError:
        return repr(value)[:80]
    return text[:80]


def key_values(items: Any) -> dict[str, Any]:
    """KEY=VALUE texts as a dict; values that are Python literals are evaluated.

    Raises:
        argparse.ArgumentTypeError: an item has no '=' or no key.

    >>> key_values(['arch=i32-..', 'drop_rate=0.1'])
    {'arch': 'i32-..', 'drop_rate': 0.1}
    """
    given: dict[str, Any] = {}
    for item in filter(None, [items] if isinstance(items, str) else items):
        key, equals, value = str(item).partition('=')
        if not equals or not key:
            raise argparse.ArgumentTypeError(f'{str(item)[:80]!r}: expected KEY=VALUE')
        try:
            given[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            given[key] = value
    return given
