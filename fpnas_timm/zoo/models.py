"""The named models: Table B.1's rows, their architecture strings and pretrained cfgs, registered in timm.

The paper does not publish the encodings. **Every string here is a reconstruction**: the most probable architecture of
the row's search space under the prior of `reconstruct.py`, within the budgets that Table B.1 prints. `fpnas reconstruct
NAME` derives it again. The tags (`fpnas_l2.in1k`) come from the manifest of published weights, which is empty so far.
`register_arch` adds your own models.

timm needs names and tags when a model is registered, so the manifests are read on import. An error in a manifest does
not stop the import: it is logged, and raised when weights are loaded or listed (`known_weights`).
"""
import logging
import os
import re
from collections.abc import Callable, Sequence
from typing import Any

from timm.models import DefaultCfg, build_model_with_cfg, generate_default_cfgs, is_model, register_model

from ..arch import Arch, ArchError
from ..errors import UsageError
from ..model.network import FPNAS, checkpoint_filter_fn, feature_levels
from ..weights.manifest import ENVIRONMENT, OWN, ManifestEntry, read_all
from ..weights.pretrained import check_config, default_cfg, named_cfgs, with_checked_weights
from .names import OWN_ARCHS, resolve_arch
from .strings import ARCHS

__all__ = ['default_cfgs', 'known_weights', 'register_arch', 'resolve_arch']


def known_weights() -> list[ManifestEntry]:
    """Read the entries of the package's manifest and of `FPNAS_MANIFEST`.

    Raises:
        UsageError: a manifest cannot be read, or an entry does not match a model of this package and its name is taken.
    """
    entries = read_all()
    extra = os.environ.get(ENVIRONMENT)
    where = f'{ENVIRONMENT}={extra}' if extra else str(OWN)
    for name, weights in _by_name(entries).items():
        string = ARCHS.get(name, weights[0].arch)
        if name not in ARCHS:
            _check_free(name, f'{where}: {weights[0].model}: ')
        if string is None:
            raise UsageError(f'{where}: {weights[0].model}: not a model of this package, and no arch is given')
        _check_fit(name, Arch.parse(string), weights, f'{where}: ')
    return entries


def _by_name(entries: Sequence[ManifestEntry]) -> dict[str, list[ManifestEntry]]:
    grouped: dict[str, list[ManifestEntry]] = {}
    for entry in entries:
        grouped.setdefault(entry.name, []).append(entry)
    return grouped


def _check_free(name: str, where: str = '') -> None:
    if name not in OWN_ARCHS and (name in ('fpnas', *__all__) or is_model(name)):
        raise UsageError(f'{where}{name!r} is taken: choose another name')


def _check_fit(name: str, arch: Arch, weights: Sequence[ManifestEntry], where: str = '') -> None:
    for e in weights:
        if e.name != name or not e.tag:
            raise UsageError(f'{where}{e.model}: expected {name}.TAG')
        if e.arch is not None and Arch.parse(e.arch) != arch:
            raise UsageError(f'{where}{e.model}: these weights are of another architecture than {name}: {e.arch}')


def _weights_to_register() -> list[ManifestEntry]:
    """The known weights; if there is an error in a manifest, log it and return none."""
    try:
        return known_weights()
    except UsageError as e:
        logging.getLogger(__name__).warning('%s: no weights can be loaded by name', e)
        return []


_registered = _weights_to_register()
default_cfgs: dict[str, DefaultCfg] = generate_default_cfgs({
    'fpnas': default_cfg(224),
    **{
        key: cfg
        for name, string in ARCHS.items()
        for key, cfg in named_cfgs(
            name,
            Arch.parse(string),
            [entry for entry in _registered if entry.name == name],
            description='A reconstruction from Table B.1, not the paper\'s encoding.',
        ).items()
    },
})


def _create_fpnas(
        variant: str, string: str, pretrained: bool, own_weights: Sequence[ManifestEntry] = (), /, **kwargs: Any
) -> FPNAS:
    check_config(variant, string, kwargs)
    if 'arch' in kwargs:
        raise UsageError(f'{variant} has its own architecture: omit arch, or create fpnas with it')
    if pretrained:
        entries = [*own_weights, *known_weights(), *_registered]  # the manifest may have changed after the import
        kwargs = with_checked_weights(variant, string, default_cfgs[variant].cfgs, entries, kwargs)
    levels = len(feature_levels(Arch.parse(string)))
    feature_cfg = dict(out_indices=tuple(range(levels)), flatten_sequential=True)
    stored = kwargs.get('pretrained_model_args') or {}
    model = build_model_with_cfg(
        FPNAS,
        variant,
        pretrained,
        arch=string,
        pretrained_filter_fn=checkpoint_filter_fn,
        feature_cfg={**feature_cfg, **kwargs.pop('feature_cfg', {})},
        **kwargs,
    )
    model._model_args = dict(stored)  # type: ignore[assignment]  # timm adds its own, and saves them with the weights
    return model


@register_model
def fpnas(pretrained: bool = False, arch: str = '', **kwargs: Any) -> FPNAS:
    """An FP-NAS network of any architecture string: `timm.create_model('fpnas', arch=STRING)`."""
    if not arch:
        raise ArchError(
            "fpnas needs an architecture string: timm.create_model('fpnas', arch=STRING), on a command line "
            "--model fpnas --model-kwargs arch=STRING; where only a name is taken: register_arch('my_net', STRING), in "
            'a script of timm: fpnas run --arch my_net=STRING SCRIPT'
        )
    parsed = Arch.parse(arch)
    if not kwargs.get('pretrained_cfg'):  # a folder or repository has its own in config.json
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
    """Register an architecture as a named timm model, in this process.

    Args:
        name: a name like timm's: lower case, digits and `_`. A name registered by this function can be replaced.
        arch: the architecture string.
        weights: manifest entries, each `name.tag`; `pretrained=True` without a tag loads the first one.
        description: one line for its `pretrained_cfg`.

    Returns:
        The entrypoint, like those of timm; its arguments are `pretrained` and those of `FPNAS`.

    Raises:
        ArchError: `arch` is not an architecture string.
        UsageError: the name is malformed or taken, or some weights are for a different name or architecture.

    >>> entrypoint = register_arch('doc_net', 'i32-cn_k3_s2_c8_nsw-ir_k3_s2_e3_c16_nre-cn_k1_c32_nsw')
    >>> import timm
    >>> timm.create_model('doc_net', num_classes=10).num_classes
    10
    """
    if not isinstance(name, str) or not re.fullmatch('[a-z][a-z0-9_]*', name):
        raise UsageError(f'{name!r}: expected a name in lower case with digits and _, as my_net')
    _check_free(name)
    parsed = Arch.parse(arch)
    _check_fit(name, parsed, weights)
    string, weights = str(parsed), tuple(weights)

    def entrypoint(pretrained: bool = False, **kwargs: Any) -> FPNAS:
        return _create_fpnas(name, string, pretrained, weights, **kwargs)

    entrypoint.__name__ = entrypoint.__qualname__ = name
    entrypoint.__doc__ = description or f'{string} ({name}, registered by `register_arch`)'
    about = {'description': description or None, 'origin_url': None, 'paper_ids': None, 'paper_name': None}
    default_cfgs.update(generate_default_cfgs({**named_cfgs(name, parsed, weights, **about)}))
    OWN_ARCHS[name] = string
    register_model(entrypoint)
    __all__.remove(name)  # timm adds it, but this module has no such attribute
    return entrypoint


for _name, _entries in _by_name(_registered).items():
    if _name not in ARCHS:
        register_arch(_name, str(_entries[0].arch), _entries)
