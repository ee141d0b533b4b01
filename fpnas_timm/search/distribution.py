"""P(A | alpha): distributions over the architectures of a `SearchSpace`, factorised and joint (main paper, section 3).

`Factorized` has one categorical per group and variable, `Joint` one per group over all combinations of its variables.
alpha holds the logits of all categoricals in one vector, in double precision and on the CPU: it is tiny, and every
process of a distributed search must hold the same bits.
"""
import itertools
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from ..runs.files import replacing
from ..spaces import Choices, LogProbs, SearchSpace
from ..spaces.ranked import ranked_products

__all__ = ['KINDS', 'Distribution', 'Factorized', 'Joint', 'load_distribution']


class Distribution(ABC):
    """Independent categoricals over the variables of a space, initially uniform.

    Attributes:
        space: the search space.
        alpha: concatenated logits of all categoricals, float64, shape (num_parameters,); a leaf tensor.
    """

    kind = ''

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        sizes = [math.prod(shape) for shape in self._shapes()]
        self.alpha = torch.zeros(sum(sizes), dtype=torch.float64, requires_grad=True)
        # Each categorical is one row of a padded index matrix, so that every operation is one call. The index
        # `len(alpha)` marks padding.
        starts = list(itertools.accumulate(sizes, initial=0))
        self._rows = torch.full((len(sizes), max(sizes)), len(self.alpha))
        for row, start, size in zip(self._rows, starts, sizes):
            row[:size] = torch.arange(start, start + size)
        self._strides = [[math.prod(shape[i + 1 :]) for i in range(len(shape))] for shape in self._shapes()]

    def __repr__(self) -> str:
        """In one line: the space, the entropy, and the mode with its probability."""
        mode = self.most_probable()
        probability = math.exp(float(self.log_prob([mode]).detach()))
        return (
            f'{type(self).__name__}({self.space.name!r}: {self.num_parameters:,} logits, entropy '
            f'{float(self.entropy().detach()):.2f} nats, most probable: {self.space.describe(mode)} '
            f'({100 * probability:.2g} %))'
        )

    def __str__(self) -> str:
        """A table with one line per group: of each variable, its choices and their probabilities in percent."""
        lines = [repr(self)]
        for i, (group, probs) in enumerate(zip(self.space.groups, self.marginals())):
            cells = [
                f'{variable} ' + ' '.join(f'{c}:{100 * p:.0f}' for c, p in zip(choices, probs[variable]))
                for variable, choices in group.items()
            ]
            lines.append(f'{i:>3}  ' + ' | '.join(cells))
        return '\n'.join(lines)

    @abstractmethod
    def _shapes(self) -> list[tuple[int, ...]]:
        """For each categorical, the number of choices of each variable that it covers."""

    @property
    def num_parameters(self) -> int:
        return len(self.alpha)

    def log_softmax(self, temperature: float = 1.0) -> torch.Tensor:
        """Log-probabilities (nats), one row per categorical, padded with -inf after its last choice.

        Args:
            temperature: divides alpha: below 1, the distribution is sharper; its mode is the same.
        """
        padding = self.alpha.new_full((1,), -math.inf)
        return torch.cat([self.alpha / temperature, padding])[self._rows].log_softmax(1)

    @abstractmethod
    def combinations(self, temperature: float = 1.0) -> torch.Tensor:
        """The probability of every combination of a group's choices, the last variable fastest; differentiable.

        One row per group, padded with 0; `temperature` as in `log_softmax`.
        """

    def probs(self) -> torch.Tensor:
        """The probability of each choice within its categorical, in the order of alpha."""
        return self.log_softmax().detach()[self._rows < len(self.alpha)].exp()

    def categoricals(self, arch: Choices) -> Iterator[tuple[torch.Tensor, int]]:
        """Of each categorical, its part of alpha (a view) and the index of what `arch` chooses."""
        start = 0
        for chosen, shape in zip(self._indices(arch), self._shapes()):
            yield self.alpha.detach()[start : start + math.prod(shape)], chosen
            start += math.prod(shape)

    def sample(self, num_samples: int, generator: torch.Generator) -> list[Choices]:
        """Draw `num_samples` independent architectures with the given generator."""
        with torch.no_grad():
            probs = self.log_softmax().exp()
        drawn = torch.multinomial(probs, num_samples, replacement=True, generator=generator)
        return [self._choices(column) for column in drawn.T.tolist()]

    def log_prob(self, archs: Sequence[Choices]) -> torch.Tensor:
        """log P(A | alpha) in nats, shape (len(archs),); differentiable with respect to alpha.

        Raises:
            ValueError: an architecture is not in the space.
        """
        index = torch.tensor([self._indices(arch) for arch in archs], dtype=torch.long).reshape(-1, len(self._rows))
        return self.log_softmax().gather(1, index.T).sum(0)

    def entropy(self) -> torch.Tensor:
        """H(P(A | alpha)) in nats, a scalar; differentiable."""
        log_probs = self.log_softmax()
        probs = log_probs.exp()
        return -(probs * log_probs.masked_fill(probs == 0, 0)).sum()

    def most_probable(self) -> Choices:
        """The mode; among equally probable choices, the first."""
        return self._choices(self.log_softmax().argmax(1).tolist())

    def ranked(self) -> Iterator[tuple[Choices, float]]:
        """All architectures with their log-probability (nats), most probable first, generated one at a time."""
        log_probs = [row[: math.prod(s)] for row, s in zip(self.log_softmax().detach().numpy(), self._shapes())]
        order = [np.argsort(-row, kind='stable') for row in log_probs]
        ordered = [row[o].tolist() for row, o in zip(log_probs, order)]
        for log_prob, at in ranked_products(ordered):
            yield self._choices([int(o[i]) for o, i in zip(order, at)]), log_prob

    @abstractmethod
    def log_probs(self) -> LogProbs:
        """The input of `decode`: one dict of variable -> log-probabilities per group, or one array if joint."""

    @abstractmethod
    def marginals(self) -> list[dict[str, list[float]]]:
        """For each group and variable, the probability of each choice."""

    def save(self, path: str | Path) -> None:
        """Atomically write alpha, the kind of distribution and the choices of the space as safetensors.

        Equal distributions give equal bytes: safetensors itself writes metadata in random order.

        Raises:
            OSError: the file cannot be written, e.g. on a full disk.
        """
        groups = [{v: list(c) for v, c in group.items()} for group in self.space.groups]
        metadata = {'kind': self.kind, 'space': self.space.name, 'groups': json.dumps(groups)}
        content = save({'alpha': self.alpha.detach()})
        size = int.from_bytes(content[:8], 'little')  # of the header, which is JSON padded to a multiple of 8 bytes
        header = json.dumps({**json.loads(content[8 : 8 + size]), '__metadata__': metadata}, sort_keys=True).encode()
        header += b' ' * (-len(header) % 8)
        with replacing(path) as temporary:
            temporary.write_bytes(len(header).to_bytes(8, 'little') + header + content[8 + size :])

    def _choices(self, indices: Sequence[int]) -> Choices:
        """One index per categorical -> one index per group and variable."""
        flat = iter(
            index // stride % size
            for index, strides, shape in zip(indices, self._strides, self._shapes())
            for stride, size in zip(strides, shape)
        )
        return tuple(tuple(itertools.islice(flat, len(group))) for group in self.space.groups)

    def _indices(self, arch: Choices) -> list[int]:
        """One index per group and variable -> one index per categorical."""
        self.space.values(arch)  # raises ValueError if `arch` is not in the space
        flat = iter(k for group in arch for k in group)
        return [sum(stride * next(flat) for stride in strides) for strides in self._strides]


