"""Widths and map sizes: those of timm and of torch."""
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.layers import make_divisible as timm_make_divisible

from fpnas_timm.arch.sizes import expanded_channels, make_divisible, out_size


@given(st.floats(0.01, 70_000), st.sampled_from((1, 4, 8, 16)))
@settings(max_examples=300, deadline=None)
def test_make_divisible_is_timms(value, divisor):
    assert make_divisible(value, divisor) == timm_make_divisible(value, divisor)


@given(st.integers(1, 2048), st.sampled_from((0.75, 1.0, 1.5, 2.25, 6.0)))
@settings(max_examples=100, deadline=None)
def test_expanded_channels(in_chs, expansion):
    expected = in_chs if expansion == 1 else timm_make_divisible(in_chs * expansion, 8)
    assert expanded_channels(in_chs, expansion) == expected


@pytest.mark.parametrize('kernel', [1, 3, 5, 7])
@pytest.mark.parametrize('stride', [1, 2])
def test_out_size_is_that_of_a_convolution(kernel, stride):
    conv = torch.nn.Conv2d(1, 1, kernel, stride, kernel // 2)
    for size in (1, 2, 7, 8, 15, 30):
        assert conv(torch.zeros(1, 1, size, size)).shape[-1] == out_size(size, stride)
