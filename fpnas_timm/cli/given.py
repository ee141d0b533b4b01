"""The architecture that `info`, `flops` and `draw` are given: a name, a string, a file or a folder. Without torch."""
import os
from pathlib import Path
from typing import Any

from ..arch import Arch, ArchError
from ..errors import UsageError
from ..weights.json_file import read_json
from ..zoo.names import resolve_arch

__all__ = ['ARCH_HELP', 'given_arch']

ARCH_HELP = 'model name, such as fpnas_l2, architecture string, file with a string, or folder of a search or a training'


def given_arch(given: str) -> tuple[Arch, str]:
    """The architecture, and a label for it.

    Args:
        given: a model's name or a string, as in `resolve_arch`; else a file with a string, such as the `arch.txt` of a
            search; or the folder of a search, of a training run or of a model, with or without `local-dir:`.

    Raises:
        UsageError: it is none of these, or there is no architecture of this package in the file or folder.
    """
    path = given.removeprefix('local-dir:')
    try:
        return resolve_arch(given)
    except ArchError as e:
        if os.path.isfile(path):
            return _of_file(Path(path)), Path(path).name
        if os.path.isdir(path):
            return _of_folder(Path(path)), Path(path).resolve().name
        raise UsageError(str(e)) from None


def _of_file(path: Path) -> Arch:
    try:
        return Arch.parse(path.read_text(encoding='utf-8').strip())
    except OSError as e:
        raise UsageError(f'{path}: cannot be read ({e.strerror})') from None
    except UnicodeDecodeError:
        raise UsageError(f'{path}: not text: expected an architecture string, as in the arch.txt of a search') from None
    except ArchError as e:
        raise UsageError(f'{path}: {e}') from None


def _of_folder(folder: Path) -> Arch:
    """The result of a search comes first: its `extract` has the same architecture."""
    if (folder / 'arch.txt').is_file():
        return _of_file(folder / 'arch.txt')
    for place in (folder, folder / 'export', folder / 'extract'):
        file = place / 'config.json'
        config: Any = read_json(file) if file.is_file() else {}
        args = config.get('model_args') if isinstance(config, dict) else None
        arch = args.get('arch') if isinstance(args, dict) else None
        if isinstance(arch, str):
            try:
                return Arch.parse(arch)
            except ArchError as e:
                raise UsageError(f'{file}: {e}') from None
    raise UsageError(f'{folder}: no architecture there: expected the folder of a search (arch.txt), of a training run '
                     '(export/), or one with the config.json of a network of this package')
