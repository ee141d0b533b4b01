"""Hypothesis strategies: valid architectures, and every legal way to write one as a string."""
from hypothesis import strategies as st

from fpnas_timm.arch import Arch, Conv, Group
from fpnas_timm.arch.choices import ACTS, KERNELS, SPLITS


def acts():
    return st.sampled_from(tuple(ACTS))


def expansions(most=16.0):
    """Multiples of a quarter as in the paper's tables, and any other number with four decimals, up to `most`."""
    quarters = st.integers(1, max(1, int(most * 4))).map(lambda n: n / 4)
    return quarters.filter(lambda e: e <= most) | st.integers(1, int(most * 10_000)).map(lambda n: n / 10_000)


@st.composite
def archs(draw, max_groups=8, max_repeats=32, max_channels=8192, max_img_size=4096, kernels=tuple(KERNELS)):
    """Valid architectures. The defaults reach the limits of the format; tests that build networks want small ones."""

    def channels(*likely):
        return draw(st.integers(1, max_channels) | st.sampled_from([*likely, min(8, max_channels)]))

    kernel, stride = draw(st.sampled_from((1, 3, 5, 7))), draw(st.sampled_from((1, 2)))
    stem = Conv(kernel, stride, channels(min(16, max_channels)), draw(acts()))
    in_chs, total_stride, blocks_left = stem.channels, stem.stride, 256
    groups = []
    for others in range(draw(st.integers(1, max_groups)) - 1, -1, -1):
        repeats = draw(st.integers(1, min(max_repeats, blocks_left - others)))
        stride = draw(st.sampled_from((1, 2))) if 2 * total_stride <= min(128, max_img_size) else 1
        out_chs = channels(in_chs)  # often as many as come in: a residual sum, or the identity when bypassed
        widest = max(in_chs, out_chs)
        groups.append(
            Group(
                repeats=repeats,
                kernel=draw(st.sampled_from((*kernels, kernels[0], kernels[0]))),  # bypassed (0) more often
                stride=stride,
                expansion=draw(expansions(min(16.0, 32_000 // widest))),
                channels=out_chs,
                act=draw(acts()),
                splits=draw(st.sampled_from(tuple(SPLITS))),
            )
        )
        in_chs, total_stride, blocks_left = out_chs, total_stride * stride, blocks_left - repeats
    img_size = draw(st.integers(total_stride, max_img_size) | st.just(max(total_stride, min(224, max_img_size))))
    return Arch(stem, tuple(groups), Conv(1, 1, channels(), draw(acts())), img_size)


@st.composite
def spellings(draw, arch):
    """A string of `arch`: fields in any order, defaults left out or not, a bypass with whatever has no effect."""

    def whole(key, value, default=None):
        if value == default and draw(st.booleans()):
            return []
        return [f'{key}{draw(st.sampled_from(("", "0", "00")))}{value}']

    def decimal(key, value):
        text = f'{value:.4f}'
        return [key + draw(st.sampled_from((text, text + '00', text.rstrip('0').rstrip('.'))))]

    def token(kind, *fields):
        return '_'.join([kind, *draw(st.permutations([text for field in fields for text in field]))])

    def conv(c):
        fields = whole('k', c.kernel), whole('s', c.stride, 1), whole('c', c.channels), [f'n{c.act}']
        return token('cn', whole('r', 1, 1), *fields)

    tokens = [*whole('i', arch.img_size, 224), conv(arch.stem)]
    in_chs = arch.stem.channels
    for g in arch.groups:
        repeats, act, splits = g.repeats, g.act, g.splits
        expansion = decimal('e', g.expansion)
        if g.kernel == 0:
            repeats, splits = draw(st.integers(1, 32)), draw(st.sampled_from(tuple(SPLITS)))
            expansion = draw(st.just([]) | expansions().map(lambda e: decimal('e', e)))
            act = draw(acts()) if g.stride == 1 and g.channels == in_chs else g.act
        fields = whole('k', g.kernel), whole('s', g.stride, 1), expansion, whole('c', g.channels), [f'n{act}']
        tokens.append(token('ir', whole('r', repeats, 1), *fields, whole('sp', splits, 0)))
        in_chs = g.channels
    before, after = draw(st.sampled_from((('', ''), (' ', ''), ('', '\n'))))
    return before + '-'.join([*tokens, conv(arch.head)]) + after


def arch_strings(**limits):
    """Valid architecture strings, most of them not canonical. `limits` as of `archs`."""
    return archs(**limits).flatmap(spellings)
