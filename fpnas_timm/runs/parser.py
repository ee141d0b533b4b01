"""Values of options from YAML files, Python and the command line: names and values are checked in the same way."""
import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ..arch import Arch, ArchError
from ..errors import UsageError, did_you_mean, one_line

__all__ = ['known_options', 'load_yaml', 'read_arch_file', 'refuse_unknown', 'set_options']


def load_yaml(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        UsageError: there is no such file, or it does not contain a mapping.
    """
    try:
        data = yaml.safe_load(Path(path).read_text(encoding='utf-8'))
    except (OSError, UnicodeDecodeError) as e:
        raise UsageError(f'{path}: cannot be read ({e.strerror if isinstance(e, OSError) else "not text"})') from None
    except yaml.YAMLError as e:
        raise UsageError(f'{path}: not YAML: {one_line(e)}') from None
    if data is None:
        return {}
    if not isinstance(data, dict) or not all(isinstance(k, str) for k in data):
        raise UsageError(f'{path}: expected option: value lines')
    return data


def known_options(parser: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    """The parser's options by their names in YAML files, with underscores."""
    return {a.dest: a for a in parser._actions if a.option_strings and a.dest != 'help'}


def set_options(parser: argparse.ArgumentParser, options: Mapping[str, Any], source: str) -> None:
    """Set `options` as the parser's defaults.

    Args:
        parser: the command-line parser.
        options: name -> value; dashes are equivalent to underscores.
        source: where the options come from, for error messages.

    Raises:
        UsageError: an unknown name (the message suggests a similar one), or an invalid value.
    """
    known = known_options(parser)
    for given, value in options.items():
        name = given.replace('-', '_')
        if name not in known:
            raise UsageError(f'{source}: unknown option {given!r}{did_you_mean(name, known)}')
        parser.set_defaults(**{name: _checked(known[name], value, f'{source}: {given}')})


def _checked(action: argparse.Action, value: Any, where: str) -> Any:
    if value is None:
        return None
    if action.nargs == 0:  # a switch
        if not isinstance(value, bool):
            raise UsageError(f'{where}: expected true or false, got {value!r}')
        return value
    if action.nargs in ('*', '+') or isinstance(action.nargs, int):
        values = value if isinstance(value, (list, tuple)) else [value]
        return value if isinstance(value, dict) else [_converted(action, v, where) for v in values]
    return _converted(action, value, where)


def _converted(action: argparse.Action, value: Any, where: str) -> Any:
    convert: Any = action.type
    if callable(convert):
        try:
            value = convert(value if isinstance(value, bool) else str(value))
        except (TypeError, ValueError, argparse.ArgumentTypeError) as e:
            raise UsageError(f'{where}: {value!r}: {e}') from None
    if action.choices is not None and value not in action.choices:
        raise UsageError(f'{where}: {value!r}: expected one of {", ".join(map(str, action.choices))}')
    return value


def refuse_unknown(parser: argparse.ArgumentParser, rest: Sequence[str]) -> None:
    """Raise UsageError for the first argument left over by `parse_known_args`, and suggest a similar option."""
    if not rest:
        return
    flags = [f for action in known_options(parser).values() if action.help != argparse.SUPPRESS
             for f in action.option_strings]
    unknown = next((r for r in rest if r.startswith('-')), rest[0])
    raise UsageError(f'unknown option {unknown}{did_you_mean(unknown.partition("=")[0], flags)}')


def read_arch_file(path: str) -> str:
    """Read an architecture string from a file; UsageError if there is none."""
    try:
        return str(Arch.parse(Path(path).read_text(encoding='utf-8').strip()))
    except (OSError, UnicodeDecodeError) as e:
        raise UsageError(f'--arch-file {path}: cannot be read ({getattr(e, "strerror", None) or "not text"})') from None
    except ArchError as e:
        raise UsageError(f'--arch-file {path}: {e}') from None
