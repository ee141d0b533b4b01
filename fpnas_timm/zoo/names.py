"""Finds the architecture of a model name or an architecture string. Does not import torch."""
from ..arch import Arch, ArchError
from ..errors import did_you_mean
from ..weights.manifest import read_all
from .strings import ARCHS

__all__ = ['NO_NAME', 'OWN_ARCHS', 'resolve_arch']

NO_NAME = 'architecture'  # the label of an architecture string
OWN_ARCHS: dict[str, str] = {}  # name -> string of the models added by `register_arch`


def resolve_arch(name_or_string: str) -> tuple[Arch, str]:
    """The architecture of a model name or an architecture string, and a label for it.

    Names are those of this package, of `register_arch`, and of the manifest in `FPNAS_MANIFEST`.

    Raises:
        ArchError: the argument is neither a model name nor an architecture string.
        UsageError: the manifest, needed to look up the name, cannot be read.

    >>> arch, label = resolve_arch('fpnas_l0')
    >>> arch.img_size, label
    (224, 'fpnas_l0 (reconstruction)')
    """
    if name_or_string in ARCHS:
        return Arch.parse(ARCHS[name_or_string]), f'{name_or_string} (reconstruction)'
    if name_or_string in OWN_ARCHS:
        return Arch.parse(OWN_ARCHS[name_or_string]), name_or_string
    try:
        return Arch.parse(name_or_string), NO_NAME
    except ArchError as e:
        if not isinstance(name_or_string, str) or '_r' in name_or_string or '_k' in name_or_string:
            raise e
    own = {**{entry.name: entry.arch for entry in read_all() if entry.arch is not None}, **OWN_ARCHS}
    if name_or_string in own:
        return Arch.parse(own[name_or_string]), name_or_string
    names = ', '.join(dict.fromkeys([*ARCHS, *own]))
    hint = did_you_mean(name_or_string.lower(), [*ARCHS, *own])
    shown = f'{name_or_string[:77]}...' if len(name_or_string) > 80 else name_or_string
    raise ArchError(f'{shown!r} is neither a model ({names}) nor an architecture string{hint}')
