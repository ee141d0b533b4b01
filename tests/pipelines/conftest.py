"""What the pipelines share: a network trained on handwritten digits, as images and as a `local-dir:` folder."""
from pathlib import Path

import pytest
import torch
from on_digits import ARCH


@pytest.fixture(scope='session')
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`data/{train,validation}/<digit>/*.png` and `model/`, six epochs of training."""
    pytest.importorskip('sklearn', reason='the digits come with scikit-learn')
    import timm
    from timm.models import save_for_hf

    import fpnas_timm  # noqa: F401
    from fpnas_timm.demo import digits_folder, train

    root = tmp_path_factory.mktemp('digits')
    digits_folder(root / 'data')
    torch.manual_seed(0)
    model = timm.create_model('fpnas', arch=ARCH, num_classes=10)
    trained, top1 = train(model, root / 'data', 6, root / 'summary.csv')
    assert top1 > 90
    save_for_hf(
        trained, root / 'saved', model_config={'label_names': [str(i) for i in range(10)]}, safe_serialization=True,
        data_config={'input_size': (3, 32, 32), 'crop_pct': 1.0},
    )
    return root


@pytest.fixture(scope='session')
def model_folder(digits: Path) -> Path:
    """The trained model as `fpnas hub push --dry-run -o` prepares it for others."""
    from fpnas_timm.hub import push

    push(digits / 'saved', 'me/digits', dry_run=True, output=digits / 'model')
    return digits / 'model'
