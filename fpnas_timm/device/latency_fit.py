"""How long each kind of work takes, from the times of whole networks; and what such a fit is worth.

The rates are those, none of them negative, that make the relative errors small (least squares). Each group has rates of
its own, since an operation is not equally fast at all sizes; where the networks say little about one, it is near the
rate of the same kind over all groups (a ridge). How near is chosen by cross-validation.
"""
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .work import Work

__all__ = ['GOOD', 'Fit', 'Worth', 'fit_rates', 'worth']

RIDGES = (10.0, 1.0, 0.3, 0.1, 0.03, 0.01, 1e-3, 1e-5)  # of which cross-validation chooses
FOLDS = 5
WITHIN = 0.1  # relative error that `Worth.within_10` is about


class Worth(NamedTuple):
    """How good predicted times are.

    Attributes:
        networks: number of networks that were compared.
        mean_error: mean relative error.
        largest_error: largest relative error.
        within_10: share of the networks with an error of at most 10 %.
        tau: Kendall's rank correlation of predicted and measured times.
    """

    networks: int
    mean_error: float
    largest_error: float
    within_10: float
    tau: float

    def __str__(self) -> str:
        return (
            f'{self.networks} networks: mean error {100 * self.mean_error:.1f} %, largest '
            f"{100 * self.largest_error:.1f} %, within 10 %: {100 * self.within_10:.1f} %, Kendall's tau {self.tau:.3f}"
        )

    @property
    def is_good(self) -> bool:
        """Whether the predictions are worth something: mean error at most 10 % and tau at least 0.8."""
        return self.mean_error <= GOOD[0] and self.tau >= GOOD[1]


GOOD = (0.10, 0.8)  # largest mean error and smallest tau of a table that is worth something


class Fit(NamedTuple):
    """Rates (milliseconds per amount) of each part of a network, and the milliseconds of the rest."""

    parts: list[dict[str, float]]
    constant: float
    ridge: float

    def predict(self, works: Sequence[Work]) -> float:
        """Milliseconds of a network with this work in its parts."""
        return self.constant + sum(
            rates.get(kind, 0.0) * amount for rates, work in zip(self.parts, works) for kind, amount in work.items()
        )


def fit_rates(works: Sequence[Sequence[Work]], times: Sequence[float]) -> Fit:
    """Fit rates to networks.

    Args:
        works: for each network, the work of each of its parts (`latency_table.network_work`).
        times: the time of each, above 0.

    >>> works = [[{'macs': a}, {'macs': b}] for a in (1, 2, 3, 5) for b in (1, 4, 5)]
    >>> fit = fit_rates(works, [0.5 + 2 * a['macs'] + 3 * b['macs'] for a, b in works])
    >>> [round(rates['macs'], 2) for rates in fit.parts], round(fit.constant, 1)
    ([2.0, 3.0], 0.5)
    """
    columns = sorted({(i, kind) for network in works for i, part in enumerate(network) for kind in part})
    amounts = np.array([[float(network[i].get(kind, 0.0)) for i, kind in columns] + [1.0] for network in works])
    kinds = sorted({kind for _, kind in columns})
    shared = np.zeros((len(columns) + 1, len(kinds) + 1))
    shared[-1, -1] = 1
    for at, (_, kind) in enumerate(columns):
        shared[at, kinds.index(kind)] = 1
    y = np.array(times, dtype=float)
    fold = np.arange(len(y)) % FOLDS
    errors = dict.fromkeys(RIDGES, 0.0)
    for k in range(FOLDS if len(y) >= 2 * FOLDS else 0):
        fitted = fold != k
        for ridge in RIDGES:
            found = _solve(amounts[fitted], y[fitted], shared, ridge)
            errors[ridge] += float(np.abs(amounts[~fitted] @ found / y[~fitted] - 1).sum())
    ridge = min(RIDGES, key=errors.__getitem__)
    rates = _solve(amounts, y, shared, ridge)
    parts: list[dict[str, float]] = [{} for _ in works[0]]
    for (i, kind), rate in zip(columns, rates):
        parts[i][kind] = float(rate)
    return Fit(parts, float(rates[-1]), ridge)


def _solve(amounts: np.ndarray, times: np.ndarray, shared: np.ndarray, ridge: float) -> np.ndarray:
    """Rates of the columns of `amounts` (networks, columns); `shared` maps those of all parts to columns."""
    relative, ones = amounts / times[:, None], np.ones(len(times))
    common = shared @ _nonnegative(relative @ shared, ones)
    scale = np.sqrt(np.square(relative).mean(0) * ridge * len(times))
    return _nonnegative(np.vstack([relative, np.diag(scale)]), np.concatenate([ones, scale * common]))


def _nonnegative(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    from scipy.optimize import nnls

    norms = np.sqrt(np.square(a).sum(0))
    norms[norms == 0] = 1
    return nnls(a / norms, b, maxiter=50 * a.shape[1])[0] / norms


def worth(predicted: Sequence[float], measured: Sequence[float]) -> Worth:
    """What predictions are worth, by times that were measured.

    >>> str(worth([1.0, 2.1, 3.0], [1.0, 2.0, 4.0]))
    "3 networks: mean error 10.0 %, largest 25.0 %, within 10 %: 66.7 %, Kendall's tau 1.000"
    """
    from scipy.stats import kendalltau

    errors = np.abs(np.array(predicted) / np.array(measured) - 1)
    tau = float(kendalltau(predicted, measured).statistic) if len(errors) > 1 else 0.0
    share = float((errors <= WITHIN + 1e-9).mean())
    return Worth(len(errors), float(errors.mean()), float(errors.max()), share, tau if tau == tau else 0.0)
