"""The named models: Table B.1's rows, their architecture strings and pretrained cfgs, registered in timm.

The paper does not publish the encodings. **Every string here is a reconstruction**: the most probable architecture of
the row's search space under the prior of `fpnas_timm/reconstruct.py`, within the budgets that Table B.1 prints.
`python -m fpnas_timm.reconstruct NAME` prints it again. The tags (`fpnas_l2.in1k`) come from the manifest of published
weights, which is empty so far. `register_arch` adds models of one's own.
"""
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, is_model, register_model

from .arch import Arch, ArchError
from .errors import UsageError
from .manifest import Weights, read_all
from .model import FPNAS, checkpoint_filter_fn, feature_levels
from .pretrained import default_cfg, named_cfgs, with_checked_weights

__all__ = ['ARCHS', 'TABLE_B1', 'TableRow', 'register_arch', 'resolve_arch']


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

# Reconstructions, see the module's docstring.
ARCHS = {
    'fpnas_s1pp': (
        'i128-cn_r1_k3_s2_c16_nsw-ir_r1_k3_s1_e1_c12_nre-ir_r1_k3_s2_e1.5_c16_nre-ir_r2_k3_s1_e2.25_c20_nre-'
        'ir_r1_k3_s2_e2.25_c24_nre-ir_r2_k3_s1_e3_c32_nre_sp1-ir_r1_k5_s2_e2.25_c64_nsw_sp1-'
        'ir_r2_k5_s1_e3_c72_nsw_sp1-ir_r3_k5_s1_e3.75_c112_nsw_sp2-ir_r1_k5_s2_e3_c176_nsw_sp2-'
        'ir_r3_k5_s1_e3.75_c176_nsw_sp4-cn_r1_k1_s1_c1984_nsw'
    ),
    'fpnas_s2pp': (
        'i160-cn_r1_k3_s2_c16_nsw-ir_r1_k3_s1_e1_c12_nre-ir_r1_k3_s2_e1.5_c16_nre-ir_r2_k3_s1_e2.25_c20_nre-'
        'ir_r1_k3_s2_e1.5_c24_nre-ir_r2_k3_s1_e2.25_c32_nre_sp1-ir_r1_k5_s2_e2.25_c64_nsw_sp1-'
        'ir_r2_k5_s1_e3_c72_nsw_sp1-ir_r3_k5_s1_e3.75_c112_nsw_sp2-ir_r1_k5_s2_e3_c168_nsw_sp2-'
        'ir_r3_k5_s1_e3.75_c176_nsw_sp4-cn_r1_k1_s1_c1984_nsw'
    ),
    'fpnas_s3pp': (
        'i192-cn_r1_k3_s2_c16_nsw-ir_r1_k3_s1_e1_c12_nre-ir_r1_k3_s2_e2.25_c16_nre-ir_r2_k3_s1_e3_c20_nre-'
        'ir_r1_k3_s2_e2.25_c24_nre-ir_r2_k3_s1_e2.25_c32_nre_sp1-ir_r1_k5_s2_e2.25_c72_nsw_sp1-'
        'ir_r2_k5_s1_e3_c80_nsw_sp1-ir_r3_k5_s1_e3.75_c112_nsw_sp2-ir_r1_k5_s2_e3_c160_nsw_sp2-'
        'ir_r3_k5_s1_e3.75_c176_nsw_sp4-cn_r1_k1_s1_c1984_nsw'
    ),
    'fpnas_s4pp': (
        'i224-cn_r1_k3_s2_c16_nsw-ir_r1_k3_s1_e1_c12_nre-ir_r1_k3_s2_e3_c20_nre-ir_r2_k3_s1_e4.5_c24_nre-'
        'ir_r1_k3_s2_e3_c32_nre-ir_r2_k5_s1_e4.5_c40_nre_sp1-ir_r1_k5_s2_e3_c72_nsw_sp1-'
        'ir_r2_k5_s1_e4.5_c80_nsw_sp1-ir_r3_k5_s1_e4.5_c112_nsw_sp2-ir_r1_k5_s2_e3_c168_nsw_sp2-'
        'ir_r3_k5_s1_e3.75_c184_nsw_sp4-cn_r1_k1_s1_c1984_nsw'
    ),
    'fpnas_l0': (
        'i224-cn_r1_k3_s2_c16_nsw-ir_r1_k3_s1_e2.25_c8_nre-ir_r2_k3_s2_e2.25_c16_nre-ir_r2_k3_s1_e3_c24_nre-'
        'ir_r2_k3_s2_e3_c32_nre-ir_r2_k3_s1_e3_c32_nre-ir_r4_k5_s2_e3_c80_nre_sp1-ir_r3_k5_s1_e3.75_c80_nsw_sp1-'
        'ir_r3_k5_s1_e4.5_c136_nsw_sp1-ir_r2_k5_s2_e3.75_c192_nsw_sp2-ir_r2_k5_s1_e3.75_c208_nsw_sp2-'
        'ir_r2_k5_s1_e4.5_c280_nsw_sp4-cn_r1_k1_s1_c1984_nsw'
    ),
    'fpnas_l1': (
        'i240-cn_r1_k3_s2_c24_nsw-ir_r1_k3_s1_e2.25_c16_nre-ir_r2_k3_s2_e2.25_c24_nre-ir_r2_k3_s1_e2.25_c24_nre-'
        'ir_r3_k3_s2_e3_c40_nre-ir_r2_k3_s1_e3_c40_nre-ir_r3_k3_s2_e3_c80_nre_sp1-ir_r3_k5_s1_e3_c96_nre_sp1-'
        'ir_r3_k5_s1_e3_c136_nsw_sp1-ir_r3_k5_s1_e3.75_c136_nsw_sp1-ir_r2_k5_s2_e3.75_c216_nsw_sp2-'
        'ir_r2_k5_s1_e3.75_c232_nsw_sp2-ir_r2_k5_s1_e3.75_c304_nsw_sp2-ir_r2_k5_s1_e3.75_c320_nsw_sp4-'
        'cn_r1_k1_s1_c1984_nsw'
    ),
    'fpnas_l2': (
        'i256-cn_r1_k3_s2_c24_nsw-ir_r1_k3_s1_e3_c16_nre-ir_r2_k3_s2_e3_c24_nre-ir_r2_k3_s1_e3_c24_nre-'
        'ir_r3_k3_s2_e3_c40_nre-ir_r2_k3_s1_e3_c40_nre-ir_r3_k3_s2_e3_c96_nre_sp1-ir_r3_k5_s1_e3_c96_nre_sp1-'
        'ir_r3_k5_s1_e3.75_c152_nsw_sp1-ir_r3_k5_s1_e4.5_c152_nsw_sp1-ir_r2_k5_s2_e3.75_c232_nsw_sp2-'
        'ir_r2_k5_s1_e3.75_c248_nsw_sp2-ir_r2_k5_s1_e3.75_c336_nsw_sp2-ir_r2_k5_s1_e4.5_c336_nsw_sp4-'
        'cn_r1_k1_s1_c1984_nsw'
    ),
}


