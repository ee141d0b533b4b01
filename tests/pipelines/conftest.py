"""What the pipelines share: a network trained on handwritten digits, as images and as a `local-dir:` folder."""
import json
from pathlib import Path

import pytest

from tests.pipelines.on_digits import ARCH


@pytest.fixture(scope='session')
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`data/{train,validation}/<digit>/*.png` and `model/`, six epochs of training."""
    pytest.importorskip('sklearn', reason='the digits come with scikit-learn')
    from fpnas_timm.cli.demo import digits_folder
    from fpnas_timm.cli.runs import train_main

    root = tmp_path_factory.mktemp('digits')
    digits_folder(root / 'data')
    options = (
        '--num-classes 10 --img-size 32 -b 64 --epochs 6 --opt adamw --lr 4e-3 --warmup-epochs 1 --scale 0.7 1 '
        '--hflip 0 --crop-pct 1 --model-ema --model-ema-decay 0.98 --model-ema-warmup --workers 0 --device cpu '
        '--model fpnas'
    )
    status = train_main([
        *options.split(), '--model-kwargs', f'arch={ARCH}', '--data-dir', str(root / 'data'), '--output', str(root),
        '--experiment', 'run',
    ])
    assert status == 0
    (root / 'run' / 'export').rename(root / 'saved')
    assert json.loads((root / 'saved' / 'config.json').read_text())['training']['top1'] > 90
    return root


@pytest.fixture(scope='session')
def model_folder(digits: Path) -> Path:
    """The trained model as `fpnas hub push --dry-run -o` prepares it for others."""
    from fpnas_timm.hub import push

    push(digits / 'saved', 'me/digits', dry_run=True, output=digits / 'model')
    return digits / 'model'
