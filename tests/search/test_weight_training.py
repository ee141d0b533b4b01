"""How the supernet's weights are trained: gradients by hand in float64, the average by its formula, resuming."""
import contextlib
import copy
import math
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F

from fpnas_timm.arch import Arch, Conv
from fpnas_timm.errors import NonFiniteError, RunError, UsageError
from fpnas_timm.model.supernet import SuperNet
from fpnas_timm.runs.imbalance import WeightedCrossEntropy
from fpnas_timm.search.dataset import check_images
from fpnas_timm.search.evaluator import SuperNetEvaluator
from fpnas_timm.search.loop import Search, SearchConfig
from fpnas_timm.search.options import search_options
from fpnas_timm.search.run import search
from fpnas_timm.search.setup import set_up
from fpnas_timm.search.weight_training import StepArchs, WeightAverage
from fpnas_timm.spaces import MBConvSpace, Row
from fpnas_timm.spaces.around import largest_arch, smallest_arch, space_around
from fpnas_timm.transfer.supernet import start_supernet

from .test_api import SETTINGS, SPACE, Colours

LARGEST = 'i16-cn_r1_k3_s2_c8_nsw-ir_r1_k3_s1_e2_c8_nre_sp2-ir_r1_k3_s2_e2_c12_nre_sp2-cn_r1_k1_s1_c16_nsw'
SMALLEST = 'i16-cn_r1_k3_s2_c8_nsw-ir_r1_k3_s1_e1_c4_nre-ir_r1_k3_s2_e2_c8_nre-cn_r1_k1_s1_c16_nsw'
SANDWICH: dict[str, Any] = {'weight_archs': 'sandwich', 'weight_draws': 'uniform', 'distill': 0.5, 'weight_ema': 0.9}


