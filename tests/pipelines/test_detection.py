"""torchvision's detection: Faster R-CNN with a feature pyramid over `features_only`."""
from collections import OrderedDict

import pytest
import timm
import torch
from torch import nn

import fpnas_timm  # noqa: F401

pytest.importorskip('torchvision')
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool


class Backbone(nn.Module):
    """A timm model's last four maps through a feature pyramid."""

    def __init__(self, name: str, out_channels: int = 64) -> None:
        super().__init__()
        self.body = timm.create_model(name, features_only=True, out_indices=(1, 2, 3, 4))
        self.fpn = FeaturePyramidNetwork(self.body.feature_info.channels(), out_channels, LastLevelMaxPool())
        self.out_channels = out_channels

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return self.fpn(OrderedDict((str(i), f) for i, f in enumerate(self.body(x))))


def test_faster_rcnn_learns_a_square() -> None:
    torch.manual_seed(0)
    detector = FasterRCNN(
        Backbone('fpnas_s1pp'),
        num_classes=2,
        min_size=96,
        max_size=96,
        rpn_anchor_generator=AnchorGenerator(((16,), (32,), (48,), (64,), (96,)), ((0.5, 1.0, 2.0),) * 5),
        box_roi_pool=MultiScaleRoIAlign(['0', '1', '2', '3'], 7, 2),
    )
    image = torch.zeros(3, 96, 96)
    image[:, 20:60, 30:70] = 1
    target = {'boxes': torch.tensor([[30.0, 20.0, 70.0, 60.0]]), 'labels': torch.tensor([1])}
    optimizer = torch.optim.AdamW(detector.parameters(), lr=1e-3)
    totals = []
    for _ in range(8):
        losses = detector([image, image], [target, target])
        assert set(losses) == {'loss_classifier', 'loss_box_reg', 'loss_objectness', 'loss_rpn_box_reg'}
        total = sum(losses.values())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(total.item())
    assert detector.backbone.body.stem.conv.weight.grad.abs().sum() > 0
    assert sum(totals[-2:]) < 0.7 * sum(totals[:2])
    [found] = detector.eval()([image])
    assert set(found) == {'boxes', 'labels', 'scores'}


def test_backbone_with_fpn() -> None:
    """It takes children only; those of a `features_only` network are the groups, named with `_` in place of `.`."""
    body = timm.create_model('fpnas_s1pp', features_only=True, out_indices=(1, 2, 3, 4)).eval()
    names = [name.replace('.', '_') for name in body.feature_info.module_name()]
    layers = {name: str(i) for i, name in enumerate(names)}
    backbone = BackboneWithFPN(body, layers, body.feature_info.channels(), 64)
    x = torch.randn(1, 3, 96, 96)
    with torch.no_grad():
        found, want = backbone.body(x), body(x)
        assert all(torch.equal(a, b) for a, b in zip(found.values(), want, strict=True))
        maps = backbone(x)
    assert {k: tuple(v.shape[1:]) for k, v in maps.items()} == {
        '0': (64, 24, 24), '1': (64, 12, 12), '2': (64, 6, 6), '3': (64, 3, 3), 'pool': (64, 2, 2),
    }
