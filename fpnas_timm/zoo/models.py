"""The named models: Table B.1's rows, their architecture strings and pretrained cfgs, registered in timm.

The paper does not publish the encodings. **Every string here is a reconstruction**: the most probable architecture of
the row's search space under the prior of `fpnas_timm/reconstruct.py`, within the budgets that Table B.1 prints.
`python -m fpnas_timm.reconstruct NAME` prints it again. The tags (`fpnas_l2.in1k`) come from the manifest of published
weights, which is empty so far. `register_arch` adds models of one's own.
"""
import re
from collections.abc import Callable, Sequence
from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, is_model, register_model

from ..arch import Arch, ArchError
from ..errors import UsageError
from ..model.network import FPNAS, checkpoint_filter_fn, feature_levels
from ..weights.manifest import ManifestEntry, read_all
from ..weights.pretrained import default_cfg, named_cfgs, with_checked_weights
from .names import OWN_ARCHS, resolve_arch
from .strings import ARCHS

__all__ = ['default_cfgs', 'register_arch', 'resolve_arch']

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


def register_arch(
        name: str, arch: str, weights: Sequence[ManifestEntry] = (), description: str = ''
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
    if name not in OWN_ARCHS and (is_model(name) or name in globals()):
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
    OWN_ARCHS[name] = string
    globals()[name] = entrypoint
    return register_model(entrypoint)


def _register_published() -> None:
    """The manifests' models that are not of this package."""
    own: dict[str, list[ManifestEntry]] = {}
    for w in _published:
        if w.name not in ARCHS:
            own.setdefault(w.name, []).append(w)
    for name, weights in own.items():
        if weights[0].arch is None:
            raise UsageError(f'{weights[0].model}: not a model of this package, and no arch is given')
        register_arch(name, weights[0].arch, weights)


_register_published()
