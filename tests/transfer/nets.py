"""Networks with lively weights, for the tests of the transfer."""
from typing import TypeVar

import torch
from torch import nn

Model = TypeVar('Model', bound=nn.Module)


def lively(model: Model, seed: int = 0) -> Model:
    """Random weights and batch-norm statistics as after a training, in double precision and eval mode; in place."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, 0, 0.2, generator=generator)
            nn.init.uniform_(module.running_var, 0.5, 1.5, generator=generator)
            nn.init.uniform_(module.weight, 0.5, 1.5, generator=generator)
            nn.init.normal_(module.bias, 0, 0.2, generator=generator)
        elif isinstance(module, nn.Conv2d):
            fan_in = module.weight[0].numel()
            nn.init.normal_(module.weight, 0, fan_in**-0.5, generator=generator)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0, module.in_features**-0.5, generator=generator)
    return model.double().eval()


def images(size: int, batch: int = 2, in_chans: int = 3) -> torch.Tensor:
    """Random images (B, C, size, size) in double precision."""
    return torch.randn(batch, in_chans, size, size, generator=torch.Generator().manual_seed(1), dtype=torch.double)


def relative_error(a: torch.Tensor, b: torch.Tensor) -> float:
    """The largest difference, relative to the largest value of `a`."""
    return float(((a - b).abs().max() / a.abs().max()).detach())
