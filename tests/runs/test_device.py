"""Device and precision."""
import pytest
import torch

from fpnas_timm.errors import UsageError
from fpnas_timm.runs.device import Precision, Process, low_precision, model_dtype, start_device


def test_one_process() -> None:
    assert start_device('cpu') == Process(torch.device('cpu'), False, 1, 0, 0)
    assert start_device('cpu').primary
    assert not Process(torch.device('cpu'), True, 2, 1).primary
    with pytest.raises(UsageError, match='--device cdu: torch has no such device on this machine'):
        start_device('cdu')


@pytest.mark.parametrize('name', ['float16', 'bfloat16'])
def test_low_precision(name: str) -> None:
    device = torch.device('cpu')
    autocast, scaler = low_precision(True, name, device)
    layer = torch.nn.Linear(4, 4)
    with autocast():
        assert layer(torch.ones(1, 4)).dtype == getattr(torch, name)
    assert (scaler is not None) == (name == 'float16')  # bfloat16 has the range of float32
    autocast, scaler = low_precision(False, name, device)
    with autocast():
        assert layer(torch.ones(1, 4)).dtype == torch.float32
    assert scaler is None
    assert model_dtype(name) == getattr(torch, name)
    assert model_dtype(None) is None


def test_layout() -> None:
    images = torch.randn(2, 3, 4, 4)
    assert Precision().layout(images) is images
    last = Precision(channels_last=True).layout(images)
    assert last.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(last, images)
