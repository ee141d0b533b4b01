"""Int8 post-training quantisation with torchao's pt2e: static, calibrated on training images."""
import sys
from pathlib import Path

import pytest
import timm
import torch

import fpnas_timm  # noqa: F401
from tests.pipelines.on_digits import batches, top1

pytest.importorskip('torchao')
sys.path.insert(0, str(Path(__file__).parents[2] / 'benchmarks'))
from int8 import file_size, quantize

MARGIN = 1.5  # points of top-1; 356 images, so that one is 0.28


def test_int8_keeps_the_accuracy(digits: Path) -> None:
    model = timm.create_model(f'local-dir:{digits}/saved', pretrained=True).eval()
    calibration = [x for x, _ in batches(digits, 'train')[:8]]
    int8 = quantize(model, calibration)
    held_out = batches(digits, 'validation')
    before, after = top1(model, held_out), top1(int8, held_out)
    print(f'top-1 {before:.2f} % in float32, {after:.2f} % in int8')
    assert after > before - MARGIN
    x = held_out[0][0]
    with torch.no_grad():
        assert not torch.equal(int8(x), model(x))  # it is another network
        assert int8(x[:1]).shape == (1, 10)
    stored = [v for v in int8.state_dict().values() if v.dtype == torch.int8]
    assert sum(v.numel() for v in stored) > 0.9 * sum(p.numel() for p in model.parameters() if p.ndim > 1)
    sizes = [file_size(m, x) for m in (int8, model)]
    print(f'files: {sizes[0]:,} bytes in int8, {sizes[1]:,} in float32')
    weights = [sum(t.numel() * t.element_size() for t in m.state_dict().values()) for m in (int8, model)]
    assert weights[0] < 0.45 * weights[1]
