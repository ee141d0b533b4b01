"""Pictures: what the caption of Figure B.1 promises is there, nothing overlaps, and files are whole or absent."""
import importlib.util
import sys
from collections import Counter
from itertools import combinations, pairwise
from pathlib import Path

import pytest

from fpnas_timm.arch import Arch, ArchError
from fpnas_timm.arch.choices import ACTS, KERNELS
from fpnas_timm.cli.describe import draw_main
from fpnas_timm.draw.arch import KERNEL_COLORS, draw_arch

pytest.importorskip('matplotlib')
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text

S1 = (
    'i128-cn_r1_k3_s2_c16_nsw-ir_r1_k3_s1_e1_c12_nre-ir_r1_k3_s2_e3_c16_nre-ir_r2_k0_s1_e1_c16_nre-'
    'ir_r1_k3_s2_e2.25_c24_nre_sp1-ir_r2_k3_s1_e3_c32_nre_sp1-ir_r1_k5_s2_e3_c64_nsw_sp2-ir_r2_k5_s1_e3_c72_nsw_sp2-'
    'ir_r3_k5_s1_e3_c112_nsw_sp2-ir_r1_k5_s2_e2.25_c176_nsw_sp4-ir_r3_k5_s1_e3.75_c184_nsw_sp4-cn_r1_k1_s1_c1984_nsw'
)
L2 = (
    'i256-cn_k3_s2_c24_nsw-ir_k3_e3.75_c16_nre-ir_r2_k3_s2_e3.75_c24_nre-ir_r2_k3_e3.75_c24_nre-'
    'ir_r3_k3_s2_e3.75_c40_nre_sp1-ir_r2_k3_e3.75_c40_nre_sp1-ir_r3_k3_s2_e3.75_c80_nre_sp1-'
    'ir_r3_k5_e3.75_c80_nre_sp2-ir_r3_k5_e4.5_c136_nsw_sp2-ir_r3_k5_e3.75_c152_nsw_sp2-'
    'ir_r2_k5_s2_e3.75_c232_nsw_sp2-ir_r2_k5_e3.75_c248_nsw_sp4-ir_r2_k5_e3.75_c320_nsw_sp4-'
    'ir_r2_k5_e3.75_c336_nsw_sp4-cn_k1_c1984_nsw'
)
TINY = 'i33-cn_k3_s1_c16_nre-ir_k3_s2_e3_c24_nhs_sp2-ir_r2_k7_s2_e2.25_c40_nsw_sp4-cn_k1_c32_nsw'
# every kernel, activation and kind of bypass; long numbers everywhere; a stem wider than all blocks
ODD = (
    'i4096-cn_k3_s2_c128_nre-ir_k0_s2_c24_nsw-ir_k9_s2_e2.3333_c40_nhs_sp4-ir_r2_k11_e12.3456_c64_nsw_sp1-ir_k0_c64_nre-'
    'ir_k3_e1_c8_nre-ir_k5_e2_c72_nhs-ir_k7_s2_e3_c96_nhs-ir_k0_s2_c96_nsw-ir_k0_c64_nre-cn_k1_c8192_nsw'
)
ALL = {'S1': S1, 'L2': L2, 'TINY': TINY, 'ODD': ODD}


def by_id(figure: Figure, prefix: str) -> dict:
    """What the figure shows, by id, in reading order."""
    return {a.get_gid(): a for a in figure.findobj(lambda a: str(a.get_gid()).startswith(prefix))}


def texts(figure: Figure, prefix: str) -> list[str]:
    return [t.get_text() for t in by_id(figure, prefix).values()]


@pytest.mark.parametrize('name', ALL)
def test_one_box_per_block_as_the_caption_says(name):
    arch = Arch.parse(ALL[name])
    figure = draw_arch(arch)
    boxes = by_id(figure, 'block-')
    assert len(boxes) == sum(len(blocks) for blocks in arch.blocks)
    for i, blocks in enumerate(arch.blocks, 1):
        for j, block in enumerate(blocks, 1):
            box = boxes[f'block-{i}-{j}']
            assert (box.get_y(), box.get_height()) == (0, block.out_chs)
            label = by_id(figure, f'label-{i}-{j}')[f'label-{i}-{j}']
            assert label.xy == (box.get_x() + box.get_width() / 2, block.out_chs)
            assert (box.get_linestyle() in ('--', 'dashed')) == (block.kernel == 0)
            if block.kernel:
                assert to_hex(box.get_facecolor()).upper() == KERNEL_COLORS[block.kernel]
                assert (box.get_hatch() or '') == ACTS[block.act].hatch
                assert label.get_text() == str(block.splits)
            else:
                assert box.get_facecolor()[3] == 0
                assert label.get_text() == ('skip' if block.is_identity else '1x1')
    axis = figure.axes[0]
    assert axis.get_yscale() == 'linear' and axis.get_ylim()[0] == 0  # heights on paper are proportional too