_published = read_all()
default_cfgs = generate_default_cfgs({
    'fpnas': default_cfg(224),
    **{
        key: cfg
        for name, string in ARCHS.items()
        for key, cfg in named_cfgs(
            name,
            Arch.parse(string),
            [w for w in _published if w.name == name],
            description='A reconstruction from Table B.1, not the paper\'s encoding.',
        ).items()
    },
})


def resolve_arch(name_or_string: str) -> tuple[Arch, str]:
    """The architecture of a model's name or of an architecture string, and a label for it.

    Raises:
        ArchError: neither a name nor an architecture string.
    """
    if name_or_string in ARCHS:
        return Arch.parse(ARCHS[name_or_string]), f'{name_or_string} (reconstruction)'
    if name_or_string in _own:
        return Arch.parse(_own[name_or_string]), name_or_string
    try:
        return Arch.parse(name_or_string), 'architecture'
    except ArchError as e:
        if isinstance(name_or_string, str) and '_r' not in name_or_string and '_k' not in name_or_string:
            names = ', '.join([*ARCHS, *_own])
            raise ArchError(f'{name_or_string!r} is neither a model ({names}) nor an architecture string') from None
        raise e


def _create_fpnas(variant: str, arch: str, pretrained: bool = False, **kwargs: Any) -> FPNAS:
    if pretrained:
        kwargs = with_checked_weights(variant, arch, default_cfgs[variant].cfgs, kwargs)
    levels = len(feature_levels(Arch.parse(arch)))
    feature_cfg = dict(out_indices=tuple(range(levels)), flatten_sequential=True)
    return build_model_with_cfg(
        FPNAS,
        variant,
        pretrained,
        arch=arch,
        pretrained_filter_fn=checkpoint_filter_fn,
        feature_cfg={**feature_cfg, **kwargs.pop('feature_cfg', {})},
        **kwargs,
    )


@register_model
def fpnas(pretrained: bool = False, arch: str = '', **kwargs: Any) -> FPNAS:
    """An FP-NAS network of any architecture string: `timm.create_model('fpnas', arch=STRING)`."""
    if not arch:
        raise ArchError(
            "fpnas needs an architecture string: timm.create_model('fpnas', arch=STRING), on a command line "
            '--model fpnas --model-kwargs arch=STRING'
        )
    parsed = Arch.parse(arch)
    if not kwargs.get('pretrained_cfg'):  # a folder's or a repo's config.json knows better
        cfg = default_cfg(parsed.img_size, parsed.total_stride)
        overlay = {k: cfg[k] for k in ('input_size', 'pool_size')}
        kwargs['pretrained_cfg_overlay'] = {**overlay, **(kwargs.get('pretrained_cfg_overlay') or {})}
    return _create_fpnas('fpnas', arch, pretrained, **kwargs)


