"""Tests on a CUDA GPU (`make test-gpu`). Without one they are skipped."""
import os

os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')  # of deterministic products; read when CUDA starts

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from fpnas_timm.arch import Conv
from fpnas_timm.cli.runs import train_main
from fpnas_timm.spaces import MBConvSpace, Row

from .common import DEVICE, ON_GPU, TRAIN, at


@pytest.fixture(scope='session', autouse=True)
def gpu() -> torch.device:
    """The device. A fixture of the session, so that it skips before others of the session compute."""
    if ON_GPU and not torch.cuda.is_available():
        pytest.skip('torch sees no CUDA GPU')
    return torch.device(DEVICE)


@pytest.fixture(autouse=True)
def own_settings() -> Iterator[None]:
    """Plain float32 in the tests; the commands switch TF32 and cuDNN's benchmarks on, for the process."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark
    matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark = False, False, False
    torch.manual_seed(0)
    yield
    matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark = before


@pytest.fixture
def deterministic() -> Iterator[None]:
    """As `--device-modules tests.gpu.deterministic`."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(scope='session')
def space() -> MBConvSpace:
    """A tiny space with every kind of choice, for images of 16 pixels."""
    micro = {'kernel': (0, 3, 5), 'act': ('re', 'sw'), 'splits': (0, 1, 2)}
    rows = [Row((1, 2), (4, 8), 1, 1, **micro), Row((1.5, 3), (8, 12, 16), 2, 2, **micro)]
    return MBConvSpace.from_rows('tiny', Conv(3, 2, 8, 'sw'), rows, Conv(1, 1, 32, 'sw'), 16)


@pytest.fixture(scope='session')
def space_file(space: MBConvSpace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp('space') / 'tiny.json'
    path.write_text(json.dumps(space.to_dict()))
    return path


@pytest.fixture(scope='session')
def trained(tiny_images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run on the GPU that has learned the three colours."""
    out = tmp_path_factory.mktemp('trained')
    assert train_main([*TRAIN, '--data-dir', str(tiny_images), '--epochs', '8', *at(out)]) == 0
    return out / 'run'
