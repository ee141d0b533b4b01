"""The paper's search spaces by name, made from the tables in `paper.py`."""
from pathlib import Path

from ..arch import Conv
from ..arch.checks import DEFAULT_IMG_SIZE, load_json
from ..paper import (
    FBNETV2_F_ROWS,
    FBNETV2_MICRO,
    FPNAS_MICRO,
    HEAD_CHANNELS,
    L0_ROWS,
    L1_L2_ROWS,
    STEM_CHANNELS,
    TABLE_B1,
    MacroRow,
)
from .mbconv import MBConvSpace, Row, steps

__all__ = ['get_space', 'list_spaces']

_HEAD = Conv(kernel=1, stride=1, channels=HEAD_CHANNELS, act='sw')
_FBNETV2_F, _L0, _L1_L2 = (
    (FBNETV2_F_ROWS, STEM_CHANNELS['fbnetv2_f']),
    (L0_ROWS, STEM_CHANNELS['l0']),
    (L1_L2_ROWS, STEM_CHANNELS['l1_l2']),
)
_MACRO: dict[str, tuple[list[MacroRow], int]] = {  # model of Table B.1: macro table and stem channels of its space
    'fpnas_s1pp': _FBNETV2_F,
    'fpnas_s2pp': _FBNETV2_F,
    'fpnas_s3pp': _FBNETV2_F,
    'fpnas_s4pp': _FBNETV2_F,
    'fpnas_l0': _L0,
    'fpnas_l1': _L1_L2,
    'fpnas_l2': _L1_L2,
}
# name: macro table, stem channels, micro table, input size in pixels
_SPACES: dict[str, tuple[list[MacroRow], int, dict[str, tuple], int]] = {
    'fbnetv2_f': (*_FBNETV2_F, FBNETV2_MICRO, DEFAULT_IMG_SIZE),
    'fbnetv2_f++': (*_FBNETV2_F, FPNAS_MICRO, DEFAULT_IMG_SIZE),
    **{name: (*macro, FPNAS_MICRO, TABLE_B1[name].img_size) for name, macro in _MACRO.items()},
}


def list_spaces() -> list[str]:
    """The names accepted by `get_space`."""
    return list(_SPACES)


def get_space(name: str) -> MBConvSpace:
    """One of the paper's spaces by name, or a custom space by the path of its JSON file.

    >>> get_space('fpnas_l0').num_archs  # the paper prints 2e32
    159722849117969289626986343301120

    Raises:
        ValueError: an unknown name (the message lists the known ones), or a file that does not contain a space.
        FileNotFoundError: there is no such file.
    """
    if str(name).endswith('.json'):
        path = Path(name)
        try:
            return MBConvSpace.from_dict(load_json(path.read_text(encoding='utf-8')))
        except ValueError as e:
            raise ValueError(f'{path}: {e}') from None
    if name not in _SPACES:
        raise ValueError(f'unknown search space {name!r}: expected one of {", ".join(_SPACES)}, or a .json file')
    macro, stem, micro, img_size = _SPACES[name]
    rows = tuple(Row(steps(*e), steps(*c), repeat, stride, **micro) for e, c, repeat, stride in macro)
    stem_conv = Conv(kernel=3, stride=2, channels=stem, act='sw')
    return MBConvSpace(name, tuple(row.variables for row in rows), stem_conv, _HEAD, rows, img_size)