class Batches:
    """The same batches in every epoch, as a `HalfLoader` has them."""

    def __init__(self, seed: int, steps: int = 6, dtype: torch.dtype = torch.float64) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.steps = steps
        self.batches = [
            (torch.randn(5, 3, 16, 16, generator=generator, dtype=dtype), torch.randint(3, (5,), generator=generator))
            for _ in range(steps)
        ]

    def start(self, epoch: int, step: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        return iter(self.batches[step:])

    def close(self) -> None:
        pass


def evaluator_of(
        net: SuperNet | None = None, dtype: torch.dtype = torch.float64, **kwargs: Any
) -> SuperNetEvaluator:
    torch.manual_seed(0)
    net = (SuperNet(SPACE, 3) if net is None else net).to(dtype)
    given = {'loss_fn': torch.nn.CrossEntropyLoss(), 'optimizer': torch.optim.SGD(net.parameters(), lr=0.1), **kwargs}
    evaluator = SuperNetEvaluator(
        net, Batches(1, dtype=dtype), Batches(2, dtype=dtype), scheduler=None, autocast=contextlib.nullcontext,
        scaler=torch.amp.GradScaler('cpu', enabled=False), **given,
    )
    evaluator.start_epoch(0, 0)
    return evaluator


def sampled(count: int) -> list:
    generator = torch.Generator().manual_seed(5)
    return [SPACE.sample(generator) for _ in range(count)]


def plain_acts(arch: Arch) -> str:
    return str(arch).replace('_nsw', '_nre')


def test_the_largest_and_the_smallest() -> None:
    """Nothing in the space costs more or less, except with a bypass; a group of bypasses alone stays one."""
    assert (str(largest_arch(SPACE)), str(smallest_arch(SPACE))) == (LARGEST, SMALLEST)
    only = MBConvSpace.from_rows(
        'only', Conv(3, 2, 8, 're'), [Row((1, 2), (4, 8), 2, 1, (0,), ('re',), (0, 2))], Conv(1, 1, 16, 're'), 16
    )
    assert str(smallest_arch(only)) == 'i16-cn_r1_k3_s2_c8_nre-ir_r1_k0_s1_e1_c4_nre-cn_r1_k1_s1_c16_nre'


def test_the_architectures_of_a_step() -> None:
    """The largest first, the smallest last, with all non-linearities; the others as given or uniform."""
    given = sampled(2)
    assert StepArchs(SPACE)(given) == given
    beside = StepArchs(SPACE, 'largest')(given)
    assert beside[1:] == given
    rule = StepArchs(SPACE, 'sandwich', 'uniform', seed=3)
    seen: dict[str, set[str]] = {'largest': set(), 'others': set(), 'smallest': set()}
    for _ in range(60):
        first, a, b, last = (SPACE.to_arch(choices) for choices in rule(given))
        assert plain_acts(first) == LARGEST.replace('_nsw', '_nre')
        assert plain_acts(last) == SMALLEST.replace('_nsw', '_nre')
        seen['largest'].add(str(first))
        seen['smallest'].add(str(last))
        seen['others'] |= {str(a), str(b)}
    assert len(seen['largest']) == len(seen['smallest']) == 4 and len(seen['others']) > 40
    with pytest.raises(UsageError, match=r"^weight_archs 'sandwhich': expected one of sampled, largest, sandwich$"):
        StepArchs(SPACE, 'sandwhich')


@pytest.mark.parametrize('weights', [None, [0.5, 2.0, 1.0]])
@pytest.mark.parametrize('distill', [0.0, 0.3, 1.0])
def test_the_gradient_of_a_sandwich_step(distill: float, weights: list[float] | None) -> None:
    """Over two accumulated batches, against sums over images and classes."""
    loss_fn = torch.nn.CrossEntropyLoss() if weights is None else WeightedCrossEntropy(weights)
    evaluator = evaluator_of(weight_archs='sandwich', distill=distill, accum_steps=2, loss_fn=loss_fn)
    net, archs = copy.deepcopy(evaluator.net), sampled(2)
    rule = StepArchs(SPACE, 'sandwich')
    step = [SPACE.to_arch(choices) for choices in rule(archs)]
    w = torch.tensor(weights or [1.0, 1.0, 1.0], dtype=torch.float64)
    total = torch.zeros((), dtype=torch.float64)
    for images, target in evaluator.train_loader.start(0, 0):
        if target is evaluator.train_loader.batches[2][1]:  # type: ignore[attr-defined]
            break
        p = net(images, step[0]).softmax(1).detach()
        for k, arch in enumerate(step):
            q = net(images, arch).softmax(1)
            for i, t in enumerate(target.tolist()):
                labels, soft = -w[t] * q[i, t].log(), w[t] * sum(p[i, c] * (p[i, c] / q[i, c]).log() for c in range(3))
                total = total + (labels if k == 0 else (1 - distill) * labels + distill * soft) / (5 * 2 * 4)
    total.backward()
    loss = evaluator.train_step(archs)
    precision = 1e-9 if weights is None else 1e-5  # `WeightedCrossEntropy` computes in float32
    assert loss == pytest.approx(float(total.detach()), rel=1e-5)
    for ours, theirs in zip(evaluator.net.parameters(), net.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=precision, atol=precision)


def test_a_network_that_the_supernet_starts_from_is_the_first_teacher() -> None:
    """In training mode, since a supernet normalises with the statistics of the batch."""
    torch.manual_seed(1)
    source = timm.create_model('fpnas', arch=LARGEST.replace('_nre', '_nsw'), num_classes=3)
    space = space_around(source.arch)
    net = SuperNet(space, 3)
    assert start_supernet(net, source.eval())
    evaluator = evaluator_of(net=net, dtype=torch.float32, weight_archs='largest', distill=1.0)
    evaluator.train_step([space.sample(torch.Generator().manual_seed(0))])
    with torch.no_grad():
        expected = source.train()(evaluator.train_loader.batches[0][0]).log_softmax(1)  # type: ignore[attr-defined]
    torch.testing.assert_close(evaluator.step_loss._teacher, expected, rtol=1e-4, atol=1e-5)


def test_the_average_of_the_weights() -> None:
    """By the formula, with one term per update; it scores, and the result is extracted from it."""
    evaluator = evaluator_of(weight_ema=0.3)
    assert evaluator.scored is evaluator.net
    past = []
    for _ in range(6):
        evaluator.train_step(sampled(2))
        past.append([p.detach().clone() for p in evaluator.net.parameters()])
    shares = []  # of each update in the average
    for t in range(1, 7):
        decay = min(0.3, (t - 1) / (t + 8))
        shares = [share * decay for share in shares] + [1 - decay]
    assert sum(shares) == pytest.approx(1) and shares[0] < 1e-3
    for i, p in enumerate(evaluator.scored.parameters()):
        torch.testing.assert_close(p.data, sum(share * weights[i] for share, weights in zip(shares, past)))
        assert not p.requires_grad
    arch = sampled(1)
    images, target = evaluator.val_loader.batches[0]  # type: ignore[attr-defined]
    with torch.no_grad():
        logits = evaluator.scored(images, SPACE.to_arch(arch[0]))
    assert float(evaluator.log_likelihoods(arch)) == pytest.approx(
        -float(F.cross_entropy(logits.float(), target, reduction='sum'))
    )


def test_an_average_of_one_update() -> None:
    """It starts at the weights, not at the initial ones."""
    net = SuperNet(SPACE, 3)
    average = WeightAverage(net, 0.999)
    for p in net.parameters():
        p.data += 1
    average.update(net, 1)
    for ours, theirs in zip(average.net.parameters(), net.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_the_architecture_that_is_not_finite_is_named() -> None:
    """Also when it is none of those that the search sampled."""
    evaluator = evaluator_of(weight_archs='largest')
    with torch.no_grad():
        group = evaluator.net.groups[1][0]
        group.conv_pwl.bn.weight[11] = math.nan  # type: ignore[union-attr]
    small = SPACE.from_arch(smallest_arch(SPACE))
    with pytest.raises(NonFiniteError) as e:
        evaluator.train_step([small, small])
    assert [math.isnan(v) for v in e.value.values] == [True, False, False]
    looped = Search(SPACE, evaluator, SearchConfig(epochs=1, num_samples=2, weight_samples=1))
    looped.distribution.alpha.data.fill_(0)
    with pytest.raises(RunError, match=r'the training loss is nan at epoch 1, step 1, for i16-.*_c8_n.._sp2-.*_c12_'):
        looped.run()


@pytest.mark.parametrize('settings', [
    SANDWICH,
    {
        'weight_archs': 'largest', 'distill': 1.0, 'weight_samples': 1, 'weight_draws': 'budget', 'target_macs': 42_000,
        'opt': 'adamw', 'lr': 1e-3, 'amp': True, 'amp_dtype': 'bfloat16', 'tolerance': 0.1,
    },
])
def test_stopped_and_resumed(settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A search that stopped in the middle ends with the same distribution and weights as one that did not."""
    options = {**SETTINGS, **settings, 'batch_size': 2}
    whole = search(SPACE, Colours(), output=tmp_path / 'whole', **options)
    taken, step = [], Search._take_step

    def interrupted(self: Search) -> dict[str, float]:
        taken.append(1)
        if len(taken) == 5:  # of two epochs of three steps
            signal.raise_signal(signal.SIGINT)
        return step(self)

    with monkeypatch.context() as patch:
        patch.setattr(Search, '_take_step', interrupted)
        with pytest.raises(KeyboardInterrupt):
            search(SPACE, Colours(), output=tmp_path / 'out', **options)
    assert len(taken) == 5
    again = search(dataset=Colours(), resume=tmp_path / 'out')
    assert torch.equal(again.distribution.alpha, whole.distribution.alpha)
    states = [torch.load(tmp_path / n / 'last.pt', weights_only=True)['evaluator'] for n in ('whole', 'out')]
    for name in ('net', 'average'):
        a, b = (state[name] or {} for state in states)
        assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)
    assert (states[0]['average'] is None) == ('weight_ema' not in settings)
    assert torch.equal(*(state['step_archs']['generator'] for state in states))
    for ours, theirs in zip(again.model().parameters(), whole.model().parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_the_options_reach_the_evaluator(tmp_path: Path) -> None:
    def ready(**options: Any) -> tuple[SuperNetEvaluator, SearchConfig]:
        args = search_options({'output': str(tmp_path / 'out'), **SETTINGS, **options})
        setup = set_up(args, SPACE, check_images(Colours()))
        return setup.evaluator, setup.search.config

    evaluator, config = ready(**SANDWICH)
    assert evaluator.step_loss.distill == 0.5 and evaluator.step_archs.draw == SPACE.sample
    assert evaluator.average is not None and evaluator.average.decay == 0.9
    assert config.weight_samples == 2
    assert ready(weight_archs='largest', weight_samples=3)[1].weight_samples == 3
    evaluator, config = ready()
    assert evaluator.average is None and config.weight_samples is None
    assert evaluator.step_archs(sampled(2)) == sampled(2)


@pytest.mark.parametrize('strategy', ['fp-nas', 'random'])
def test_weights_trained_near_the_budget(strategy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All trained architectures but the largest are within a window that few are in."""
    trained, inside = [], [42_000 * 0.95, 42_000 * 1.05]
    monkeypatch.setattr('fpnas_timm.search.evaluator.shared_pass.train', lambda net, images, archs, *_: (
        trained.append(archs), torch.zeros(len(archs)))[1])
    args = search_options({
        'output': str(tmp_path / 'out'), **SETTINGS, 'strategy': strategy, 'weight_draws': 'budget',
        'target_macs': 42_000, 'tolerance': 0.3, 'weight_window': 0.05, 'weight_archs': 'largest', 'weight_samples': 3,
        'warmup_epochs': None,
    })
    evaluator = set_up(args, SPACE, check_images(Colours())).evaluator
    evaluator.start_epoch(0, 0)
    generator = torch.Generator().manual_seed(0)
    given = [SPACE.sample(generator) for _ in range(300)]
    assert 0 < sum(inside[0] <= evaluator.cost(a) <= inside[1] for a in given) < 60
    for p in evaluator.net.parameters():
        p.grad = torch.zeros_like(p)
    evaluator.train_step(given)
    (step,) = trained
    costs = [evaluator.full_cost(arch).macs for arch in step]
    assert len(costs) == 301 and costs[0] == max(costs)
    assert all(inside[0] <= c <= inside[1] for c in costs[1:])
    assert len(set(map(str, step[1:]))) == 32  # all that there are
    with pytest.raises(UsageError, match=r'^weight_window: .*multiply-adds'):
        StepArchs(SPACE, draws='budget', window=(1, 2), num_classes=3)
    with pytest.raises(UsageError, match=r"^weight_draws 'budget': expected a window"):
        StepArchs(SPACE, draws='budget')


@pytest.mark.parametrize(('options', 'message'), [
    ({'distill': 0.5}, '--distill 0.5: the others learn from the largest architecture, which is not in the step: '
                       'expected --weight-archs sandwich or largest'),
    ({'distill': 1.5, 'weight_archs': 'sandwich'}, '1.5: expected 0 to 1'),
    ({'weight_ema': 1}, '1: expected 0 or more and less than 1'),
    ({'weight_archs': 'sandwhich'}, "'sandwhich': expected one of sampled, largest, sandwich; did you mean sandwich?"),
    ({'weight_draws': 'unifrom'}, "'unifrom': expected one of search, uniform, budget; did you mean uniform?"),
    ({'weight_draws': 'budget'}, '--weight-draws budget: expected --target-macs, the budget'),
    ({'weight_draws': 'budget', 'target_macs': '3M', 'weight_window': 0}, '0: expected more than 0 and less than 1'),
])
def test_wrong_options(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as e:
        search_options({'output': str(tmp_path / 'out'), **options})
    assert message in str(e.value)
    assert not (tmp_path / 'out').exists()
    if 'distill' in options and 'weight_archs' not in options:
        with pytest.raises(UsageError, match=r'^distill 0\.5: .* expected weight_archs sandwich$'):
            evaluator_of(distill=0.5)