@register_model
def fpnas_s1pp(pretrained: bool = False, **kwargs: Any) -> FPNAS:
    """FP-NAS-S1++ (a reconstruction): 66 M multiply-adds at 128 pixels."""
    return _create_fpnas('fpnas_s1pp', ARCHS['fpnas_s1pp'], pretrained, **kwargs)


@register_model
def fpnas_s2pp(pretrained: bool = False, **kwargs: Any) -> FPNAS:
    """FP-NAS-S2++ (a reconstruction): 98 M multiply-adds at 160 pixels."""
    return _create_fpnas('fpnas_s2pp', ARCHS['fpnas_s2pp'], pretrained, **kwargs)


@register_model
def fpnas_s3pp(pretrained: bool = False, **kwargs: Any) -> FPNAS:
    """FP-NAS-S3++ (a reconstruction): 147 M multiply-adds at 192 pixels."""
    return _create_fpnas('fpnas_s3pp', ARCHS['fpnas_s3pp'], pretrained, **kwargs)


@register_model
def fpnas_s4pp(pretrained: bool = False, **kwargs: Any) -> FPNAS:
    """FP-NAS-S4++ (a reconstruction): 268 M multiply-adds at 224 pixels."""
    return _create_fpnas('fpnas_s4pp', ARCHS['fpnas_s4pp'], pretrained, **kwargs)


@register_model
def fpnas_l0(pretrained: bool = False, **kwargs: Any) -> FPNAS:
    """FP-NAS-L0 (a reconstruction): 399 M multiply-adds at 224 pixels."""
    return _create_fpnas('fpnas_l0', ARCHS['fpnas_l0'], pretrained, **kwargs)


@register_model
def fpnas_l1(pretrained: bool = False, **kwargs: Any) -> FPNAS:
    """FP-NAS-L1 (a reconstruction): 728 M multiply-adds at 240 pixels."""
    return _create_fpnas('fpnas_l1', ARCHS['fpnas_l1'], pretrained, **kwargs)


@register_model
def fpnas_l2(pretrained: bool = False, **kwargs: Any) -> FPNAS:
    """FP-NAS-L2 (a reconstruction): 997 M multiply-adds at 256 pixels."""
    return _create_fpnas('fpnas_l2', ARCHS['fpnas_l2'], pretrained, **kwargs)


_own: dict[str, str] = {}  # the names that `register_arch` added -> string


def register_arch(
        name: str, arch: str, weights: Sequence[Weights] = (), description: str = ''
) -> Callable[..., FPNAS]:
    """Make an architecture a timm model with a name of its own, in this process.

    Args:
        name: as timm's: lower case, digits and `_`. A name given before by this function is given anew.
        arch: its architecture string.
        weights: entries of a manifest, `name.tag`; the first is what `pretrained=True` takes without a tag.
        description: a line for its `pretrained_cfg`.

    Returns:
        The entrypoint, as timm's own: `pretrained` and the arguments of `FPNAS`.

    Raises:
        ArchError: `arch` is not an architecture string.
        UsageError: the name is not one or is taken, or some weights are for another name or architecture.
    """
    if not isinstance(name, str) or not re.fullmatch('[a-z][a-z0-9_]*', name):
        raise UsageError(f'{name!r}: expected a name in lower case with digits and _, as my_net')
    if name not in _own and (is_model(name) or name in globals()):
        raise UsageError(f'{name!r} is taken: choose another name')
    for w in weights:
        if w.name != name or not w.tag:
            raise UsageError(f'{w.model}: expected {name}.TAG')
    parsed = Arch.parse(arch)
    string = str(parsed)

    def entrypoint(pretrained: bool = False, **kwargs: Any) -> FPNAS:
        return _create_fpnas(name, string, pretrained, **kwargs)

    entrypoint.__name__ = entrypoint.__qualname__ = name
    entrypoint.__doc__ = description or f'{string} ({name}, registered by `register_arch`)'
    about = {'description': description or None, 'origin_url': None, 'paper_ids': None, 'paper_name': None}
    default_cfgs.update(generate_default_cfgs(named_cfgs(name, parsed, weights, **about)))
    _own[name] = string
    globals()[name] = entrypoint
    return register_model(entrypoint)


def _register_published() -> None:
    """The manifests' models that are not of this package."""
    own: dict[str, list[Weights]] = {}
    for w in _published:
        if w.name not in ARCHS:
            own.setdefault(w.name, []).append(w)
    for name, weights in own.items():
        if weights[0].arch is None:
            raise UsageError(f'{weights[0].model}: not a model of this package, and no arch is given')
        register_arch(name, weights[0].arch, weights)


_register_published()
