"""Several architectures at once, against the same architectures one after the other."""
import contextlib
import functools
import itertools
import random

import pytest
import torch
import torch.nn.functional as F

from fpnas_timm.arch import Arch
from fpnas_timm.model.shared_pass import Node, score, train, tree
from fpnas_timm.model.supernet import SuperNet
from tests.helpers import one_by_one

from .test_supernet import supernet


def related(net: SuperNet, count: int, seed: int = 0) -> list[Arch]:
    """Architectures many of which begin alike, some of them equal, some but for what does not matter."""
    rng = random.Random(seed)
    found = [net.space.sample(rng)]
    while len(found) < count:
        kept = rng.randrange(4)
        found.append(rng.choice(found)[:kept] + net.space.sample(rng)[kept:])
    bypassed = ((0, 0, 0, 0, 0), *found[0][1:])
    found += [bypassed, ((0, 0, 1, 1, 0), *found[0][1:])]
    return [net.space.to_arch(choices) for choices in found]


def gradients(net: SuperNet) -> dict[str, torch.Tensor | None]:
    found = {name: None if p.grad is None else p.grad.clone() for name, p in net.named_parameters()}
    net.zero_grad()
    return found


def nodes(node: Node) -> list[Node]:
    return [node, *itertools.chain(*map(nodes, node.children))]


@pytest.mark.parametrize('seed', range(6))
def test_the_tree_is_that_of_the_prefixes(seed: int) -> None:
    net = supernet()
    archs = related(net, 20, seed)
    found = nodes(tree(archs))
    prefixes = {arch.blocks[:n] for arch in archs for n in range(1, 4)}
    assert sum(len(node.groups) for node in found) == len(prefixes)
    ends = [node for node in found if not node.children]
    assert sorted(k for node in ends for k in node.members) == list(range(len(archs)))
    assert len(ends) == len(set(archs)) < len(archs)
    assert all(len({archs[k] for k in node.members}) == 1 and node.stop == 3 for node in ends)
    assert all(len(node.children) != 1 and node.groups for node in found[1:])
    assert ends[0].members[0] == 0


@pytest.mark.parametrize('seed', range(6))
def test_losses_and_gradients(seed: int) -> None:
    """Losses to the bit, gradients to 1e-12 of the largest; a weight without gradient has none in both.

    Of the largest of the network, since many are zero but for rounding: a batch norm takes what a bias adds before it.
    """
    net = supernet(dtype=torch.float64)
    archs = related(net, 12, seed)
    images, target = torch.randn(6, 3, 16, 16, dtype=torch.float64), torch.randint(5, (6,))
    weight = torch.rand(len(archs), dtype=torch.float64)  # every architecture has a loss of its own

    def loss_fn(logits: torch.Tensor, k: int) -> torch.Tensor:
        return weight[k] * F.cross_entropy(logits, target)

    args = (net, images, archs, loss_fn, torch.Tensor.backward, contextlib.nullcontext)
    expected, wanted = one_by_one.train(*args), gradients(net)
    assert torch.equal(train(*args), expected)
    found = gradients(net)
    assert [name for name in found if found[name] is None] == [name for name in wanted if wanted[name] is None]
    largest = max(float(grad.abs().max()) for grad in wanted.values() if grad is not None)
    for name, grad in wanted.items():
        if grad is not None:
            torch.testing.assert_close(found[name], grad, rtol=1e-12, atol=1e-12 * largest)
    with torch.no_grad():
        logits = [net(images, arch) for arch in archs]
    scored = list(score(net, images, archs))
    assert len(scored) == len(set(archs))
    for members, one in scored:
        assert not one.requires_grad
        assert all(torch.equal(one, logits[k]) for k in members)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_mixed_precision(dtype: torch.dtype) -> None:
    """The losses of autocast to the bit; the gradients as far from exact ones as those of the plain loop."""
    net = supernet()
    archs = related(net, 8)
    images, target = torch.randn(8, 3, 16, 16), torch.randint(5, (8,))
    scaler = torch.amp.GradScaler('cpu', init_scale=2.0**8, enabled=dtype == torch.float16)
    autocast = functools.partial(torch.autocast, device_type='cpu', dtype=dtype)

    def loss_fn(logits: torch.Tensor, k: int) -> torch.Tensor:
        assert logits.dtype == dtype
        return F.cross_entropy(logits, target)

    def backward(loss: torch.Tensor) -> None:
        scaler.scale(loss / len(archs)).backward()

    expected, loop = one_by_one.train(net, images, archs, loss_fn, backward, autocast), gradients(net)
    assert torch.equal(train(net, images, archs, loss_fn, backward, autocast), expected)
    found = gradients(net)
    scale = scaler.get_scale() if scaler.is_enabled() else 1.0
    one_by_one.train(
        net, images, archs, lambda x, k: F.cross_entropy(x, target), lambda x: (x * scale / len(archs)).backward(),
        contextlib.nullcontext,
    )
    exact = gradients(net)

    def error(grads: dict) -> float:
        return sum(float((grads[n] - g).norm() ** 2) for n, g in exact.items() if g is not None) ** 0.5

    assert error(found) < 1.2 * error(loop)
    for members, logits in score(net, images, archs, autocast):
        with torch.no_grad(), autocast():
            assert torch.equal(net(images, archs[members[0]]), logits)


