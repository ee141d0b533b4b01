"""Searches on a table of accuracies, whose evaluations are as noisy as in a real search.

What an evaluation tells is the outcome on one batch of 128 images, the same images for all architectures of a step.
"""
import math

import torch

from fpnas_timm.search.alpha_settings import fitting_alpha_lr
from fpnas_timm.search.candidates import CandidateConfig, CandidateSearch, RandomDraws, Strategy
from fpnas_timm.search.evolution import Evolution, EvolutionConfig
from fpnas_timm.search.loop import Search, SearchConfig

IMAGES = 128
SHARED = 0.5  # share of an image's difficulty that is the same for all architectures
RIGHT, WRONG = math.log(0.97), math.log(0.1)  # log-probability of the right class where the network is right or wrong
PAPER = {'lam': 1.0, 'alpha_lr': 0.03}
OURS = {**PAPER, 'temperature': IMAGES}
STEPS = 285  # of 2,000 evaluations, about


class Table:
    """The evaluator: noisy log-likelihoods from the measured accuracies."""

    steps_per_epoch = 1

    def __init__(self, rows: dict, seed: int) -> None:
        self.rows = rows
        self.generator = torch.Generator().manual_seed(seed)
        self.evaluated = 0

    @staticmethod
    def key(arch) -> str:
        return ''.join(str(k) for group in arch for k in group)

    def accuracy(self, arch) -> float:
        """True accuracy in %."""
        return self.rows[self.key(arch)]['mean_acc']

    def cost(self, arch) -> int:
        return self.rows[self.key(arch)]['flops']

    def log_likelihoods(self, archs) -> torch.Tensor:
        """Each image is right with the architecture's accuracy, correlated between architectures."""
        self.evaluated += len(archs)
        common, own = (
            torch.randn(n, IMAGES, generator=self.generator, dtype=torch.float64) for n in (1, len(archs))
        )
        accuracy = torch.tensor([[self.accuracy(a) / 100] for a in archs], dtype=torch.float64)
        right = math.sqrt(SHARED) * common + math.sqrt(1 - SHARED) * own < torch.special.ndtri(accuracy)
        return (right * RIGHT + ~right * WRONG).sum(1)

    def start_epoch(self, epoch: int, step: int) -> None:
        """There is nothing to get ready."""

    def train_step(self, archs) -> float:
        """There are no weights."""
        return 0.0

    def state_dict(self) -> dict:
        return {}


class CountedTable(Table):
    """A table whose one epoch ends after so many evaluations: as a real search, it knows how far it is."""

    def __init__(self, rows: dict, seed: int, evaluations: int) -> None:
        super().__init__(rows, seed)
        self.evaluations, self.taken = evaluations, 0

    def train_step(self, archs) -> float:
        self.taken += 1
        return 0.0

    @property
    def steps_per_epoch(self) -> int:
        """The steps so far over the share of the evaluations so far."""
        return math.ceil(self.taken * self.evaluations / self.evaluated) if self.evaluated else self.evaluations


class Budget:
    """Stops the loop after so many evaluated architectures or steps."""

    def __init__(self, table: Table, evaluations: int | None, steps: int | None = None) -> None:
        self.table, self.evaluations, self.steps, self.taken = table, evaluations, steps, 0

    def __bool__(self) -> bool:
        self.taken += 1
        return self.taken == self.steps or (self.evaluations is not None and self.table.evaluated >= self.evaluations)


def search(rows, space, seed, evaluations=None, steps=None, on_step=None, steps_per_epoch=10**9, epochs=1, costs=(),
           fixed=False, **settings):
    """A search; the table knows no epochs, so that the whole of it is one, where nothing depends on them.

    `fixed`: the search knows that it ends after `evaluations`.
    """
    table = CountedTable(rows, seed, evaluations) if fixed else Table(rows, seed)
    if not fixed:
        table.steps_per_epoch = steps_per_epoch
    found = Search(space, table, SearchConfig(epochs=epochs, **settings), seed, costs=costs)
    found.run(None if fixed else Budget(table, evaluations, steps), on_step)
    return found


def settings_for(form: str, target: float, beta: float = 0.0, temperature: float = IMAGES) -> dict:
    """The settings of a search with a budget."""
    rate = {'alpha_lr': fitting_alpha_lr(STEPS)} if form == 'multiplier' else {}
    return {**OURS, **rate, 'temperature': temperature, 'target': target, 'beta': beta, 'cost_form': form}


def baseline(rows, space, seed, evaluations, name='random', population=100, tournament=10) -> tuple:
    """The best of the architectures that a strategy proposes, scored on a batch of its own each time."""
    table, config = Table(rows, seed), CandidateConfig(epochs=0, evaluations=evaluations, repeats=True)
    strategy: Strategy = RandomDraws(space.sample)
    if name == 'evolution':
        strategy = Evolution(space, None, space.sample, EvolutionConfig(population, tournament))
    found = CandidateSearch(space, table, config, strategy, space.sample, seed + 10**6)  # not the table's noise
    found.run()
    return found.result()


def measured(accuracies: list[float], images: int, seed: int) -> torch.Tensor:
    """How many of so many images networks of these accuracies (%) get right."""
    share = torch.tensor(accuracies, dtype=torch.float64) / 100
    return torch.binomial(torch.full_like(share, images), share, torch.Generator().manual_seed(seed))
