"""The search: a distribution over architectures learned by gradient descent, coarse to fine (main paper, section 3).

The loop only depends on a `SearchSpace` and an `Evaluator`. The same loop searches the supernet of `evaluator.py`, a
table of measured accuracies, or anything else that can score architectures.
"""
import copy
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from ..errors import NonFiniteError, RunError, UsageError
from ..runs.processes import Stop
from ..spaces import Choices, SearchSpace
from ..spaces.costs import AdditiveCost
from .budgets import Budgets
from .distribution import KINDS, Distribution, Factorized, Joint
from .diverged import not_finite
from .estimator import COST_FORMS, adaptive_num_samples, sample_weights, surrogate
from .likeliest import first_within
from .sampled import add_sampled, new_sampled

__all__ = ['Evaluator', 'Search', 'SearchConfig']


class Evaluator(Protocol):
    """Scores architectures and, if it has weights, trains them."""

    steps_per_epoch: int

    def start_epoch(self, epoch: int, step: int) -> None:
        """Start at `step` (0 is the first) of `epoch`, with the same batches as in an uninterrupted search."""

    def train_step(self, archs: Sequence[Choices]) -> float | None:
        """Update the weights with these on the next training batch; return their mean loss; None without weights.

        Raises:
            NonFiniteError: a loss is not finite; the error contains all losses, one per architecture.
        """

    def log_likelihoods(self, archs: Sequence[Choices]) -> torch.Tensor:
        """log P(y_val|X_val, w, A_k) of each on the next validation batch, summed over it (nats), float64, shape (K,).

        Called after every `train_step`, except in warm-up epochs.
        """

    def cost(self, arch: Choices) -> float:
        """Cost of an architecture, before the hinge: multiply-adds, or any other cost in the unit of the target."""

    def state_dict(self) -> dict[str, Any]:
        """The state that a resumed search needs: weights, optimizer, random generators."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state returned by `state_dict`."""


@dataclass(frozen=True)
class SearchConfig:
    """The settings of a search. The defaults are the paper's where it states a value, but for the baseline.

    Attributes:
        epochs: total number of epochs (315 in the paper).
        warmup_epochs: number of initial epochs with alpha frozen and uniform sampling (supplement, section E; 45).
        joint_epoch: theta, the epoch at which the factorised distribution becomes joint (80); None: never, 0: at once.
        lam: lambda of adaptive sampling, K = lambda * H.
        num_samples: use this fixed K instead, as in PARSEC.
        weight_samples: train the weights on only the first of the K architectures; None: on all.
        beta: weight of the cost in the loss.
        target: cost up to which there is no penalty, in the evaluator's unit (multiply-adds); None: no budget.
        targets: budgets of other additive costs of the search, by their names; their penalties are added.
        tolerance: the final architecture costs between target * (1 - tolerance) and target.
        cost_form: 'relative' (the paper's), 'absolute', 'expected', 'two-sided' or 'multiplier', see `cost_weights`.
        baseline: subtract the mean weight, see `sample_weights`.
        temperature: divides the log-likelihoods; the paper uses 1.
        alpha_lr: Adam's learning rate for alpha.
        alpha_betas: Adam's betas for alpha.
    """

    epochs: int
    warmup_epochs: int = 0
    joint_epoch: int | None = None
    lam: float = 0.25
    num_samples: int | None = None
    weight_samples: int | None = None
    beta: float = 0.0
    target: float | None = None
    targets: Mapping[str, float] = field(default_factory=dict)
    tolerance: float = 0.02
    cost_form: str = 'relative'
    baseline: bool = True
    temperature: float = 1.0
    alpha_lr: float = 0.01
    alpha_betas: tuple[float, float] = (0.5, 0.999)

    def __post_init__(self) -> None:
        checks = [
            (self.epochs >= 1, f'epochs {self.epochs}: expected at least 1'),
            (
                0 <= self.warmup_epochs < self.epochs,
                f'warmup_epochs {self.warmup_epochs}: expected fewer than epochs ({self.epochs}), to train alpha',
            ),
            (
                self.joint_epoch is None or 0 <= self.joint_epoch < self.epochs,
                f'joint_epoch {self.joint_epoch}: expected less than epochs, {self.epochs}, or none',
            ),
            (0 < self.lam < math.inf, f'lam {self.lam}: expected a number above 0'),
            (
                self.num_samples is None or self.num_samples >= 2,
                f'num_samples {self.num_samples}: expected at least 2: samples are compared with each other',
            ),
            (
                self.weight_samples is None or self.weight_samples >= 1,
                f'weight_samples {self.weight_samples}: expected at least 1',
            ),
            (self.beta >= 0, f'beta {self.beta}: expected 0 or more'),
            (self.target is None or self.target > 0, f'target {self.target}: expected a number above 0'),
            *((t > 0, f'target {t} of {name}: expected a number above 0') for name, t in self.targets.items()),
            (0 < self.tolerance < 1, f'tolerance {self.tolerance}: expected a fraction between 0 and 1'),
            (self.cost_form in COST_FORMS, f'cost_form {self.cost_form!r}: expected one of {", ".join(COST_FORMS)}'),
            (self.temperature > 0, f'temperature {self.temperature}: expected a number above 0'),
            (self.alpha_lr > 0, f'alpha_lr {self.alpha_lr}: expected a number above 0'),
        ]
        for good, message in checks:
            if not good:
                raise UsageError(message)


