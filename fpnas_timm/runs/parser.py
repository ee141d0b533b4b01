"""Reads options: from the command line, YAML files and Python, with the same checks and errors of one line."""
import argparse
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import yaml

from ..arch import Arch, ArchError
from ..errors import RunError, UsageError, did_you_mean, one_line
from .options import HelpFormatter, ParseKwargs
from .values import Value, key_values

__all__ = [
    'Parser', 'check_order', 'default_workers', 'known_options', 'load_yaml', 'pythons_words', 'read_arch_file',
    'set_options',
]


class Parser(argparse.ArgumentParser):
    """A command-line parser whose errors are a UsageError of one sentence, without the usage; no abbreviations."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault('allow_abbrev', False)
        kwargs.setdefault('formatter_class', HelpFormatter)
        super().__init__(*args, **kwargs)
        self._negative_number_matcher = re.compile(r'-\.?\d')  # -1M and -5ms are values too, wrong ones of an option

    def error(self, message: str) -> NoReturn:
        """Raise UsageError."""
        raise UsageError(_reworded(message))

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse's; an unknown option raises UsageError with a similar one."""
        found, rest = self.parse_known_args(args, namespace)
        _refuse(self, rest)
        return found


def _reworded(message: str) -> str:
    """An error of argparse with the option's long name first, as in all other errors.

    >>> _reworded('argument -b/--batch-size: expected one argument')
    '--batch-size: expected a value'
    """
    found = re.match(r'argument (\S+): (.*)', message, re.DOTALL)
    if not found:
        return ' '.join(message.split())
    flags, reason = found[1].split('/'), ' '.join(found[2].split())
    flag = next((f for f in flags if f.startswith('--')), flags[0])
    reason = re.sub('^expected one argument$', 'expected a value', reason)
    reason = re.sub('^expected at least one argument$', 'expected one value or more', reason)
    reason = re.sub(r'^expected (\d+) arguments$', r'expected \1 values', reason)
    reason = re.sub('^ignored explicit argument (.*)', r'takes no value, got \1', reason)
    return f'{flag}{" " if re.match(".*: expected", reason) else ": "}{reason}'


def _refuse(parser: argparse.ArgumentParser, rest: Sequence[str]) -> None:
    """Raise UsageError for the first argument left over by `parse_known_args`, and suggest a similar option."""
    if not rest:
        return
    unknown = next((r for r in rest if r.startswith('-')), None)
    if unknown is None:
        raise UsageError(f'unexpected argument {rest[0]!r}')
    flags = [f for a in parser._actions if a.help != argparse.SUPPRESS for f in a.option_strings]
    unknown = unknown.partition('=')[0]
    raise UsageError(f'unknown option {unknown}{did_you_mean(unknown, flags)}')


