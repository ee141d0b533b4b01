"""What people pass to `decode` and `cost`: names, texts such as '3M', distributions, strings, models."""
import numpy as np
import pytest
import timm

import fpnas_timm  # noqa: F401
from fpnas_timm.arch import ArchError, Conv
from fpnas_timm.arch.cost import cost
from fpnas_timm.search.distribution import Factorized
from fpnas_timm.spaces import MBConvSpace, Row
from fpnas_timm.spaces.budgets import quantity, windows
from fpnas_timm.spaces.decode import decode
from fpnas_timm.zoo import ARCHS

ROWS = [Row((1, 2), (8, 16), 1, 2, kernel=(0, 3), act=('re',), splits=(0, 1))]
SPACE = MBConvSpace.from_rows('tiny', Conv(3, 2, 8, 'sw'), ROWS, Conv(1, 1, 16, 'sw'), 32)


def test_the_same_however_it_is_written() -> None:
    distribution = Factorized(SPACE)
    expected = decode(SPACE, distribution.log_probs(), macs=(0, 200_000), params=(100, 20_000), num_classes=10)
    for macs in (200_000, 2e5, '200k', '0.2M', ('0', '200K')):
        assert decode(SPACE, distribution, macs=macs, params=(100, '20k'), num_classes=10) == expected


def test_a_space_by_its_name() -> None:
    from fpnas_timm.spaces import get_space

    space = get_space('fbnetv2_f')
    uniform = Factorized(space)
    assert decode('fbnetv2_f', uniform).arch == decode(space, uniform.log_probs()).arch


@pytest.mark.parametrize('budget', ['9x', '', (1,), (1, 2, 3), (None, 1), ('a', 'b'), object(), 'nan'])
def test_a_wrong_budget(budget: object) -> None:
    with pytest.raises(ValueError, match=r"^macs=.*: expected a number, a text such as '3M', or two of these$"):
        windows({'macs': budget})
    with pytest.raises(ValueError, match=r'^params: the window from 5 to 3 is empty$'):
        windows({'params': (5, 3)})


@pytest.mark.parametrize('log_probs', [None, {'kernel': [0.0]}, np.zeros(3), 5])
def test_wrong_log_probs(log_probs: object) -> None:
    with pytest.raises(ValueError, match=r'^log_probs: expected one entry per group, or a distribution'):
        decode(SPACE, log_probs)


def test_cost_of_what_people_have() -> None:
    string = ARCHS['fpnas_s1pp']
    assert cost(string) == cost(timm.create_model('fpnas_s1pp'))
    with pytest.raises(ArchError, match=r"^'fpnas_l0' is not an architecture string; if it is the name of a model, "):
        cost('fpnas_l0')
    with pytest.raises(TypeError, match=r'^arch: expected an Arch, an architecture string or a model of one; got int$'):
        cost(5)


def test_quantities() -> None:
    assert (quantity('12k'), quantity('1e6'), quantity('.5g')) == (12e3, 1e6, 5e8)