def test_what_is_common_is_run_once_and_not_modified(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each distinct beginning runs its last group once, and no group writes into the map it is given."""
    net = supernet()
    archs = related(net, 20)
    images, target = torch.randn(4, 3, 16, 16), torch.randint(5, (4,))
    calls, plain = [], net.run_group

    def counted(index: int, x: torch.Tensor, blocks) -> torch.Tensor:
        before, version = x.detach().clone(), x._version
        out = plain(index, x, blocks)
        assert x._version == version and torch.equal(x, before)
        calls.append(index)
        return out

    monkeypatch.setattr(net, 'run_group', counted)
    prefixes = sorted(len(p) - 1 for p in {arch.blocks[:n] for arch in archs for n in range(1, 4)})
    train(net, images, archs, lambda x, k: F.cross_entropy(x, target))
    assert sorted(calls) == prefixes
    calls.clear()
    assert len(list(score(net, images, archs))) == len(set(archs))
    assert sorted(calls) == prefixes


def test_the_first_architecture_is_first() -> None:
    """So that the others can learn from its logits; each position has a loss of its own, equal networks too."""
    net = supernet()
    archs = related(net, 10)
    order = []
    losses = train(
        net, torch.randn(4, 3, 16, 16), [*archs, archs[0]], lambda x, k: order.append(k) or (k + 1) * x.square().mean()
    )
    assert order[:2] == [0, len(archs)]
    assert sorted(order) == list(range(len(archs) + 1))
    torch.testing.assert_close(losses[-1], losses[0] * (len(archs) + 1))


def test_a_loss_that_is_not_finite_is_its_own() -> None:
    net = supernet()
    archs = related(net, 6)
    nan = torch.tensor(float('nan'))
    losses = train(net, torch.randn(4, 3, 16, 16), archs, lambda x, k: x.mean() * (nan if k == 3 else 1))
    assert losses.isfinite().tolist() == [k != 3 for k in range(len(archs))]


def test_no_graph_is_left() -> None:
    """At the end of each forward pass there is the graph of one architecture, and none is left at the end."""
    net = supernet()
    alive = 0

    class Watched(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x: torch.Tensor) -> torch.Tensor:
            nonlocal alive
            alive += 1
            return x.clone()

        @staticmethod
        def backward(ctx, grad: torch.Tensor) -> torch.Tensor:
            nonlocal alive
            alive -= 1
            return grad

    most = 0

    def loss_fn(x: torch.Tensor, k: int) -> torch.Tensor:
        nonlocal most
        most = max(most, alive)
        return x.mean()

    plain = net.run_group
    net.run_group = lambda i, x, blocks: Watched.apply(plain(i, x, blocks))
    train(net, torch.randn(4, 3, 16, 16), related(net, 20), loss_fn)
    assert (most, alive) == (3, 0)