def load_yaml(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        UsageError: there is no such file, or it does not contain a mapping.
    """
    try:
        data = yaml.safe_load(Path(path).read_text(encoding='utf-8'))
    except (OSError, UnicodeDecodeError) as e:
        raise UsageError(f'{path}: cannot be read ({e.strerror if isinstance(e, OSError) else "not text"})') from None
    except (yaml.YAMLError, RecursionError, ValueError) as e:  # ValueError: an impossible date, a NUL in the path
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
        source: where the options come from, for error messages: a file, or a function such as 'train()'.

    Raises:
        UsageError: an unknown name (the message suggests a similar one), or an invalid value.
    """
    known = known_options(parser)
    for given, value in options.items():
        name = given.replace('-', '_')
        if name not in known:
            raise UsageError(f'{source}: unknown option {given!r}{did_you_mean(name, known)}')
        where = f'{source}: {given}' + ('=' if source.endswith('()') else ': ')
        parser.set_defaults(**{name: _checked(known[name], value, where)})


def _checked(action: argparse.Action, value: Any, where: str) -> Any:
    """The value of an option from YAML or Python, converted; `where` ends in '=' or ': '."""
    try:
        if action.nargs == 0:  # a switch
            if not isinstance(value, bool):
                raise argparse.ArgumentTypeError(f'{value!r}: expected true or false')
            return value
        if isinstance(action, ParseKwargs):
            return dict(value) if isinstance(value, Mapping) else key_values(_several(value))
        convert: Any = action.type if callable(action.type) else lambda v: v
        if value is None:
            if isinstance(convert, Value) and not convert.optional:
                raise argparse.ArgumentTypeError('expected a value')
            return None
        if action.nargs in ('*', '+') or isinstance(action.nargs, int):
            values = _several(value)
            if isinstance(action.nargs, int) and len(values) != action.nargs:
                raise argparse.ArgumentTypeError(f'{value!r}: expected {action.nargs} values')
            if action.nargs == '+' and not values and action.default not in (None, []):
                raise argparse.ArgumentTypeError('expected one value or more')
            return [convert(v) for v in values]
        return convert(value)
    except argparse.ArgumentTypeError as e:
        raise UsageError(f'{where}{one_line(e)}') from None


def _several(value: Any) -> Sequence[Any]:
    if value is None:
        return []
    return value if isinstance(value, (list, tuple)) else [value]


def check_order(args: argparse.Namespace, *names: str) -> None:
    """Raise UsageError if the second value of one of these options, which take a range, is below the first."""
    for name in names:
        values = getattr(args, name)
        if values is not None and values[0] > values[1]:
            raise UsageError(
                f'--{name.replace("_", "-")} {values[0]:g} {values[1]:g}: expected the smaller number first'
            )


def default_workers(most: int = 4) -> int:
    """The default of `--workers`: `most`, but no more than each process of this machine has cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
    processes = os.environ.get('LOCAL_WORLD_SIZE', '1')
    return max(1, min(most, cores // (int(processes) if processes.isdecimal() and int(processes) else 1)))


@contextmanager
def pythons_words(parser: argparse.ArgumentParser) -> Iterator[None]:
    """Errors raised inside call options as Python does: `batch_size=0`, not `--batch-size 0`."""
    try:
        yield
    except (UsageError, RunError) as e:
        e.args = (_in_python(str(e), known_options(parser)), *e.args[1:])
        raise


def _in_python(message: str, names: Mapping[str, argparse.Action]) -> str:
    """
    >>> _in_python('--lr 0: expected more than 0: give --output OUT, not --amp', {'lr': 0, 'output': 0, 'amp': 0})
    'lr=0: expected more than 0: give output=OUT, not amp'
    >>> print(_in_python('use --device cpu, see --output out/1', {'device': 0, 'output': 0}))
    use device='cpu', see output='out/1'
    """

    def renamed(found: re.Match[str]) -> str:
        name = found[1].replace('-', '_')
        if name not in names:
            return found[0]
        value = found[2] or ''
        is_value = value and (found[3] or not re.fullmatch('[a-z]+', value) or value in ('cpu', 'auto', 'none'))
        if is_value and not re.match(r"[A-Z]+$|[-+.\d]+[\d.eE+-]*$|'", value):
            value = repr(value)
        return name + (f'={value}' if is_value else f' {value}' if value else '') + (found[3] or '')

    text = re.sub(r"--([a-z][a-z0-9-]*[a-z0-9])(?: ('[^']*'|[^\s:;,()]+))?(:(?=\s))?", renamed, message)
    return re.sub(r"(?<![\w-])-c FILE", 'config=FILE', text)


def read_arch_file(path: str) -> str:
    """Read an architecture string from a file; UsageError if there is none."""
    try:
        return str(Arch.parse(Path(path).read_text(encoding='utf-8-sig').strip()))
    except (OSError, UnicodeDecodeError) as e:
        raise UsageError(f'--arch-file {path}: cannot be read ({getattr(e, "strerror", None) or "not text"})') from None
    except ArchError as e:
        raise UsageError(f'--arch-file {path}: {e}') from None
