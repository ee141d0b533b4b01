"""Small networks that the tests of this folder share: strings of every kind of group, lively weights, images."""
import pytest
import timm
import torch
from torch import nn

# every kind of group; the last one is an identity
SMALL = (
    'i64-cn_r1_k3_s2_c8_nsw-ir_r1_k3_s1_e1_c8_nre-ir_r2_k3_s2_e3_c16_nre_sp1-ir_r1_k0_s1_e1_c24_nsw-'
    'ir_r2_k5_s2_e3_c24_nsw_sp2-ir_r1_k0_s2_e1_c32_nsw-ir_r2_k5_s2_e2.25_c40_nhs_sp4-ir_r1_k0_s1_e1_c40_nre-'
    'cn_r1_k1_s1_c96_nsw'
)
# the stem is a level of its own, the resolutions end early
SHORT = 'i32-cn_r1_k3_s2_c8_nsw-ir_r1_k3_s2_e3_c16_nre_sp2-ir_r1_k3_s2_e3_c24_nre-cn_r1_k1_s1_c32_nsw'
# strides go on to 64, and one group follows at full width
LONG = (
    'i64-cn_r1_k3_s2_c8_nre-ir_r1_k3_s2_e3_c8_nre-ir_r1_k0_s2_e1_c16_nre-ir_r1_k5_s2_e3_c16_nre_sp2-'
    'ir_r2_k3_s2_e3_c24_nre-ir_r1_k3_s2_e2_c24_nre_sp1-ir_r1_k3_s1_e2_c24_nre-cn_r1_k1_s1_c32_nre'
)
LEVELS = {SMALL: [(8, 2), (24, 4), (24, 8), (32, 16), (40, 32)], SHORT: [(8, 2), (16, 4), (24, 8)]}


def make(arch: str = SMALL, **kwargs) -> nn.Module:
    """A model in eval mode whose batch norms are no identities and whose biases are not 0.

    Layer by layer the weights are the same for all options, with `features_only` too.
    """
    model = timm.create_model('fpnas', arch=arch, **{'num_classes': 10, **kwargs})
    generator = torch.Generator().manual_seed(1)
    for name, t in model.state_dict().items():
        if t.dim() > 1:
            t.normal_(0, (2 / t[0].numel()) ** 0.5, generator=generator)
        elif name.endswith('running_var') or name.endswith('weight'):
            t.uniform_(0.5, 1.5, generator=generator)
        elif name.endswith(('running_mean', 'bias')):
            t.normal_(0, 0.3, generator=generator)
    return model.eval()


def images(batch: int = 2, size: int | tuple[int, int] = 64, chans: int = 3) -> torch.Tensor:
    size = (size, size) if isinstance(size, int) else size
    return torch.randn(batch, chans, *size, generator=torch.Generator().manual_seed(2))


def close(actual, expected, tol: float = 1e-4) -> None:
    torch.testing.assert_close(actual, expected, rtol=tol, atol=tol)


@pytest.fixture(autouse=True)  # in the modules that import it
def no_grad(request):
    """Without gradients, except in tests that are about them and have it in their name; the same random numbers."""
    torch.manual_seed(0)
    with torch.set_grad_enabled('grad' in request.node.name or 'backward' in request.node.name):
        yield
