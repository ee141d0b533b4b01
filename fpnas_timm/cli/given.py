"""The network that `info`, `flops`, `draw` and `latency` are given: name, string, file or folder. Without torch."""
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..arch import Arch, ArchError
from ..arch.checks import MAX_LENGTH
from ..arch.sizes import simplest_size
from ..errors import UsageError
from ..weights.config_checks import check_cfg, check_model_args, cost_args
from ..weights.json_file import read_json, show
from ..zoo.names import resolve_arch
from ..zoo.strings import ARCHS

__all__ = ['ARCH_HELP', 'Given', 'given_arch']

ARCH_HELP = 'model name, such as fpnas_l2, architecture string, file with a string, or folder of a search or a training'


@dataclass(frozen=True)
class Given:
    """A network.

    Attributes:
        arch: its architecture.
        label: what to call it.
        sizes: arguments of `arch.cost.cost` as the model's folder has them: `img_size`, `num_classes`, `in_chans`, ..;
            empty for a name, a string and a file, which are counted with 1,000 classes.
        weights: `local-dir:FOLDER` of its weights, if they are in a folder.
    """

    arch: Arch
    label: str
    sizes: Mapping[str, Any] = field(default_factory=dict)
    weights: str = ''


def given_arch(given: str) -> Given:
    """The network that is meant.

    Args:
        given: a model's name or a string, as in `resolve_arch`; else a file with a string, such as the `arch.txt` of a
            search; or the folder of a search, of a training run or of a model, with or without `local-dir:`.

    Raises:
        UsageError: it is none of these, or there is no architecture of this package in the file or folder.
    """
    path = given.removeprefix('local-dir:')
    try:
        return Given(*resolve_arch(given))
    except ArchError as e:
        if os.path.isfile(path):
            return Given(_of_file(Path(path)), Path(path).name)
        if os.path.isdir(path):
            return _of_folder(Path(path))
        raise UsageError(str(e)) from None


def _of_file(path: Path) -> Arch:
    if path.suffix == '.json':
        raise UsageError(f'{path}: not an architecture string: give its folder, {path.parent}')
    try:
        with path.open('rb') as file:
            start = file.read(MAX_LENGTH + 1)  # a file of weights is not read as a whole
        return Arch.parse(start.decode('utf-8-sig').strip())
    except OSError as e:
        raise UsageError(f'{path}: cannot be read ({e.strerror})') from None
    except UnicodeDecodeError:
        raise UsageError(f'{path}: not text: expected an architecture string, as in the arch.txt of a search') from None
    except ArchError as e:
        raise UsageError(f'{path}: {e}') from None


def _of_folder(folder: Path) -> Given:
    """The result of a search comes first; its `extract` says for which classes and images."""
    label = folder.resolve().name
    file = folder / 'arch.txt'
    found = _of_file(file) if file.is_file() else None
    for place, arch, sizes in _configs(folder):
        if found in (None, arch):
            return Given(arch, label, sizes, f'local-dir:{place}' if (place / 'model.safetensors').is_file() else '')
    if found is None:
        raise UsageError(f'{folder}: no architecture there: expected the folder of a search (arch.txt), of a training '
                         'run (export/), or one with the config.json of a network of this package')
    return Given(found, label)


def _configs(folder: Path) -> Iterator[tuple[Path, Arch, dict[str, Any]]]:
    """Each folder with a `config.json`, its architecture, and the arguments of `cost`."""
    for place in (folder, folder / 'export', folder / 'extract'):
        file = place / 'config.json'
        config: Any = read_json(file) if file.is_file() else {}
        if not isinstance(config, dict):
            raise UsageError(f'{file}: expected an object')
        args, cfg, name = config.get('model_args', {}), config.get('pretrained_cfg', {}), config.get('architecture')
        if name and name not in ('fpnas', *ARCHS):
            raise UsageError(f'{file}: is of {show(name)}, which is no network of this package')
        if not name or not isinstance(args, dict) or not isinstance(cfg, dict):
            continue
        cfg = {**cfg, **{k: config[k] for k in ('num_classes',) if k in config}}
        check_cfg(cfg, str(file))
        check_model_args(args, str(file), name, cfg)
        try:
            arch = Arch.parse(args.get('arch', ARCHS.get(name, '')))
        except ArchError as e:
            raise UsageError(f'{file}: {e}') from None
        size = cfg.get('input_size')
        sizes = {'num_classes': cfg.get('num_classes'), **cost_args(args)}
        sizes |= {'in_chans': size[0], 'img_size': simplest_size(tuple(size[1:]))} if size else {}
        yield place, arch, {key: value for key, value in sizes.items() if value is not None}
