"""A small network in a `local-dir:` folder, and images of three classes, of several sizes."""
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from timm.data import resolve_model_data_config

from fpnas_timm.weights.folder import export_model
from tests.model.nets import make

ARCH = 'i32-cn_r1_k3_s2_c8_nsw-ir_r1_k3_s2_e3_c16_nre_sp2-ir_r1_k3_s1_e3_c16_nsw_sp1-cn_r1_k1_s1_c32_nsw'
CLASSES = ['amber', 'blue', 'cyan']


@pytest.fixture(scope='session')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `fpnas train` exports a network: `run/export`. The folder of the run is returned."""
    run = tmp_path_factory.mktemp('device') / 'run'
    model = make(ARCH, num_classes=3)
    config = {**resolve_model_data_config(model), 'crop_pct': 0.9}
    run.mkdir()
    export_model(model, run / 'export', config, CLASSES, {})
    return run


@pytest.fixture(scope='session')
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`train` and `validation`, with a folder per class."""
    root, random = tmp_path_factory.mktemp('photos'), np.random.default_rng(0)
    for split in ('train', 'validation'):
        for i, name in enumerate(CLASSES):
            for j in range(4):
                height, width = 30 + 11 * j, 60 - 9 * i
                pixels = random.integers(0, 256, (height // 3, width // 3, 3), dtype=np.uint8)
                path = root / split / name / f'{j}.png'
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC).save(path)
    return root
