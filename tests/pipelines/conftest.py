"""What the pipelines share: a network trained on handwritten digits, as images and as a `local-dir:` folder."""
from pathlib import Path

import pytest
import torch

ARCH = (
    'i32-cn_r1_k3_s1_c16_nsw-ir_r1_k3_s1_e3_c16_nre-ir_r2_k3_s2_e3_c32_nre_sp1-ir_r2_k5_s2_e3_c48_nsw_sp2-'
    'cn_r1_k1_s1_c256_nsw'
)


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


def batches(digits: Path, split: str, size: int = 64) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The images of a split as shuffled batches, preprocessed as for validation."""
    from timm.data import create_dataset, create_loader

    loader = create_loader(
        create_dataset('', root=digits / 'data', split=split), (3, 32, 32), size, crop_pct=1.0, use_prefetcher=False,
        num_workers=0,
    )
    images, targets = (torch.cat(parts) for parts in zip(*loader))
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    return list(zip(images[order].split(size), targets[order].split(size)))


@torch.no_grad()
def top1(model: torch.nn.Module, data: list[tuple[torch.Tensor, torch.Tensor]]) -> float:
    """Accuracy in %."""
    hits = [(model(x).argmax(1) == y).sum().item() for x, y in data]
    return 100 * sum(hits) / sum(len(y) for _, y in data)