class Factorized(Distribution):
    """P(A) = prod_l prod_m P(A^l_m): one categorical per group and variable (the coarse stage of the search)."""

    kind = 'factorized'

    def _shapes(self) -> list[tuple[int, ...]]:
        return [(len(choices),) for group in self.space.groups for choices in group.values()]

    def log_probs(self) -> list[dict[str, np.ndarray]]:
        rows = iter(self.log_softmax().detach().numpy())
        return [{v: next(rows)[: len(c)].copy() for v, c in group.items()} for group in self.space.groups]

    def marginals(self) -> list[dict[str, list[float]]]:
        return [{v: np.exp(row).tolist() for v, row in group.items()} for group in self.log_probs()]

    def combinations(self, temperature: float = 1.0) -> torch.Tensor:
        log_probs = self.log_softmax(temperature)
        neutral, none = log_probs.new_zeros(1), log_probs.new_full((1,), -math.inf)
        return torch.cat([log_probs.reshape(-1), neutral, none])[self._factors].sum(2).exp()

    @cached_property
    def _factors(self) -> torch.Tensor:
        """For each group, combination and variable, where in the flat `log_softmax` its log-probability is.

        After the last: that of a variable that a group does not have, and of a combination that it does not have.
        """
        neutral = self._rows.numel()
        sizes = [math.prod(map(len, group.values())) for group in self.space.groups]
        width = max(len(group) for group in self.space.groups)
        index = torch.full((len(sizes), max(sizes), width), neutral)
        start = 0
        for rows, size, group in zip(index, sizes, self.space.groups):
            rows[size:, 0] = neutral + 1
            choices = [torch.arange(len(c)) + self._rows.shape[1] * (start + v) for v, c in enumerate(group.values())]
            rows[:size, : len(group)] = torch.cartesian_prod(*choices).reshape(size, -1)
            start += len(group)
        return index

    def to_joint(self) -> 'Joint':
        """The same distribution with one parameter per combination of choices: the exact product of the factors."""
        joint = Joint(self.space)
        logits = []
        for group in self.log_probs():
            total = np.zeros(())
            for factor in group.values():
                total = total[..., None] + factor
            logits.append(total.reshape(-1))
        with torch.no_grad():
            joint.alpha.copy_(torch.from_numpy(np.concatenate(logits)))
        return joint


