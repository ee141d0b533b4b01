"""The paper's numbers as data: search spaces, budgets, accuracies, training recipes and search settings.

Every number of the paper that this package uses is defined here once, with its source. Tables and sections with a
letter are in the supplement, those without in the main paper.
"""
from dataclasses import dataclass
from typing import TypedDict

__all__ = [
    'C2_TOGGLES', 'FBNETV2_F_ROWS', 'FBNETV2_F_TARGET', 'FBNETV2_MICRO', 'FPNAS_MICRO', 'HEAD_CHANNELS', 'L0_ROWS',
    'L1_L2_ROWS', 'SEARCH_SETTINGS', 'STEM_CHANNELS', 'TABLE_B1', 'TABLE_C2', 'TABLE_C3', 'MacroRow', 'SearchSettings',
    'TableRow',
]

# Table C.2: top-1 (%) on ImageNet-1K with these toggles.
C2_TOGGLES = ('ls+ema', 'ls+aa', 'ls+aa+ema', 'ls+aa+ema+sd')
TABLE_C2: dict[str, tuple[float, float, float, float]] = {
    'fpnas_s1pp': (69.8, 70.0, 70.0, 69.5),
    'fpnas_s4pp': (76.4, 76.4, 76.6, 76.4),
    'fpnas_l0': (77.6, 77.5, 77.9, 78.0),
    'fpnas_l2': (80.2, 79.2, 80.6, 80.7),
}
# Table C.3: the toggles used to train each method.
TABLE_C3: dict[str, str] = {
    'mnasnet': 'ls+ema',
    'fbnetv2': 'ls+aa',
    'fpnas_small': 'ls+aa+ema',
    'atomnas': 'ls+ema',
    'efficientnet': 'ls+aa+ema+sd',
    'fpnas_large': 'ls+aa+ema+sd',
}

# Main Table 2: choices of each group, in FBNetV2's space and in FP-NAS's.
FBNETV2_MICRO: dict[str, tuple] = {'kernel': (0, 3, 5), 'act': ('re', 'sw'), 'splits': (0, 1)}
FPNAS_MICRO: dict[str, tuple] = {'kernel': (0, 3, 5), 'act': ('re', 'sw'), 'splits': (0, 1, 2, 4)}

Range = tuple[float, float, float]  # (min, max, step)
MacroRow = tuple[Range, Range, int, int]

# (expansion, channels, repeat, stride) of each group; expansion and channels as (min, max, step)
FBNETV2_F_ROWS: list[MacroRow] = [  # main Table 1
    ((1, 1, 1), (12, 16, 4), 1, 1),
    ((0.75, 4.5, 0.75), (16, 24, 4), 1, 2),
    ((0.75, 4.5, 0.75), (16, 24, 4), 2, 1),
    ((0.75, 4.5, 0.75), (16, 40, 8), 1, 2),
    ((0.75, 4.5, 0.75), (16, 40, 8), 2, 1),
    ((0.75, 4.5, 0.75), (48, 80, 8), 1, 2),
    ((0.75, 4.5, 0.75), (48, 80, 8), 2, 1),
    ((0.75, 4.5, 0.75), (72, 112, 8), 3, 1),
    ((0.75, 4.5, 0.75), (112, 184, 8), 1, 2),
    ((0.75, 4.5, 0.75), (112, 184, 8), 3, 1),
]
L0_ROWS: list[MacroRow] = [  # Table D.4
    ((1.5, 6.0, 0.75), (8, 32, 8), 1, 1),
    ((1.5, 6.0, 0.75), (16, 32, 8), 2, 2),
    ((1.5, 6.0, 0.75), (16, 32, 8), 2, 1),
    ((1.5, 6.0, 0.75), (16, 56, 8), 2, 2),
    ((1.5, 6.0, 0.75), (16, 56, 8), 2, 1),
    ((1.5, 6.0, 0.75), (48, 96, 16), 4, 2),
    ((1.5, 6.0, 0.75), (48, 96, 16), 3, 1),
    ((1.5, 6.0, 0.75), (72, 136, 16), 3, 1),
    ((1.5, 6.0, 0.75), (112, 224, 16), 2, 2),
    ((1.5, 6.0, 0.75), (112, 224, 16), 2, 1),
    ((1.5, 6.0, 0.75), (168, 280, 16), 2, 1),
]
L1_L2_ROWS: list[MacroRow] = [  # Tables D.5 and D.6 differ in input size only
    ((1.5, 6.0, 0.75), (16, 40, 8), 1, 1),
    ((1.5, 6.0, 0.75), (24, 40, 8), 2, 2),
    ((1.5, 6.0, 0.75), (24, 40, 8), 2, 1),
    ((1.5, 6.0, 0.75), (24, 72, 8), 3, 2),
    ((1.5, 6.0, 0.75), (24, 72, 8), 2, 1),
    ((1.5, 6.0, 0.75), (64, 120, 16), 3, 2),
    ((1.5, 6.0, 0.75), (64, 120, 16), 3, 1),
    ((1.5, 6.0, 0.75), (88, 168, 16), 3, 1),
    ((1.5, 6.0, 0.75), (88, 168, 16), 3, 1),
    ((1.5, 6.0, 0.75), (136, 272, 16), 2, 2),
    ((1.5, 6.0, 0.75), (136, 272, 16), 2, 1),
    ((1.5, 6.0, 0.75), (208, 336, 16), 2, 1),
    ((1.5, 6.0, 0.75), (208, 336, 16), 2, 1),
]
# The same tables: channels of the stem (3x3, stride 2) of each macro table, and of the 1x1 head of all of them.
STEM_CHANNELS = {'fbnetv2_f': 16, 'l0': 16, 'l1_l2': 24}
HEAD_CHANNELS = 1984


@dataclass(frozen=True)
class TableRow:
    """A row of Table B.1: input size (pixels), multiply-adds and parameters (millions), ImageNet top-1 (%)."""

    img_size: int
    macs: int
    params: float
    top1: float | None
    top1_distilled: float | None = None


TABLE_B1 = {
    'fpnas_s1pp': TableRow(128, 66, 5.9, 70.0),
    'fpnas_s2pp': TableRow(160, 98, 5.8, 72.2),
    'fpnas_s3pp': TableRow(192, 147, 5.8, 74.2),
    'fpnas_s4pp': TableRow(224, 268, 6.4, 76.6),
    'fpnas_l0': TableRow(224, 399, 11.3, 78.0),
    'fpnas_l1': TableRow(240, 728, 15.8, None, 79.8),
    'fpnas_l2': TableRow(256, 997, 20.7, 80.7, 81.6),
}


class SearchSettings(TypedDict):
    """The settings of the paper's searches, see `SEARCH_SETTINGS`."""

    epochs: int
    warmup_epochs: int
    joint_epoch: int
    lam: float
    search_classes: int


# Main paper, section 3 and Table 5; supplement, sections B and E: total epochs, warm-up epochs included in them
# (weights only), theta (the epoch at which the distribution becomes joint), lambda of adaptive sampling, ImageNet
# classes.
SEARCH_SETTINGS: SearchSettings = {
    'epochs': 315,
    'warmup_epochs': 45,
    'joint_epoch': 80,
    'lam': 0.25,
    'search_classes': 100,
}
# Multiply-adds of the network found in FBNetV2-F, FP-NAS-S1, at 128 pixels (main paper, Table 7; Table E.7): the
# target of that search is not printed.
FBNETV2_F_TARGET = 58e6
