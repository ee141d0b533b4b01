"""A Hub on this machine, and a run to publish there."""
from collections.abc import Iterator
from pathlib import Path

import pytest
import timm
import torch
from timm.models import save_for_hf

import fpnas_timm  # noqa: F401
from tests.helpers.hub_server import HubServer
from tests.hub.clients import ARCH


@pytest.fixture
def server() -> Iterator[HubServer]:
    hub = HubServer()
    yield hub
    hub.close()


@pytest.fixture(scope='module')
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training run's folder: `export/` in timm's format, metrics under `training`."""
    torch.manual_seed(0)
    root = tmp_path_factory.mktemp('run')
    model = timm.create_model('fpnas', arch=ARCH, num_classes=4)
    config = {'label_names': list('abcd'), 'training': {'metrics': {'top1': 91.5, 'loss': 0.25}, 'recipe': 'fpnas_l0'}}
    save_for_hf(model, root / 'export', model_config=config, safe_serialization=True)
    return root
