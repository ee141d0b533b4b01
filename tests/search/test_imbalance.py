"""A search on data with rare classes: weights in both losses, balanced batches, and resuming."""
import json
from collections import Counter
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from fpnas_timm.errors import UsageError
from fpnas_timm.runs.imbalance import WeightedCrossEntropy
from fpnas_timm.search.dataset import check_images
from fpnas_timm.search.halves import StepBatches
from fpnas_timm.search.options import search_options
from fpnas_timm.search.run import search
from fpnas_timm.search.setup import Setup, set_up

from .test_api import SETTINGS, SPACE, Colours


class Uneven(Colours):
    """8 red, 4 green and 2 blue images, twice the same."""

    def __init__(self) -> None:
        super().__init__()
        by_class = {c: [item for item in self.items if item[1] == c] for c in range(3)}
        self.items = [item for c, n in ((0, 8), (1, 4), (2, 2)) for item in (by_class[c] * 2)[:n]]


def ready(tmp_path: Path, **options: object) -> Setup:
    args = search_options({'output': str(tmp_path / 'out'), **SETTINGS, **options})
    return set_up(args, SPACE, check_images(Uneven()))


def test_both_losses_are_weighted(tmp_path: Path) -> None:
    """Against torch, on the images of a step; the halves have 4, 2 and 1 images of the classes."""
    setup = ready(tmp_path, class_weights='balanced', batch_size=3, grad_accum_steps=2, smoothing=0.1)
    evaluator, expected = setup.evaluator, torch.tensor([7 / 12, 7 / 6, 7 / 3])
    assert isinstance(evaluator.loss_fn, WeightedCrossEntropy)
    torch.testing.assert_close(evaluator.loss_fn.weight, expected)
    assert evaluator.loss_fn.smoothing == 0.1
    archs = [SPACE.sample(torch.Generator().manual_seed(i)) for i in range(2)]
    evaluator.start_epoch(0, 0)
    sums = evaluator.log_likelihoods(archs)
    plain = ready(tmp_path, batch_size=3, grad_accum_steps=2)
    plain.evaluator.start_epoch(0, 0)
    assert not torch.allclose(plain.evaluator.log_likelihoods(archs), sums)
    by_hand = torch.zeros(2, dtype=torch.float64)
    for images, target in evaluator.val_loader.start(0, 0):
        for k, choices in enumerate(archs):
            with torch.no_grad():
                log_p = F.log_softmax(evaluator.net(images, SPACE.to_arch(choices)).double(), 1)
            by_hand[k] += sum(expected[t] * row[t] for row, t in zip(log_p, target.tolist()))
    torch.testing.assert_close(sums, by_hand, rtol=1e-5, atol=1e-5)


def test_resumed_without_the_file(tmp_path: Path) -> None:
    """The weights are in the folder; a search goes on when the file has changed or gone."""
    path, out = tmp_path / 'w.json', tmp_path / 'out'
    path.write_text(json.dumps({'red': 1, 'green': 2, 'blue': 8}))
    found = search(SPACE, Uneven(), output=out, class_weights=path, **{**SETTINGS, 'batch_size': 3})
    record = json.loads((out / 'halves.json').read_text())
    assert record['class_weights'] == [pytest.approx([w * 7 / 16 for w in (1, 2, 8)])] * 2
    path.unlink()
    assert torch.equal(search(dataset=Uneven(), resume=out).distribution.alpha, found.distribution.alpha)
    (out / 'halves.json').write_text(json.dumps({**record, 'class_weights': None}))
    with pytest.raises(UsageError, match='cannot be read'):
        search(dataset=Uneven(), resume=out)
    args = (out / 'args.yaml').read_text()
    (out / 'args.yaml').write_text(args.replace(f'class_weights: {path}', 'class_weights: balanced'))
    with pytest.raises(UsageError, match='the weights of the classes changed since it started'):
        search(dataset=Uneven(), resume=out)


def test_balanced_batches(tmp_path: Path) -> None:
    """Both halves draw their classes equally often, from any step on the same, and the processes share the draws."""
    setup = ready(tmp_path, balanced_sampling=True, batch_size=3)
    for loader in (setup.evaluator.train_loader, setup.evaluator.val_loader):
        counts = Counter(t for epoch in range(40) for _, target in loader.start(epoch, 0) for t in target.tolist())
        assert all(abs(counts[c] - 80) < 4 * (240 * 2 / 9) ** 0.5 for c in range(3))
    targets = [0] * 9 + [1] * 3
    one = list(StepBatches(12, 2, (1,), accum_steps=2, targets=targets))
    two = [list(StepBatches(12, 2, (1,), rank=rank, world_size=2, targets=targets)) for rank in range(2)]
    assert one == [batch for pair in zip(*two) for batch in pair]
    later = StepBatches(12, 2, (1,), accum_steps=2, targets=targets)
    later.first_step = 1
    assert list(later) == one[2:]
    with pytest.raises(UsageError, match='correct for the same thing'):
        ready(tmp_path, balanced_sampling=True, class_weights='balanced')