def test_numbers_of_s1():
    figure = draw_arch(S1)
    assert len(by_id(figure, 'block-')) == 16
    labels = [by_id(figure, f'label-{k[6:]}')[f'label-{k[6:]}'].get_text() for k in by_id(figure, 'block-')]
    assert labels == ['0', '0', 'skip', *'111', *'222222', *'4444']
    bypassed = '3-1'
    expansions = {k[10:]: t.get_text() for k, t in by_id(figure, 'expansion-').items()}
    assert expansions.pop(bypassed) == ''
    assert Counter(expansions.values()) == {'1': 1, '3': 9, '2.25': 2, '3.75': 3}


@pytest.mark.parametrize(
    ('name', 'bars', 'pixels'),
    [
        ('S1', 4, [64, 32, 16, 8, 4]),
        ('L2', 4, [128, 64, 32, 16, 8]),
        ('TINY', 2, [33, 17, 9]),
        ('ODD', 4, [2048, 1024, 512, 256, 128]),
    ],
)
def test_bars_between_stages(name, bars, pixels):
    figure = draw_arch(ALL[name])
    lines = [line.get_xdata()[0] for line in by_id(figure, 'stage-bar-').values()]
    assert len(lines) == bars
    stages = [by_id(figure, f'stage-{i}')[f'stage-{i}'] for i in range(1, bars + 2)]
    assert [t.get_text() for t in stages] == [f'{p} px' for p in pixels]
    strided = [i for i, g in enumerate(Arch.parse(ALL[name]).groups, 1) if g.stride == 2]
    boxes = by_id(figure, 'block-')
    for x, i in zip(lines, strided):
        last = [b for k, b in boxes.items() if k.startswith(f'block-{i - 1}-')] or [by_id(figure, 'stem')['stem']]
        assert last[-1].get_x() + last[-1].get_width() < x < boxes[f'block-{i}-1'].get_x()


def test_blocks_of_a_group_stand_close():
    boxes = list(by_id(draw_arch(L2), 'block-').items())
    gaps = {'inside': set(), 'between': set()}
    for (a, left), (b, right) in pairwise(boxes):
        same = a.split('-')[1] == b.split('-')[1]
        gaps['inside' if same else 'between'].add(right.get_x() - left.get_x() - left.get_width())
    assert 0 < max(gaps['inside']) < min(gaps['between']) / 3


def test_stem_and_head_are_slim_and_do_not_squash_the_rest():
    figure = draw_arch(S1)
    stem, head, block = (by_id(figure, i)[i] for i in ('stem', 'head', 'block-1-1'))
    assert stem.get_height() == 16 and head.get_height() == 184
    assert stem.get_width() == head.get_width() < block.get_width()
    assert texts(figure, 'channels-') == ['1984\nchannels'] and list(by_id(figure, 'cut-')) == ['cut-head']
    assert to_hex(stem.get_facecolor()).upper() not in KERNEL_COLORS.values()
    assert by_id(draw_arch(TINY), 'head')['head'].get_height() == 32  # lower than the tallest block: to scale
    assert not by_id(draw_arch(TINY), 'cut-')
    assert set(by_id(draw_arch(ODD), 'cut-')) == {'cut-stem', 'cut-head'}


@pytest.mark.parametrize('name', ALL)
def test_nothing_overlaps(name):
    figure = draw_arch(ALL[name], title='fpnas_l2 (reconstruction)')
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    axis, legend = figure.axes[0], figure.legends[0]
    above = [t for t, y in zip(axis.get_yticklabels(), axis.get_yticks()) if y > axis.get_ylim()[1]]  # not drawn
    shown = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip() and t not in above]
    extents = [(t.get_text(), t.get_window_extent(renderer)) for t in shown]
    for text, box in extents:
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1, text
    for (a, first), (b, second) in combinations(extents, 2):
        assert not first.overlaps(second), (a, b)
    assert legend.get_window_extent(renderer).x0 >= axis.bbox.x1
    assert legend.get_window_extent(renderer).y0 >= 0
    for bar in by_id(figure, 'stage-bar-').values():
        across = bar.get_window_extent(renderer)
        assert not [text for text, box in extents if box.overlaps(across)]


def test_legend_explains_what_is_shown_and_no_more():
    labels = [t.get_text() for t in draw_arch(TINY).legends[0].get_texts()]
    assert labels == ['3x3 depthwise', '7x7 depthwise', 'swish', 'hard-swish', 'stem, 1x1 head', '2 splits', '4 splits']
    labels = [t.get_text() for t in draw_arch(S1).legends[0].get_texts()]
    assert {'ReLU', 'swish', 'bypassed group', 'no attention', 'Squeeze-Excite'} < set(labels)