class Joint(Distribution):
    """P(A) = prod_l P(A^l): one categorical per group over all combinations (the fine stage of the search)."""

    kind = 'joint'

    def _shapes(self) -> list[tuple[int, ...]]:
        return [tuple(len(choices) for choices in group.values()) for group in self.space.groups]

    def log_probs(self) -> list[np.ndarray]:
        rows = self.log_softmax().detach().numpy()
        return [row[: math.prod(shape)].reshape(shape).copy() for row, shape in zip(rows, self._shapes())]

    def combinations(self, temperature: float = 1.0) -> torch.Tensor:
        return self.log_softmax(temperature).exp()

    def marginals(self) -> list[dict[str, list[float]]]:
        out = []
        for group, table in zip(self.space.groups, self.log_probs()):
            probs, axes = np.exp(table), range(table.ndim)
            out.append({v: probs.sum(tuple(a for a in axes if a != i)).tolist() for i, v in enumerate(group)})
        return out


KINDS = {cls.kind: cls for cls in (Factorized, Joint)}


def load_distribution(path: str | Path, space: SearchSpace | None = None) -> Distribution:
    """Load a distribution written by `save`.

    Args:
        path: a safetensors file.
        space: the space that the distribution must cover (default: a plain `SearchSpace` read from the file).

    Raises:
        ValueError: the file is not a saved distribution, or belongs to a different space.
    """
    try:
        with safe_open(path, 'pt') as f:
            metadata, alpha = f.metadata() or {}, f.get_tensor('alpha')
        kind, groups = KINDS[metadata['kind']], json.loads(metadata['groups'])
    except (KeyError, ValueError, SafetensorError) as e:
        raise ValueError(f'{path}: not a distribution of a search ({e})') from None
    if space is None:
        space = SearchSpace(metadata['space'], tuple({v: tuple(c) for v, c in g.items()} for g in groups))
    elif groups != json.loads(json.dumps([dict(g) for g in space.groups])):
        raise ValueError(f'{path}: over space {metadata["space"]!r}, whose choices are not those of {space.name!r}')
    distribution = kind(space)
    if alpha.shape != distribution.alpha.shape or alpha.dtype != torch.float64:
        raise ValueError(f'{path}: alpha has {tuple(alpha.shape)} values, expected {tuple(distribution.alpha.shape)}')
    with torch.no_grad():
        distribution.alpha.copy_(alpha)
    return distribution
