"""A small network for the digits, their images as batches, and accuracy."""
from pathlib import Path

import torch

ARCH = (
    'i32-cn_r1_k3_s1_c16_nsw-ir_r1_k3_s1_e3_c16_nre-ir_r2_k3_s2_e3_c32_nre_sp1-ir_r2_k5_s2_e3_c48_nsw_sp2-'
    'cn_r1_k1_s1_c256_nsw'
)


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