class Search:
    """A search and its complete state.

    Attributes:
        distribution: P(A | alpha) as learned so far.
        epoch, step: the next step to take, both counted from 0.
        history: one dict per epoch: losses, K, entropy (nats), mean cost, the most probable architecture, marginals,
            and, of some of the samples, cost and log-likelihood.
        num_samples: number of architectures evaluated for alpha so far (`samples` in the paper's tables).
    """

    def __init__(
            self,
            space: SearchSpace,
            evaluator: Evaluator,
            config: SearchConfig,
            seed: int = 0,
            decode: Callable[[Distribution, Mapping[str, tuple[float, float]], int], list[Choices]] | None = None,
            check_in_sync: Callable[[torch.Tensor], None] | None = None,
            costs: Sequence[AdditiveCost] = (),
    ) -> None:
        """
        Args:
            space: the search space.
            evaluator: scores the architectures of the space.
            config: the settings.
            seed: random seed for sampling architectures.
            decode: solver for `finalists`: (distribution, `budgets.windows`, count) -> the `count` most probable
                different architectures within them, most probable first (default: try the architectures in order).
            check_in_sync: for distributed searches: called with alpha before every update, must raise RunError if
                alpha differs between processes (default: no check).
            costs: additive costs, the evaluator's first; for the cost form 'multiplier' and for `config.targets`.
        """
        self.space = space
        self.evaluator = evaluator
        self.config = config
        self.decode = decode
        self.check_in_sync = check_in_sync
        self.generator = torch.Generator().manual_seed(seed)
        self.epoch = self.step = self.num_samples = 0
        self.history: list[dict[str, Any]] = []
        self._sums: dict[str, float] = {}
        self._sampled = new_sampled()
        self.budgets = Budgets(config, evaluator.cost, costs, space)
        self._set_distribution(Joint(space) if config.joint_epoch == 0 else Factorized(space))

    def _set_distribution(self, distribution: Distribution) -> None:
        self.distribution = distribution
        self.optimizer = torch.optim.Adam([distribution.alpha], lr=self.config.alpha_lr, betas=self.config.alpha_betas)

    def run(
            self,
            stop: Stop | None = None,
            on_step: Callable[['Search', dict[str, float]], None] | None = None,
            on_epoch: Callable[['Search'], None] | None = None,
    ) -> bool:
        """Search from the current state to the end of the last epoch.

        Args:
            stop: checked after every step; once it is true, `run` returns False, with the state ready to be saved.
            on_step: called after every step with the metrics of the step.
            on_epoch: called after every epoch, to save and report.

        Raises:
            RunError: a loss or likelihood is not finite; alpha has not been updated in that step.
        """
        while self.epoch < self.config.epochs:
            if self.epoch == self.config.joint_epoch and isinstance(self.distribution, Factorized):
                self._set_distribution(self.distribution.to_joint())
            self.evaluator.start_epoch(self.epoch, self.step)
            while self.step < self.evaluator.steps_per_epoch:
                figures = self._take_step()
                self.step += 1
                if on_step is not None:
                    on_step(self, figures)
                if stop:
                    return False
            self._end_epoch()
            if on_epoch is not None:
                on_epoch(self)
        return True

    @property
    def num_epochs(self) -> int:
        """Number of epochs."""
        return self.config.epochs

    @property
    def num_steps(self) -> int:
        """Number of steps of this epoch."""
        return self.evaluator.steps_per_epoch

    @property
    def is_warmup(self) -> bool:
        """Whether alpha is still frozen."""
        return self.epoch < self.config.warmup_epochs

    def _take_step(self) -> dict[str, float]:
        """Sample K architectures, update the weights with them and then, after warm-up, alpha."""
        started = time.perf_counter()
        entropy = float(self.distribution.entropy().detach())
        k = self.config.num_samples or adaptive_num_samples(entropy, self.config.lam)
        archs = self.distribution.sample(k, self.generator)
        trained = archs[: self.config.weight_samples]
        costs = torch.tensor([self.evaluator.cost(arch) for arch in archs], dtype=torch.float64)
        figures = {'entropy': entropy, 'k': k, 'cost': float(costs.mean())}
        try:
            if (loss := self.evaluator.train_step(trained)) is not None:
                figures['train_loss'] = loss
            log_likelihoods = None
            if not self.is_warmup:
                if self.check_in_sync is not None:
                    self.check_in_sync(self.distribution.alpha.detach())
                log_likelihoods = self.evaluator.log_likelihoods(archs)
                if log_likelihoods.shape != (k,):  # a single value would be broadcast, and count for all of them
                    shape = tuple(log_likelihoods.shape)
                    raise ValueError(f'log_likelihoods of {k} architectures has shape {shape}: expected ({k},)')
                if not log_likelihoods.isfinite().all():
                    raise NonFiniteError('the log-likelihood', log_likelihoods.tolist())
        except NonFiniteError as e:
            asked = archs if len(e.values) == len(archs) else trained
            raise RunError(not_finite(e, asked, self.space, self.epoch, self.step)) from None
        if log_likelihoods is not None:
            self._update_alpha(archs, log_likelihoods, costs)
            self.num_samples += k
            add_sampled(self._sampled, self.step, self.evaluator.steps_per_epoch, costs, log_likelihoods)
            figures['log_likelihood'] = float(log_likelihoods.mean())
        figures['seconds'] = time.perf_counter() - started
        for name, value in figures.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        return figures

    def _update_alpha(self, archs: list[Choices], log_likelihoods: torch.Tensor, costs: torch.Tensor) -> None:
        """One Adam step with the gradient of equation (2)."""
        config = self.config
        over = self.budgets.over(archs, costs)
        weights = sample_weights(
            log_likelihoods, over, config.beta, config.cost_form, config.temperature, config.baseline
        )
        self.optimizer.zero_grad()
        surrogate(self.distribution, archs, weights).backward()
        self.optimizer.step()
        done = self.epoch - config.warmup_epochs + (self.step + 1) / self.evaluator.steps_per_epoch
        self.budgets.meet(self.distribution, done / (config.epochs - config.warmup_epochs))

    def _end_epoch(self) -> None:
        steps = self.evaluator.steps_per_epoch
        mode = self.distribution.most_probable()
        means = {k: v / steps for k, v in self._sums.items() if k != 'seconds'}
        self.history.append({
            'epoch': self.epoch,
            'phase': 'warmup' if self.is_warmup else self.distribution.kind,
            **means,
            'seconds': self._sums.get('seconds', 0.0),
            'num_samples': self.num_samples,
            'most_probable': self.space.describe(mode),
            'most_probable_cost': self.evaluator.cost(mode),
            **self.budgets.figures(self.distribution),
            'marginals': [
                {v: [round(p, 5) for p in probs] for v, probs in g.items()} for g in self.distribution.marginals()
            ],
            'sampled': self._sampled,
        })
        self._sums, self._sampled = {}, new_sampled()
        self.epoch, self.step = self.epoch + 1, 0

    def result(self) -> Choices:
        """The most probable architecture; with a target, the most probable one within the budget.

        Raises:
            InfeasibleError: as `finalists`.
        """
        return self.finalists(1)[0] if self.budgets.windows else self.distribution.most_probable()

    def finalists(self, count: int) -> list[Choices]:
        """The `count` most probable different architectures within the budget, most probable first; fewer if there are.

        Raises:
            InfeasibleError: no architecture that was tried costs between target * (1 - tolerance) and target.
        """
        if self.decode is not None:
            return self.decode(self.distribution, self.budgets.windows, count)
        return first_within(self.distribution, self.budgets.allow, self.budgets.asked, count)

    def state_dict(self) -> dict[str, Any]:
        """The complete state; the evaluator's tensors are not copied: save them before the search continues."""
        return {
            'kind': self.distribution.kind,
            'alpha': self.distribution.alpha.detach().clone(),
            'optimizer': copy.deepcopy(self.optimizer.state_dict()),
            'generator': self.generator.get_state(),
            'epoch': self.epoch,
            'step': self.step,
            'num_samples': self.num_samples,
            'sums': dict(self._sums),
            'sampled': copy.deepcopy(self._sampled),
            'budgets': self.budgets.state_dict(),
            'history': list(self.history),
            'evaluator': self.evaluator.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state returned by `state_dict`; the search then ends as if it had never stopped."""
        distribution = KINDS[state['kind']](self.space)
        if state['alpha'].shape != distribution.alpha.shape:
            raise UsageError(
                f'the checkpoint has {len(state["alpha"])} architecture parameters, space {self.space.name!r} has '
                f'{distribution.num_parameters}: it is of another space'
            )
        with torch.no_grad():
            distribution.alpha.copy_(state['alpha'])
        self._set_distribution(distribution)
        self.optimizer.load_state_dict(state['optimizer'])
        self.generator.set_state(state['generator'])
        self.epoch, self.step, self.num_samples = state['epoch'], state['step'], state['num_samples']
        self._sums, self.history = dict(state['sums']), list(state['history'])
        self._sampled = copy.deepcopy(state.get('sampled') or new_sampled())  # None: of an earlier version
        self.budgets.load_state_dict(state.get('budgets'))
        self.evaluator.load_state_dict(state['evaluator'])
