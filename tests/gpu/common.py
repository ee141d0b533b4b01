"""What the tests on a GPU share: the device, small networks with lively weights, and how figures are compared."""
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

ROOT = Path(__file__).parents[2]
# FPNAS_GPU_TESTS=cpu: a rehearsal on a machine without a GPU; what only CUDA has is skipped
DEVICE = os.environ.get('FPNAS_GPU_TESTS', 'cuda')
ON_GPU = DEVICE.startswith('cuda')
ARCH = 'i16-cn_r1_k3_s2_c8_nsw-ir_r1_k3_s1_e2_c8_nre_sp1-ir_r2_k3_s2_e2_c16_nsw_sp2-cn_r1_k1_s1_c32_nsw'
SMALL_ARCH = 'i16-cn_r1_k3_s2_c8_nsw-ir_r1_k3_s2_e2_c16_nsw_sp2-cn_r1_k1_s1_c32_nsw'
TRAIN = [
    '--model', 'fpnas', '--num-classes', '3', '--device', DEVICE, '-b', '8', '-vb', '12', '-j', '0', '--no-aug',
    '--opt', 'adamw', '--lr', '0.01', '--warmup-epochs', '0', '--model-kwargs', f'arch={ARCH}',
]

Model = TypeVar('Model', bound=nn.Module)


def lively(model: Model, seed: int = 0) -> Model:
    """Random weights that keep the scale, and batch norms that are no identities; in place."""
    generator = torch.Generator().manual_seed(seed)  # of the CPU, also for a model on the GPU: the same weights there

    def normal(values: torch.Tensor, std: float) -> None:
        values.copy_(torch.empty(values.shape, dtype=values.dtype).normal_(0, std, generator=generator))

    def uniform(values: torch.Tensor) -> None:
        values.copy_(torch.empty(values.shape, dtype=values.dtype).uniform_(0.5, 1.5, generator=generator))

    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                uniform(module.weight)
                normal(module.bias, 0.2)
                if module.running_mean is not None and module.running_var is not None:
                    normal(module.running_mean, 0.2)
                    uniform(module.running_var)
            elif isinstance(module, (nn.Conv2d, nn.Linear)):
                normal(module.weight, module.weight[0].numel() ** -0.5)
    return model


def images(batch: int, size: int, seed: int = 1) -> torch.Tensor:
    """Random images (B, 3, size, size) on the CPU, in double precision."""
    return torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


def error(found: torch.Tensor, expected: torch.Tensor) -> float:
    """||found - expected|| / ||expected||; infinite if a value is not finite."""
    found, expected = found.detach().cpu().double(), expected.detach().cpu().double()
    if found.shape != expected.shape or not found.isfinite().all():
        return float('inf')
    return float((found - expected).norm() / expected.norm().clamp_min(1e-30))


def gradients(model: nn.Module) -> torch.Tensor:
    """All gradients in one vector."""
    return torch.cat([p.grad.detach().cpu().double().flatten() for p in model.parameters() if p.grad is not None])


def python(*args: str, **kwargs: Any) -> subprocess.Popen:
    """Start Python in a process of its own, which imports this checkout."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get('PYTHONPATH')])])
    return subprocess.Popen(
        [sys.executable, *args], cwd=ROOT, env={**os.environ, 'PYTHONPATH': path, 'PYTHONUNBUFFERED': '1'}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **kwargs,
    )


def at(folder: Path, name: str = 'run') -> list[str]:
    """The options that write a training run into `folder/name`."""
    return ['--output', str(folder), '--experiment', name]


def weights_of(folder: Path, name: str = 'last.pth.tar') -> dict[str, torch.Tensor]:
    """The weights in a checkpoint of a training run."""
    return torch.load(folder / name, map_location='cpu', weights_only=True)['state_dict']


def same_weights(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> Sequence[str]:
    """Names of the tensors that differ in a bit."""
    return [name for name in one if not torch.equal(one[name], other[name])]
