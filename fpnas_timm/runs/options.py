"""Options of the command lines: from YAML files, shared between commands, checked by name and value."""
import argparse
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from ..arch import Arch, ArchError
from ..errors import UsageError

__all__ = ['OptionGroup', 'known_options', 'load_yaml', 'read_arch_file', 'refuse_unknown', 'set_options']


class OptionGroup:
    """`add_argument` in one line an option: the type is that of the default, False makes a switch."""

    def __init__(self, parser: argparse.ArgumentParser, title: str) -> None:
        self.group = parser.add_argument_group(title)

    def __call__(self, flags: str, default: Any, text: str, **kwargs: Any) -> None:
        if default is False:
            kwargs['action'] = 'store_true'
        elif 'action' not in kwargs:
            kwargs.setdefault('type', type(default) if default is not None else str)
            if kwargs.get('nargs') is None and 'choices' not in kwargs:
                kwargs.setdefault('metavar', {int: 'N', float: 'X'}.get(kwargs['type'], 'VALUE'))
        # argparse reads % in a help text as a format
        self.group.add_argument(*flags.split(), default=default, help=text.replace('%', '%%'), **kwargs)


def load_yaml(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        UsageError: there is no such file, or it holds no mapping.
    """
    try:
        data = yaml.safe_load(Path(path).read_text(encoding='utf-8'))
    except (OSError, UnicodeDecodeError) as e:
        raise UsageError(f'{path}: cannot be read ({e.strerror if isinstance(e, OSError) else "not text"})') from None
    except yaml.YAMLError as e:
        raise UsageError(f'{path}: not YAML: {" ".join(str(e).split())}') from None
    if data is None:
        return {}
    if not isinstance(data, dict) or not all(isinstance(k, str) for k in data):
        raise UsageError(f'{path}: expected option: value lines')
    return data


def known_options(parser: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    """The parser's options by the name that a YAML file calls them, with underscores."""
    return {a.dest: a for a in parser._actions if a.option_strings and a.dest != 'help'}


def set_options(parser: argparse.ArgumentParser, options: Mapping[str, Any], source: str) -> None:
    """Make `options` the parser's defaults.

    Args:
        parser: of the command line.
        options: name -> value; dashes count as underscores.
        source: what an error calls the place they come from.

    Raises:
        UsageError: an unknown name (with the nearest one), or a value that the option does not take.
    """
    known = known_options(parser)
    for given, value in options.items():
        name = given.replace('-', '_')
        if name not in known:
            close = get_close_matches(name, known, n=1)
            hint = f'; did you mean {close[0]}?' if close else ''
            raise UsageError(f'{source}: unknown option {given!r}{hint}')
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
    if callable(action.type):
        try:
            value = action.type(str(value)) if not isinstance(value, bool) else action.type(value)
        except (TypeError, ValueError, argparse.ArgumentTypeError) as e:
            raise UsageError(f'{where}: {value!r}: {e}') from None
    if action.choices is not None and value not in action.choices:
        raise UsageError(f'{where}: {value!r}: expected one of {", ".join(map(str, action.choices))}')
    return value


def refuse_unknown(parser: argparse.ArgumentParser, rest: Sequence[str]) -> None:
    """Raise UsageError for the first argument that `parse_known_args` has left over, with the nearest option."""
    if not rest:
        return
    flags = [f for action in known_options(parser).values() if action.help != argparse.SUPPRESS
             for f in action.option_strings]
    unknown = next((r for r in rest if r.startswith('-')), rest[0])
    close = get_close_matches(unknown.partition('=')[0], flags, n=1)
    raise UsageError(f'unknown option {unknown}{f"; did you mean {close[0]}?" if close else ""}')


def read_arch_file(path: str) -> str:
    """The architecture string in a file; UsageError if there is none."""
    try:
        return str(Arch.parse(Path(path).read_text(encoding='utf-8').strip()))
    except (OSError, UnicodeDecodeError) as e:
        raise UsageError(f'--arch-file {path}: cannot be read ({getattr(e, "strerror", None) or "not text"})') from None
    except ArchError as e:
        raise UsageError(f'--arch-file {path}: {e}') from None
