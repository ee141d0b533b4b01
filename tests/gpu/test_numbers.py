"""Figures of the GPU against those of the CPU in double precision, within stated tolerances.

Float32 without TF32: 1e-5 of the norm of the logits and 1e-4 of that of all gradients, where float32 on a CPU is off
by 1e-6 (TF32 would be by some 1e-4). Mixed precision: 5e-3 (float16) and 3e-2 (bfloat16) of the logits, ten times what
it is on a CPU.
"""
import copy
import random
from collections.abc import Sequence
from pathlib import Path

import pytest
import timm
import torch
import torch.nn.functional as F

import fpnas_timm  # noqa: F401  (registers the models)
from fpnas_timm.model.supernet import SuperNet, recalibrate
from fpnas_timm.search.distribution import Factorized
from fpnas_timm.search.evaluator import SuperNetEvaluator
from fpnas_timm.search.finalists import Candidate, Finalist, Finals
from fpnas_timm.search.options import search_options
from fpnas_timm.search.setup import set_up
from fpnas_timm.spaces import Choices, MBConvSpace, get_space
from fpnas_timm.zoo.strings import ARCHS

from .common import ARCH, DEVICE, error, gradients, images, lively

LOGITS, GRADIENTS = 1e-5, 1e-4


@pytest.mark.parametrize('name', list(ARCHS))
def test_named_models_forward_and_backward(gpu: torch.device, name: str) -> None:
    """In both memory formats. With the running statistics: those of so small a batch would amplify rounding."""
    own = lively(timm.create_model(name, num_classes=10)).eval()
    reference = copy.deepcopy(own).double()
    own = own.to(gpu)
    x, target = images(2, 64), torch.tensor([1, 7])
    expected = reference(x)
    F.cross_entropy(expected, target).backward()
    for memory_format in (torch.contiguous_format, torch.channels_last):
        own, on_gpu = own.to(memory_format=memory_format), x.float().to(gpu, memory_format=memory_format)
        own.zero_grad()
        logits = own(on_gpu)
        assert error(logits, expected) < LOGITS
        F.cross_entropy(logits, target.to(gpu)).backward()
        assert error(gradients(own), gradients(reference)) < GRADIENTS


@pytest.mark.parametrize(('dtype', 'tolerance'), [(torch.float16, 5e-3), (torch.bfloat16, 3e-2)])
@pytest.mark.parametrize('name', ['fpnas_s1pp', 'fpnas_l0'])
def test_mixed_precision_is_near(gpu: torch.device, name: str, dtype: torch.dtype, tolerance: float) -> None:
    own = lively(timm.create_model(name, num_classes=10)).eval()
    x = images(4, 64)
    with torch.no_grad():
        expected = copy.deepcopy(own).double()(x)
        own = own.to(gpu, memory_format=torch.channels_last)
        with torch.autocast(gpu.type, dtype):
            found = own(x.float().to(gpu, memory_format=torch.channels_last))
    assert found.dtype == dtype
    assert error(found, expected) < tolerance


@pytest.mark.parametrize('name', ['fpnas_s2pp', 'fpnas_l0'])
def test_features_only(gpu: torch.device, name: str) -> None:
    own = lively(timm.create_model(name, features_only=True)).eval()
    x = images(2, 96)
    with torch.no_grad():
        expected = copy.deepcopy(own).double()(x)
        found = own.to(gpu)(x.float().to(gpu))
    assert [f.shape for f in found] == [e.shape for e in expected]
    assert max(error(f, e) for f, e in zip(found, expected)) < LOGITS


def test_training_mode_and_its_running_statistics(gpu: torch.device) -> None:
    own = lively(timm.create_model('fpnas', arch=ARCH, num_classes=10)).train()
    reference = copy.deepcopy(own).double()
    own = own.to(gpu)
    x, target = images(16, 16), torch.arange(16) % 10
    F.cross_entropy(own(x.float().to(gpu)), target.to(gpu)).backward()
    F.cross_entropy(reference(x), target).backward()
    assert error(gradients(own), gradients(reference)) < GRADIENTS
    for found, expected in zip(own.buffers(), reference.buffers()):
        assert error(found, expected) < LOGITS


