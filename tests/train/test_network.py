"""The network of a run: its weights, frozen layers, converted batch norms."""
import pytest
import timm
import torch

from fpnas_timm.errors import UsageError
from fpnas_timm.runs.device import Precision, Process
from fpnas_timm.train.network import NetworkConfig, create_network, freeze, to_device

from .common import ARCH


def test_sync_bn_needs_gpus() -> None:
    process = Process(torch.device('cpu'), distributed=True, world_size=2)
    with pytest.raises(UsageError, match='--sync-bn: torch synchronises batch norms on GPUs only'):
        to_device(torch.nn.BatchNorm2d(3), process, Precision(), sync_bn=True)


def small() -> torch.nn.Module:
    torch.manual_seed(0)
    return create_network(NetworkConfig('fpnas', {'arch': ARCH}, num_classes=3))


def test_the_defaults_are_the_models_own() -> None:
    ours = small()
    torch.manual_seed(0)
    theirs = timm.create_model('fpnas', arch=ARCH, num_classes=3)
    assert all(torch.equal(v, theirs.state_dict()[k]) for k, v in ours.state_dict().items())
    scaled = create_network(NetworkConfig('fpnas', {'arch': ARCH}, 3, head_init_scale=0.0, head_init_bias=-1.5))
    assert scaled(torch.randn(2, 3, 16, 16)).tolist() == [[-1.5] * 3] * 2


@pytest.mark.parametrize(('layers', 'learning'), [
    ('all', {'classifier'}), ('1', {'blocks', 'conv_head', 'classifier'}),
])
def test_freeze(layers: str, learning: set[str]) -> None:
    """A step changes neither weights nor statistics of the frozen layers, and the others learn."""
    model = small()
    frozen = freeze(model, layers)
    assert frozen.num_params == sum(p.numel() for p in model.parameters() if not p.requires_grad)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    model.train()
    frozen.eval()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    model(torch.randn(8, 3, 16, 16)).square().sum().backward()
    optimizer.step()
    changed = {k.partition('.')[0] for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    assert changed == learning


@pytest.mark.parametrize('layers', ['0', '-1', 'some', '99'])
def test_freeze_errors(layers: str) -> None:
    with pytest.raises(UsageError, match=rf'--freeze {layers}: expected 1 to \d+ layers'):
        freeze(small(), layers)


def test_precision() -> None:
    model = to_device(small(), Process(torch.device('cpu')), Precision(dtype=torch.bfloat16, channels_last=True))
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert model.stem.conv.weight.is_contiguous(memory_format=torch.channels_last)
