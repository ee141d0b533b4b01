"""Settings of alpha that fit a search's length and batches, where they were not given."""
import logging
from dataclasses import replace

from ..runs.processes import log_on_primary
from .loop import SearchConfig

__all__ = ['fitting_alpha_lr', 'with_alpha_settings']

PATH = 5.0  # how far Adam can move a logit in the whole search, at least: enough for a factor of 150 in probability
ALPHA_LR = (0.01, 0.05)

_logger = logging.getLogger('search')


def fitting_alpha_lr(steps: int) -> float:
    """Adam's learning rate for alpha in a search that updates it `steps` times: 0.01 in a long one, up to 0.05.

    One step of Adam moves a logit by at most about the learning rate. At 0.01, a search of 100 steps would end with
    probabilities that hardly differ from those it began with.

    >>> [fitting_alpha_lr(steps) for steps in (50, 125, 250, 10_000)]
    [0.05, 0.04, 0.02, 0.01]
    """
    low, high = ALPHA_LR
    return min(high, max(low, float(f'{PATH / max(steps, 1):.2g}')))


def with_alpha_settings(
        config: SearchConfig, temperature: float | None, alpha_lr: float | None, steps_per_epoch: int, images: int
) -> SearchConfig:
    """The settings of a search with its temperature and alpha's learning rate; says what was not given.

    Args:
        config: the other settings.
        temperature: as given; None: the number of images, so that log-likelihoods are means over them.
        alpha_lr: as given; None: `fitting_alpha_lr`.
        steps_per_epoch: steps of an epoch.
        images: images that a step scores on, in all processes.
    """
    steps = (config.epochs - config.warmup_epochs) * steps_per_epoch
    said = []
    if temperature is None:
        temperature = float(images)
        said.append(f'--temperature {images} for the {images} images that a step scores on')
    if alpha_lr is None:
        alpha_lr = fitting_alpha_lr(steps)
        said.append(f'--alpha-lr {alpha_lr:g} for {steps:,} steps after the warm-up')
    if said:
        log_on_primary(_logger, '; '.join(said))
    return replace(config, temperature=temperature, alpha_lr=alpha_lr)
