"""The evaluator of a search around a trained network whose sub-networks are fitted by least squares, not trained.

The labels are the source's: the log-likelihood of an architecture is that of the class probabilities that the source
gives to the images, so the classes of the images need not be the source's. Nothing is trained: a step only scores.
"""
import copy
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, cast

import torch
from timm.utils.model import reparameterize_model

from ..arch import Arch
from ..model.blocks import to_fast_memory_format
from ..model.network import FPNAS
from ..runs.checkpoints import random_state, set_random_state
from ..runs.processes import log_on_primary
from ..runs.progress import open_bar
from ..spaces import Choices
from ..transfer.fitted import FittedSuperNet
from ..transfer.images import NUM_IMAGES
from ..transfer.layers import units_of
from ..transfer.repair import num_images_that_fit
from ..transfer.sources import Source
from .halves import HalfLoader
from .image_evaluator import ImageEvaluator, on_cpu
from .work_split import WorkSplit

__all__ = ['MAX_IMAGES', 'FittedEvaluator']

MAX_IMAGES = 4 * NUM_IMAGES  # images of the training half that the classifier is fitted to

_logger = logging.getLogger('search')


class FittedEvaluator(ImageEvaluator):
    """An `Evaluator` (see `loop.py`) that scores the sub-networks of a `FittedSuperNet`."""

    def __init__(
            self,
            net: FittedSuperNet,
            train_loader: HalfLoader,
            val_loader: HalfLoader,
            fit_loader: HalfLoader,
            autocast: Callable[[], AbstractContextManager],
            accum_steps: int = 1,
            cost_classes: int | None = None,
            split: WorkSplit | None = None,
            memory_format: torch.memory_format = torch.contiguous_format,
            val_class_weights: Sequence[float] | None = None,
    ) -> None:
        """
        Args:
            net: the supernet, on its device; `fit` it, or restore it with `load_state_dict`.
            train_loader: batches of the half that trains the weights; only their number is used.
            val_loader: batches of the half that trains alpha.
            fit_loader: images of the half that trains the weights, in random order, without augmentation.
            autocast: context manager for forward passes.
            accum_steps: batches per step and process.
            cost_classes: number of classes assumed for the multiply-adds.
            split: what this process does of a step's work.
            memory_format: memory format of the images.
            val_class_weights: weights of the images' classes in the log-likelihood; all 1 if None.
        """
        super().__init__(
            net, net.classifier.weight.device, train_loader, val_loader, autocast, accum_steps, cost_classes, split,
            memory_format, val_class_weights,
        )
        self.net, self.fit_loader = net, fit_loader
        self._images: torch.Tensor | None = None
        self._folded: FittedSuperNet | None = None

    @property
    def scored(self) -> FittedSuperNet:  # type: ignore[override]
        """The fitted supernet, from which the result is extracted."""
        return self.net

    def close(self) -> None:
        """End the DataLoader workers, also those of an interrupted fit."""
        super().close()
        self.fit_loader.close()

    def train_step(self, archs: Sequence[Choices]) -> None:
        """There are no weights to train."""

    def folded(self) -> FittedSuperNet:
        """The supernet with its batch norms folded into the convolutions: the same outputs within rounding, in three
        quarters of the time.
        """
        if self._folded is None:
            self._folded = cast(FittedSuperNet, reparameterize_model(copy.deepcopy(self.net)))
        return self._folded

    @torch.no_grad()
    def log_likelihoods(self, archs: Sequence[Choices]) -> torch.Tensor:
        """sum over images and classes of p(c) log P(c|x, A_k), p those of the source; float64, (K,)."""
        net, networks = self.folded(), [self._arch(arch) for arch in archs]
        sums = torch.zeros(len(archs), dtype=torch.float64, device=self.device)
        own = self.split.own(networks)
        for _ in range(self.accum_steps):
            images, classes = self.val_batch()
            with self.autocast():
                labels = net.labels(images).float()
            if self.val_class_weights is not None:
                labels = labels * self.val_class_weights[classes].unsqueeze(1)
            for k in own:
                with self.autocast():
                    logits = net(images, networks[k])
                sums[k] += (labels * logits.float().log_softmax(1)).sum()
        return on_cpu(self.split.gathered(sums)).sum(0)

    def state_dict(self) -> dict[str, Any]:
        """The fitted weights, with the source's, and the states of the random generators."""
        return {'net': self.net.state_dict(), 'random': random_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state returned by `state_dict`."""
        self.net.load_state_dict(state['net'])
        self._folded = None
        set_random_state(state['random'])

    def images(self) -> torch.Tensor:
        """The images that networks are fitted to (N, C, H, W); the same on all processes.

        N is at most `NUM_IMAGES`; of large images, as many as have feature maps of about a gigabyte.
        """
        if self._images is None:
            count, parts = NUM_IMAGES, list[torch.Tensor]()
            for batch, _ in self.fit_loader.once():
                height, width = batch.shape[-2:]
                count = min(count, num_images_that_fit(self.net.source, units_of(self.net.source), height, width))
                parts.append(batch.to(self.device))
                if sum(len(part) for part in parts) >= count:
                    break
            self.fit_loader.close()
            self._images = torch.cat(parts)[:count]
        return self._images

    def network(self, arch: Arch) -> FPNAS:
        """The stand-alone network of an architecture, fitted as a whole, in eval mode."""
        return self.net.extract(arch, [self.images()])

    @torch.no_grad()
    def fit(
            self, source: Source, seed: int, shows_bar: bool = False, contexts: Sequence[Arch] | None = None
    ) -> None:
        """Fit the supernet and its classifier to a source.

        Args:
            source: the trained network.
            seed: seed of the random sub-networks.
            contexts: as in `FittedSuperNet.fit`.
            shows_bar: show a progress bar on the standard error.

        Raises:
            UsageError: the space is not around the source, or the source has no classifier.
        """
        started, self._folded = time.monotonic(), None
        model, net, some = source.model.to(self.device).eval(), self.net, self.images()
        with open_bar(name='fitting the blocks', total=len(net.space.rows), hidden=not shows_bar) as bar:
            for done, _ in net.fit(model, some, seed, contexts):
                bar.update(done - bar.n)
        features, classes = [], []
        for batch, target in self.fit_loader.once():
            maps = model.forward_features(to_fast_memory_format(batch.to(self.device)))
            features.append(model.forward_head(maps, pre_logits=True))
            classes.append(target.to(self.device))
        self.fit_loader.close()
        net.fit_classifier(torch.cat(features), torch.cat(classes))
        count = sum(len(part) for part in classes)
        log_on_primary(
            _logger,
            f'the sub-networks of {source.name} are fitted to {len(some):,} images of the half that trains the '
            f'weights, a classifier of {net.num_classes} classes to {count:,}, in {time.monotonic() - started:.0f} s; '
            "architectures are compared by how well they predict the source's outputs",
        )