def test_every_kernel_and_activation_has_its_own_look():
    assert set(KERNEL_COLORS) == set(KERNELS) - {0} and len(set(KERNEL_COLORS.values())) == len(KERNEL_COLORS)
    assert len({act.hatch for act in ACTS.values()}) == len({act.label for act in ACTS.values()}) == len(ACTS)
    assert ACTS['re'].hatch == ''


def test_title_is_shown_as_it_is():
    assert texts(draw_arch(TINY, title='fpnas_l2 (reconstruction)'), 'title') == ['fpnas_l2 (reconstruction)']
    assert texts(draw_arch(TINY, title='$x_1'), 'title') == ['$x_1']
    assert texts(draw_arch(TINY), 'title') == ['']
    assert texts(draw_arch(TINY, title=L2), 'title')[0].endswith(' ...')


def test_png(tmp_path):
    draw_arch(TINY, tmp_path / 'a.PNG')
    assert (tmp_path / 'a.PNG').read_bytes().startswith(b'\x89PNG\r\n\x1a\n')
    assert [p.name for p in tmp_path.iterdir()] == ['a.PNG']


def test_svg_is_text_and_repeats(tmp_path, monkeypatch):
    import matplotlib

    draw_arch(S1, str(tmp_path / 'a.svg'), title='fpnas_s1pp (reconstruction)')
    text = (tmp_path / 'a.svg').read_text()
    assert text.startswith('<?xml') and text.rstrip().endswith('</svg>') and '<dc:date>' not in text
    assert 'fpnas_s1pp (reconstruction)' in text and 'id="block-10-3"' in text
    monkeypatch.setitem(matplotlib.rcParams, 'font.size', 20)  # a user's settings change nothing
    monkeypatch.setitem(matplotlib.rcParams, 'svg.hashsalt', None)
    draw_arch(S1, tmp_path / 'b.svg', title='fpnas_s1pp (reconstruction)')
    assert (tmp_path / 'b.svg').read_text() == text
    assert matplotlib.rcParams['font.size'] == 20


def test_write_is_whole_or_nothing(tmp_path, monkeypatch):
    target = tmp_path / 'a.svg'
    target.write_text('before')

    def torn(self: Figure, path: Path, **kwargs: object) -> None:
        Path(path).write_text('half')
        raise OSError('disk full')

    monkeypatch.setattr(Figure, 'savefig', torn)
    with pytest.raises(OSError, match='disk full'):
        draw_arch(TINY, target)
    assert target.read_text() == 'before'
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize('name', ['a.pdf', 'a', 'png', 'a.png.gz'])
def test_other_suffixes_are_refused(name, tmp_path):
    with pytest.raises(ValueError, match=r'expected a file name that ends in \.png or \.svg'):
        draw_arch(TINY, tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_bad_architectures_are_refused():
    for bad in ('', 'fpnas', None):
        with pytest.raises(ArchError):
            draw_arch(bad)


def test_without_matplotlib_one_sentence_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, 'matplotlib', None)
    spec = importlib.util.spec_from_file_location('fpnas_timm.draw.again', draw_arch.__code__.co_filename)
    draw = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(draw)  # importing it needs no matplotlib
    with pytest.raises(ImportError, match=r"^drawing needs matplotlib: pip install 'fpnas-timm\[draw\]'$"):
        draw.draw_arch(TINY)


def test_pyplot_is_not_needed(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, 'matplotlib.pyplot', None)  # an import of it would raise
    draw_arch(TINY, tmp_path / 'a.png')
    assert (tmp_path / 'a.png').read_bytes().startswith(b'\x89PNG')


def test_command_line(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    drawn = []
    monkeypatch.setattr('fpnas_timm.cli.describe.draw_arch', lambda *a, **k: drawn.append((a, k, draw_arch(*a, **k))))
    assert draw_main(['fpnas_l2', '-o', 'x.svg']) == 0
    assert draw_main(['fpnas_l2']) == 0
    assert draw_main([TINY]) == 0
    assert capsys.readouterr().out.split() == ['x.svg', 'fpnas_l2.png', 'arch.png']
    assert {p.name for p in tmp_path.iterdir()} == {'x.svg', 'fpnas_l2.png', 'arch.png'}
    assert 'fpnas_l2 (reconstruction)' in (tmp_path / 'x.svg').read_text()
    assert drawn[2][0][0] == Arch.parse(TINY)


@pytest.mark.parametrize(
    ('argv', 'status'), [(['no_such_model'], 2), ([TINY, '-o', 'a.pdf'], 2), ([TINY, '-o', 'no/such/folder/a.png'], 1)]
)
def test_command_line_errors_are_one_line(argv, status, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert draw_main(argv) == status
    error = capsys.readouterr().err
    assert error.startswith('error: ') and error.count('\n') == 1
    assert not list(tmp_path.iterdir())