@pytest.mark.parametrize(('name', 'dtype', 'tolerance'), [
    ('tiny', torch.float32, GRADIENTS),
    ('fpnas_s1pp', torch.float64, 1e-9),  # deep, with the statistics of few images: rounding is amplified
])
def test_the_supernet_and_its_gradients(
        gpu: torch.device, space: MBConvSpace, name: str, dtype: torch.dtype, tolerance: float
) -> None:
    """Architectures of all widths, kernels and splits, their gradients added up in the shared weights."""
    space = space if name == 'tiny' else get_space(name).with_img_size(64)
    own = lively(SuperNet(space, num_classes=10))
    reference = copy.deepcopy(own).double()
    own = own.to(gpu, dtype)
    x, target = images(8, space.img_size), torch.arange(8)
    rng = random.Random(0)
    for arch in [space.sample_arch(rng) for _ in range(4)]:
        logits, expected = own(x.to(gpu, dtype), arch), reference(x, arch)
        assert error(logits, expected) < min(LOGITS, tolerance)
        F.cross_entropy(logits, target.to(gpu)).backward()
        F.cross_entropy(expected, target).backward()
    assert error(gradients(own), gradients(reference)) < tolerance


def test_recalibration_of_an_extracted_network(gpu: torch.device, space: MBConvSpace) -> None:
    net = lively(SuperNet(space, num_classes=3))
    batches = [images(8, 16, seed) for seed in range(3)]
    arch = space.sample_arch(random.Random(1))
    expected = copy.deepcopy(net).double().extract(arch).double()
    recalibrate(expected, batches)
    found = net.to(gpu).extract(arch, [batch.float() for batch in batches])
    assert next(found.parameters()).device.type == gpu.type
    for ours, theirs in zip(found.buffers(), expected.buffers()):
        assert error(ours, theirs) < LOGITS
    with torch.no_grad():
        assert error(found(batches[0].float().to(gpu)), expected(batches[0])) < LOGITS


def evaluator(device: str, space: MBConvSpace, data: Path, out: Path) -> SuperNetEvaluator:
    """A new search on a device, the same on each."""
    args = search_options(dict(
        space='tiny', data_dir=str(data), epochs=2, warmup_epochs=1, warmup_lr_epochs=0, batch_size=6, workers=0,
        no_aug=True, lr=0.1, device=device, output=str(out), target_macs=60e3, tolerance=0.3,
    ))
    found = set_up(args, space).evaluator
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    lively(found.net)
    return found


def test_the_evaluator(gpu: torch.device, space: MBConvSpace, tiny_images: Path, tmp_path: Path) -> None:
    """Loss and log-likelihoods of the same architectures on the same images, before and after steps; the decode."""
    found, expected = (
        evaluator(device, space, tiny_images, tmp_path / str(i)) for i, device in enumerate((DEVICE, 'cpu'))
    )
    assert next(found.net.parameters()).device.type == gpu.type
    rng = random.Random(0)
    archs = [space.from_arch(space.sample_arch(rng)) for _ in range(5)]

    def losses(own: SuperNetEvaluator) -> Sequence[float]:
        own.start_epoch(0, 0)
        return [own.train_step(archs[:2]) for _ in range(own.steps_per_epoch)]

    for _ in range(2):
        for own in (found, expected):
            own.start_epoch(0, 0)
        ours, theirs = (own.log_likelihoods(archs) for own in (found, expected))
        assert ours.device.type == 'cpu' and ours.dtype == torch.float64
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-2)
        assert losses(found) == pytest.approx(losses(expected), rel=1e-3)
    distribution = Factorized(space)
    with torch.no_grad():
        distribution.alpha.normal_(generator=torch.Generator().manual_seed(0))
    windows = {'macs': (42_000, 60_000)}
    assert found.decode(distribution, windows, 3) == expected.decode(distribution, windows, 3)
    ours, theirs = (final_of(own, archs[:2]) for own in (found, expected))
    for one, other in zip(ours, theirs):
        assert one.images == other.images == 18
        assert abs(one.top1 - other.top1) < 6  # an image at the border
        assert one.log_likelihood == pytest.approx(other.log_likelihood, rel=1e-2)


def final_of(evaluator: SuperNetEvaluator, archs: Sequence[Choices]) -> Sequence[Finalist]:
    """The scores of some architectures, in the order of their strings."""
    final = Finals(evaluator, [Candidate(arch, None) for arch in archs], 2, 0, 2, lambda *_: pytest.fail('no training'))
    assert final.run()
    return sorted(final.finalists(), key=lambda found: str(found.arch))
