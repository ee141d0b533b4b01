"""The paper's search spaces by name, made from the tables in `paper.py`."""
from pathlib import Path

from ..arch import Conv
from ..arch.checks import load_json
from ..paper import FBNETV2_F_ROWS, FBNETV2_MICRO, FPNAS_MICRO, L0_ROWS, L1_L2_ROWS
from .mbconv import MBConvSpace, Row, steps

__all__ = ['get_space', 'list_spaces']

_HEAD = Conv(kernel=1, stride=1, channels=1984, act='sw')

# name: macro table, micro table, stem channels, input size
_SPACES: dict[str, tuple[list, dict[str, tuple], int, int]] = {
    'fbnetv2_f': (FBNETV2_F_ROWS, FBNETV2_MICRO, 16, 224),
    'fbnetv2_f++': (FBNETV2_F_ROWS, FPNAS_MICRO, 16, 224),
    'fpnas_s1pp': (FBNETV2_F_ROWS, FPNAS_MICRO, 16, 128),
    'fpnas_s2pp': (FBNETV2_F_ROWS, FPNAS_MICRO, 16, 160),
    'fpnas_s3pp': (FBNETV2_F_ROWS, FPNAS_MICRO, 16, 192),
    'fpnas_s4pp': (FBNETV2_F_ROWS, FPNAS_MICRO, 16, 224),
    'fpnas_l0': (L0_ROWS, FPNAS_MICRO, 16, 224),
    'fpnas_l1': (L1_L2_ROWS, FPNAS_MICRO, 24, 240),
    'fpnas_l2': (L1_L2_ROWS, FPNAS_MICRO, 24, 256),
}


def list_spaces() -> list[str]:
    """The names `get_space` knows."""
    return list(_SPACES)


def get_space(name: str) -> MBConvSpace:
    """A space of the paper by name, or a user's own by the path of its JSON file.

    Raises:
        ValueError: unknown name (with the known ones), or a file that does not hold a space.
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
    macro, micro, stem, img_size = _SPACES[name]
    rows = tuple(Row(steps(*e), steps(*c), repeat, stride, **micro) for e, c, repeat, stride in macro)
    stem_conv = Conv(kernel=3, stride=2, channels=stem, act='sw')
    return MBConvSpace(name, tuple(row.variables for row in rows), stem_conv, _HEAD, rows, img_size)
