"""Budgets as people write them: a number, '3M', '5ms', or a window of two."""
import math
import re
from collections.abc import Mapping

__all__ = ['Budget', 'Window', 'milliseconds', 'quantity', 'shown_ms', 'windows']

Window = tuple[float, float]  # smallest and largest value allowed
Budget = tuple[float | str, float | str] | float | str  # a number N means (0, N); texts as in `quantity`


def quantity(text: str) -> float:
    """Parse a number with an optional suffix K, M or G.

    Raises:
        ValueError: it is none; the message says what is expected.

    >>> quantity('3M'), quantity('0.4G'), quantity('66000000')
    (3000000.0, 400000000.0, 66000000.0)
    """
    factor = {'k': 1e3, 'm': 1e6, 'g': 1e9}.get(text[-1:].lower())
    try:
        value = float(text[:-1]) * factor if factor else float(text)
    except ValueError:
        value = float('nan')
    if value != value:
        raise ValueError('expected a number such as 3M, 0.4G or 66000000')
    return value


def milliseconds(text: str) -> float:
    """Parse a time with its unit (us, ms or s) as milliseconds; a number alone is milliseconds.

    Raises:
        ValueError: it is none; the message says what is expected.

    >>> milliseconds('5ms'), milliseconds('0.8 ms'), milliseconds('750us'), milliseconds('1.5s'), milliseconds('5')
    (5.0, 0.8, 0.75, 1500.0, 5.0)
    """
    found = re.fullmatch(r'\s*([-+.\deE]+?)\s*(us|\u00b5s|\u03bcs|ms|s|)\s*', text, re.IGNORECASE)
    try:
        value = float(found[1]) if found else math.nan
    except ValueError:
        value = math.nan
    if found is None or not math.isfinite(value):
        raise ValueError('expected a time with its unit, such as 5ms, 0.8ms or 750us')
    return value * {'s': 1e3, 'ms': 1.0, '': 1.0}.get(found[2].lower(), 1e-3)


def shown_ms(value: float) -> str:
    """A time in milliseconds as text, for people.

    >>> shown_ms(12.3456), shown_ms(0.08), shown_ms(1500)
    ('12.35 ms', '0.08 ms', '1500 ms')
    """
    return f'{value:.4g} ms'


def windows(budgets: Mapping[str, Budget | None]) -> dict[str, Window]:
    """The windows of the budgets that are given.

    Raises:
        ValueError: a budget is not a number, a text such as '3M' or two of these, or the window is empty.

    >>> windows({'macs': '3M', 'params': (1e3, '20k'), 'seconds': None})
    {'macs': (0.0, 3000000.0), 'params': (1000.0, 20000.0)}
    """
    found = {}
    for name, budget in budgets.items():
        if budget is None:
            continue
        ends = (0, budget) if isinstance(budget, (int, float, str)) else budget
        try:
            low, high = (quantity(end) if isinstance(end, str) else float(end) for end in ends)
        except (TypeError, ValueError):
            raise ValueError(f"{name}={budget!r}: expected a number, a text such as '3M', or two of these") from None
        if not low <= high:
            raise ValueError(f'{name}: the window from {low:,.16g} to {high:,.16g} is empty')
        found[name] = (low, high)
    return found
