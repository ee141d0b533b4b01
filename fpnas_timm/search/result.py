"""What a search returns, and the end of a search: the final, then the files of the result."""
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import timm
from torch import nn

from ..arch import Arch
from ..runs.processes import Stop, from_primary, log_on_primary, on_primary
from ..spaces.budgets import shown_ms
from .distribution import Distribution
from .final_stage import hold_final, say_result
from .finalists import Finalist
from .folder import EXTRACT
from .report import is_written, result_without_final, write_result

if TYPE_CHECKING:
    from .setup import Setup

__all__ = ['SearchResult', 'finish']

SAME = 1e-4  # nats, between two that are equally probable, up to the tolerance of the solver

_logger = logging.getLogger('search')


@dataclass(frozen=True, repr=False)
class SearchResult:
    """The result of a search.

    Attributes:
        arch: the architecture found, the best of the finalists; `str(arch)` is its string.
        macs: its multiply-adds, with `target_num_classes` classes.
        params: its learnable parameters, with `target_num_classes` classes.
        latency: milliseconds of a call by the latency table of the search; None if it has none. What was measured is in
            `result.json`.
        distribution: the learned P(A | alpha); None with the strategies `evolution` and `random`.
        history: one dict per epoch: losses, K, entropy (nats), mean multiply-adds, probability of every choice; or
            scores, see docs/search.md.
        folder: the output folder of the search (docs/search.md).
        supernet_top1: accuracy (%) of `arch` with the supernet's weights, batch norms recalibrated, on the images that
            train alpha. It says whether the search learned anything, not how good the trained network will be.
        supernet_top1_images: the number of these images.
        finalists: the most probable networks with their scores on these images, best first; empty for a search that
            was finished by an earlier version.
    """

    arch: Arch
    macs: int
    params: int
    distribution: Distribution | None
    history: list[dict[str, Any]]
    folder: Path
    supernet_top1: float
    supernet_top1_images: int
    finalists: list[Finalist]
    latency: float | None = None

    def __repr__(self) -> str:
        return (
            f"SearchResult('{self.arch}', macs={self.macs}, params={self.params}, "
            f"supernet_top1={self.supernet_top1:.2f}, folder='{self.folder}')"
        )

    def __str__(self) -> str:
        """What was found, in a few lines."""
        return '\n'.join([
            f'architecture   {self.arch}',
            f'multiply-adds  {self.macs:,}',
            f'parameters     {self.params:,}',
            *([f'time           {shown_ms(self.latency)}, predicted'] if self.latency is not None else []),
            f"accuracy       {self.supernet_top1:.2f} % of {self.supernet_top1_images:,} images, with the supernet's "
            'weights',
            *self._trained(),
            *([f'distribution   {self.distribution!r}'] if self.distribution is not None else []),
            f'epochs         {len(self.history)}, {sum(row["seconds"] for row in self.history):.0f} s',
            f'folder         {self.folder}',
        ])

    def _trained(self) -> list[str]:
        """A line about the weights in `extract/`, if they were trained on."""
        best = self.finalists[0] if self.finalists else None
        if best is None or not best.rounds:
            return []
        return [f'               {best.top1:.2f} % with the trained weights of {EXTRACT}/']

    def model(self) -> nn.Module:
        """Load the timm model of `arch` from `folder`, with the weights inherited from the supernet, in eval mode.

        The supernet's weights are shared by all architectures: train the model before you use it. With
        `finalist_epochs`, the weights have been trained further.
        """
        return timm.create_model(f'local-dir:{self.folder / EXTRACT}', pretrained=True).eval()


def finish(setup: 'Setup', stop: Stop) -> SearchResult | None:
    """The result of a finished search, the best of its finalists; rank 0 writes its files. None if it was stopped.

    Raises:
        RunError: the learned distribution excludes every architecture within the budget, or the disk is full.
    """
    search = setup.search
    earlier = from_primary(lambda: _earlier_result(setup), setup.rank, setup.world_size)
    if earlier is not None:
        arch, finalists = Arch.parse(earlier['arch']), []
        figures = float(earlier['supernet_top1']), int(earlier['supernet_top1_images'])
        log_on_primary(_logger, f'the search in {setup.folder} is finished: there is nothing left to do')
    else:
        final = hold_final(setup, stop)
        if final is None:
            return None
        finalists = final.finalists()
        arch, figures = finalists[0].arch, (finalists[0].inherited_top1, finalists[0].images)
        if from_primary(lambda: is_written(setup.folder, search, arch), setup.rank, setup.world_size):
            log_on_primary(_logger, f'the search in {setup.folder} is finished: there is nothing left to do')
        else:
            say_result(final)
            model = final.model()
            on_primary(lambda: write_result(setup, final, model), setup.rank, setup.world_size)
    spent = setup.evaluator.full_cost(arch)
    return SearchResult(
        arch, spent.macs, spent.params, search.distribution, search.history, setup.folder, *figures, finalists,
        None if setup.latency is None else setup.latency.predict(arch),
    )


def _earlier_result(setup: 'Setup') -> dict[str, Any] | None:
    """The result of this search if an earlier version, which held no final, finished it."""
    search = setup.search
    earlier = result_without_final(setup.folder, search)
    if earlier is None:
        return None
    if search.distribution is None:
        return earlier if earlier['arch'] == search.space.describe(search.result()) else None
    try:
        found = setup.space.from_arch(Arch.parse(earlier['arch']))
    except ValueError:
        return None
    was, best = search.distribution.log_prob([found, search.result()]).tolist()
    return earlier if was > best - SAME else None
