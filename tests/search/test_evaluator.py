"""A step of the supernet's evaluator, against one that runs the architectures one after the other."""
import math
import random
from pathlib import Path

import pytest
import torch

from fpnas_timm.errors import NonFiniteError
from fpnas_timm.search.evaluator import SuperNetEvaluator
from fpnas_timm.search.options import search_options
from fpnas_timm.search.setup import set_up
from fpnas_timm.spaces import Choices
from tests.helpers import one_by_one

from .test_api import SETTINGS, SPACE


def evaluator(data: Path, out: Path, double: bool, **options: object) -> SuperNetEvaluator:
    setup = set_up(search_options({'data_dir': str(data), 'output': str(out), **SETTINGS, **options}), SPACE)
    found = setup.evaluator
    if double:
        for net in (found.net, *([found.average.net] if found.average else [])):
            net.double()
        following = found._next
        found._next = lambda batches: (lambda images, target: (images.double(), target))(*following(batches))
    found.start_epoch(0, 0)
    return found


def sampled(count: int, seed: int) -> list[Choices]:
    """Architectures that begin alike, some of them equal."""
    rng = random.Random(seed)
    found = [SPACE.sample(rng)]
    while len(found) < count:
        kept = rng.randrange(len(SPACE.groups) + 1)
        found.append(rng.choice(found)[:kept] + SPACE.sample(rng)[kept:])
    return found


@pytest.mark.parametrize('options', [
    {}, {'grad_accum_steps': 2}, {'amp': True, 'amp_dtype': 'bfloat16'}, {'amp': True, 'amp_dtype': 'float16'},
    {'smoothing': 0.1, 'clip_grad': 0.1}, {'weight_archs': 'sandwich', 'distill': 0.5, 'weight_ema': 0.9},
], ids=str)
def test_a_step_is_that_of_one_architecture_after_the_other(
        options: dict, tiny_images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Losses and log-likelihoods to the bit, the gradient to rounding."""
    exact = 'amp' not in options
    shared, plain = (evaluator(tiny_images, tmp_path / name, exact, **options) for name in 'ab')
    archs = sampled(9, 0)
    assert len(set(archs)) < len(archs)
    losses = shared.train_step(archs)
    likelihoods = shared.log_likelihoods(archs)
    with monkeypatch.context() as patch:
        patch.setattr('fpnas_timm.search.evaluator.shared_pass', one_by_one)
        assert plain.train_step(archs) == losses
        assert shared.scaler.get_scale() == plain.scaler.get_scale()
        if exact:
            for a, b in zip(shared.optimizer.state.values(), plain.optimizer.state.values(), strict=True):
                torch.testing.assert_close(a['momentum_buffer'], b['momentum_buffer'], rtol=1e-12, atol=1e-12)
        plain.load_state_dict(shared.state_dict())
        assert torch.equal(plain.log_likelihoods(archs), likelihoods)


def test_a_loss_that_is_not_finite_has_its_place(
        tiny_images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = evaluator(tiny_images, tmp_path / 'out', False)
    archs = sampled(5, 1)
    before = [p.clone() for p in found.net.parameters()]
    last = found.net.space.to_arch(archs[3]).blocks[-1]
    plain = found.net.run_group
    monkeypatch.setattr(
        found.net, 'run_group', lambda i, x, blocks: plain(i, x, blocks) * (math.nan if blocks == last else 1)
    )
    with pytest.raises(NonFiniteError, match='the training loss') as caught:
        found.train_step(archs)
    bad = [math.isnan(value) for value in caught.value.values]
    assert bad == [found.net.space.to_arch(a).blocks[-1] == last for a in archs]
    assert 0 < sum(bad) < len(archs)
    assert all(torch.equal(a, b) for a, b in zip(before, found.net.parameters()))
