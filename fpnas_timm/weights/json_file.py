"""JSON files from elsewhere (`config.json`, manifests), read within limits. Does not import torch."""
import json
import reprlib
from pathlib import Path
from typing import Any

from ..arch.checks import ArchError, unique_entries
from ..errors import UsageError, one_line

__all__ = ['MAX_JSON_BYTES', 'parse_json', 'read_json', 'show']

MAX_JSON_BYTES = 1 << 24
MAX_DEPTH = 32  # of nested objects and lists; what copies or prints the data needs several Python frames for each

_brief = reprlib.Repr()  # keeps error messages short, whatever a file contains
_brief.maxstring = _brief.maxother = 100
show = _brief.repr


def read_json(path: str | Path, where: str | None = None) -> Any:
    """Read a JSON file of at most `MAX_JSON_BYTES`.

    Args:
        path: the file.
        where: name of the file for error messages; its path if None.

    Raises:
        UsageError: the file cannot be read or is too large, or as in `parse_json`.
    """
    where = where or str(path)
    try:
        with Path(path).open('rb') as f:
            data = f.read(MAX_JSON_BYTES + 1)
    except OSError as e:
        raise UsageError(f'{where}: cannot be read ({e.strerror})') from None
    except ValueError as e:  # a NUL in the path
        raise UsageError(f'{where}: cannot be read ({one_line(e)})') from None
    if len(data) > MAX_JSON_BYTES:
        raise UsageError(f'{where}: more than {MAX_JSON_BYTES:,} bytes, too large for such a file')
    return parse_json(data, where)


def parse_json(data: bytes, where: str) -> Any:
    """Parse JSON without duplicate keys, nested at most `MAX_DEPTH` deep, whose text can be printed.

    Raises:
        UsageError: the data are not such JSON; the message starts with `where`.
    """
    try:
        value = json.loads(data.decode('utf-8'), object_pairs_hook=unique_entries)
    except ArchError as e:
        raise UsageError(f'{where}: {e}') from None
    except ValueError as e:
        raise UsageError(f'{where}: not JSON: {one_line(e)}') from None
    except RecursionError:
        raise UsageError(f'{where}: not JSON that can be used: nested too deeply') from None
    _check_nesting(value, where)
    return value


def _check_nesting(value: Any, where: str) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                below += item.keys()
                below += item.values()
            elif isinstance(item, list):
                below += item
            elif isinstance(item, str) and not item.isascii():
                try:
                    item.encode('utf-8')
                except UnicodeEncodeError:  # half of a surrogate pair: can be neither written nor printed
                    raise UsageError(f'{where}: {show(item)} is not valid text') from None
        if not below:
            return
        level = below
    raise UsageError(f'{where}: not JSON that can be used: nested too deeply')
