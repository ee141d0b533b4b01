"""segmentation_models_pytorch: a U-Net over a model of ours."""
import pytest
import timm
import torch

import fpnas_timm  # noqa: F401

smp = pytest.importorskip('segmentation_models_pytorch')


@pytest.mark.parametrize('name', ['fpnas_l0', 'fpnas_s1pp'])
def test_unet_learns(name: str) -> None:
    torch.manual_seed(0)
    net = smp.Unet(f'tu-{name}', encoder_weights=None, in_channels=3, classes=2)
    info = timm.create_model(name, features_only=True).feature_info
    assert list(net.encoder.out_channels) == [3, *info.channels()]
    images = torch.randn(2, 3, 64, 64)
    masks = (images.mean(1) > 0).long()
    loss_fn = smp.losses.DiceLoss('multiclass')
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    losses = []
    for _ in range(6):
        logits = net(images)
        assert logits.shape == (2, 2, 64, 64)
        loss = loss_fn(logits, masks)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    first = net.encoder.model.stem.conv.weight if hasattr(net.encoder.model, 'stem') else None
    assert first is None or first.grad.abs().sum() > 0
    assert losses[-1] < losses[0]


def test_other_decoders_and_channels() -> None:
    """DeepLabV3+ with a fixed output stride, four image channels."""
    net = smp.DeepLabV3Plus('tu-fpnas_s1pp', encoder_weights=None, in_channels=4, classes=3, encoder_output_stride=16)
    assert net.eval()(torch.randn(1, 4, 64, 64)).shape == (1, 3, 64, 64)
