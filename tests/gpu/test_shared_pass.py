"""Several architectures at once on the GPU: the numbers of one after the other, and about the memory of one."""
import random

import pytest
import torch
import torch.nn.functional as F

from fpnas_timm.arch import Arch
from fpnas_timm.model import shared_pass
from fpnas_timm.model.supernet import SuperNet
from fpnas_timm.spaces import MBConvSpace

from .common import ON_GPU, error, gradients, images, lively


def sampled(space: MBConvSpace, count: int) -> list[Arch]:
    """Architectures that begin alike, some of them equal."""
    rng = random.Random(0)
    found = [space.sample(rng)]
    while len(found) < count:
        kept = rng.randrange(len(space.groups) + 1)
        found.append(rng.choice(found)[:kept] + space.sample(rng)[kept:])
    return [space.to_arch(choices) for choices in found]


def test_losses_and_gradients(gpu: torch.device, space: MBConvSpace) -> None:
    net = lively(SuperNet(space, 3)).double().to(gpu)
    x, target = images(6, 16).to(gpu), torch.arange(6, device=gpu) % 3
    archs = sampled(space, 10)
    losses = []
    for arch in archs:
        losses.append(F.cross_entropy(net(x, arch), target))
        losses[-1].backward()
    expected = gradients(net)
    net.zero_grad()
    assert error(shared_pass.train(net, x, archs, lambda logits, _: F.cross_entropy(logits, target)),
                 torch.stack(losses)) < 1e-10
    assert error(gradients(net), expected) < 1e-9
    for members, logits in shared_pass.score(net, x, archs):
        with torch.no_grad():
            assert error(logits, net(x, archs[members[0]])) < 1e-10


@pytest.mark.skipif(not ON_GPU, reason='CUDA counts its memory')
def test_memory(gpu: torch.device, space: MBConvSpace) -> None:
    """The peak of eight architectures is that of one, and of the gradients where they part."""
    net = lively(SuperNet(space, 3)).to(gpu)
    x, target = images(64, 64).float().to(gpu), torch.zeros(64, dtype=torch.long, device=gpu)
    archs = sampled(space, 8)

    def loss_fn(logits: torch.Tensor, k: int) -> torch.Tensor:
        return F.cross_entropy(logits, target)

    def plain() -> None:
        for arch in archs:
            loss_fn(net(x, arch), 0).backward()

    peaks = []
    for run in (plain, lambda: shared_pass.train(net, x, archs, loss_fn)):
        run()  # workspaces and gradients are there from now on
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        torch.cuda.synchronize()
        peaks.append(torch.cuda.max_memory_allocated() - before)
    assert peaks[1] < 1.5 * peaks[0], peaks
