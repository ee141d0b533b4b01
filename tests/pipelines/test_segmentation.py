"""segmentation_models_pytorch: a U-Net over a model of ours."""
from pathlib import Path

import pytest
import timm
import torch

from fpnas_timm import ArchError, register_arch

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


# from 1/2 to 1/32, as a U-Net of depth 5 needs it
ARCH = (
    'i64-cn_k3_s2_c16_nsw-ir_k3_s2_e3_c24_nre-ir_k5_s2_e3_c32_nsw_sp2-ir_k5_s2_e3_c40_nsw-ir_k5_s2_e3_c48_nsw_sp1-'
    'cn_k1_c64_nsw'
)


def test_string_by_its_name() -> None:
    """smp creates the encoder a first time without its arguments, so that a string needs a name."""
    with pytest.raises(ArchError, match="register_arch"):
        smp.Unet('tu-fpnas', encoder_weights=None, arch=ARCH)
    register_arch('segmentation_net', ARCH)
    net = smp.Unet('tu-segmentation_net', encoder_weights=None, classes=2)
    assert list(net.encoder.out_channels) == [3, 16, 24, 32, 40, 48]
    assert net.eval()(torch.randn(1, 3, 64, 64)).shape == (1, 2, 64, 64)


def test_trained_folder_as_encoder(digits: Path) -> None:
    """`encoder_weights=True` loads the weights; the digits' network has three resolutions: 1, 1/2 and 1/4."""
    name = f'local-dir:{digits}/saved'
    net = smp.Unet(f'tu-{name}', encoder_weights=True, encoder_depth=2, decoder_channels=(32, 16), classes=2).eval()
    features = timm.create_model(name, pretrained=True, features_only=True).eval()
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        for found, want in zip(net.encoder(x), features(x), strict=True):
            assert torch.equal(found, want)
        assert net(x).shape == (2, 2, 32, 32)
