"""Input sizes that are not square: the token, the JSON entry, costs and the timm model."""
import pytest
import timm
from hypothesis import given, settings
from hypothesis import strategies as st

from fpnas_timm.arch import Arch, ArchError
from fpnas_timm.arch.cost import cost
from fpnas_timm.zoo.report import report

REST = '-cn_r1_k3_s2_c16_nsw-ir_r2_k3_s2_e3_c24_nre_sp2-ir_r1_k0_s2_e1_c32_nre-cn_r1_k1_s1_c64_nsw'


@given(st.integers(8, 4096), st.integers(8, 4096))
@settings(max_examples=50, deadline=None)
def test_there_and_back(height: int, width: int) -> None:
    arch = Arch.parse(f'i{height}x{width}{REST}')
    assert arch.img_size == ((height, width) if height != width else height)
    assert str(arch) == (f'i{height}x{width}{REST}' if height != width else f'i{height}{REST}')
    assert Arch.from_json(arch.to_json()) == arch == Arch.parse(f'i64{REST}').with_img_size((height, width))
    assert hash(Arch.from_json(arch.to_json())) == hash(arch)


@pytest.mark.parametrize(('height', 'width'), [(96, 128), (8, 31), (65, 33)])
def test_costs_are_fvcores(height: int, width: int) -> None:
    found = report('mine', Arch.parse(f'i{height}x{width}{REST}'))
    assert found.agrees
    assert found.fvcore_macs != cost(Arch.parse(f'i{height}{REST}')).macs


def test_the_model_is_for_that_size() -> None:
    model = timm.create_model('fpnas', arch=f'i96x128{REST}')
    assert model.pretrained_cfg['input_size'] == (3, 96, 128)
    assert model.pretrained_cfg['pool_size'] == (12, 16)
    assert timm.data.resolve_data_config({}, model=model)['input_size'] == (3, 96, 128)


@pytest.mark.parametrize(('size', 'message'), [
    ('i96x4', "token 1 'i96x4' at character 1: i96x4: the input size is below the total stride of the network"),
    ('i4x96', 'expected at least 8 pixels'),
    ('i96x5000', 'i5000: expected input size in pixels from 1 to 4096'),
    ('i0x96', 'i0: expected input size in pixels from 1 to 4096'),
    ('i96X128', r'did you mean i96x128\?'),
    ('i96x', 'expected the input size in pixels, as i224'),
    ('i96x96x3', 'expected the input size in pixels, as i224'),
])
def test_wrong_tokens(size: str, message: str) -> None:
    with pytest.raises(ArchError, match=message):
        Arch.parse(size + REST)


@pytest.mark.parametrize('size', [[], [96], [96, 96, 96], [96, '128'], [96, None], [96.0, 128], '96x128', {'h': 96}])
def test_wrong_entries(size: object) -> None:
    data = Arch.parse(f'i96{REST}').to_dict()
    with pytest.raises(ArchError, match=r'^img_size: '):
        Arch.from_dict({**data, 'img_size': size})
