"""Charts as SVG inside a web page, without a plotting library: lines, points with error bars, clouds of points.

Colours come from the classes `c0` .. `c5` (series), `q0` .. `q4` (early to late) and the variables of `page.css`, so
that a chart follows the light or dark mode of the page that it is in.
"""
import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeGuard

__all__ = ['COLORS', 'Bar', 'Chart', 'Series', 'escape', 'finite', 'thinned', 'ticks']

COLORS = 6  # classes of series
WIDTH, HEIGHT = 420, 250
LEFT, RIGHT, TOP, BOTTOM = 54, 12, 18, 40

Point = tuple[float, float]


@dataclass(frozen=True)
class Series:
    """A line: its name in the legend, its points (x, y), the number of its colour and of its dashes."""

    name: str
    points: Sequence[Point]
    color: int = 0
    dash: int = 0


@dataclass(frozen=True)
class Bar:
    """A point with an error bar from `y - error` to `y + error`.

    Attributes:
        label: what the pointer shows.
        mark: sets it off as the chosen one.
        tag: written beside it.
    """

    x: float
    y: float
    error: float
    label: str
    color: int = 0
    mark: bool = False
    tag: str = ''


def escape(value: object) -> str:
    """Text for HTML and XML: markup escaped, and what neither of them can contain replaced.

    >>> escape('<b a="1">\\x00'), escape('\\udc80')
    ('&lt;b a=&quot;1&quot;&gt;\\ufffd', '?')
    """
    text = ''.join(c if c >= ' ' or c in '\t\n\r' else '\ufffd' for c in str(value))
    text = text.replace('\x7f', '\ufffd').replace('\ufffe', '\ufffd').replace('\uffff', '\ufffd')
    return html.escape(text.encode('utf-8', 'replace').decode('utf-8'), quote=True)


def finite(value: object) -> TypeGuard[float]:
    """Whether it is a number that can be drawn."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def thinned(items: Sequence, limit: int) -> list:
    """At most `limit` items, spread evenly, with the first and the last.

    >>> thinned(range(10), 4), thinned('ab', 4)
    ([0, 3, 6, 9], ['a', 'b'])
    """
    if len(items) <= limit:
        return list(items)
    return [items[round(i * (len(items) - 1) / (limit - 1))] for i in range(limit)]


def ticks(low: float, high: float, count: int = 5, whole: bool = False) -> list[float]:
    """Round numbers from `low` to `high`, about `count` of them; whole numbers on request.

    >>> ticks(0, 1), ticks(1, 12, whole=True)
    ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [2.0, 4.0, 6.0, 8.0, 10.0, 12.0])
    """
    rough = max((high - low) / count, 1e-12)
    unit = 10 ** math.floor(math.log10(rough))
    step = next(unit * m for m in (1, 2, 2.5, 5, 10) if unit * m >= rough * 0.999)
    if whole:
        step = max(1, round(step))  # 2.5 becomes 2
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]


class Chart:
    """One chart: axes first, then what is drawn on them, then `svg()`."""

    def __init__(
            self, title: str, x: tuple[float, float], y: tuple[float, float], x_label: str, y_label: str,
            whole_x: bool = False,
    ) -> None:
        """
        Args:
            title: what a screen reader says.
            x, y: ranges of the axes; widened if they are empty.
            x_label, y_label: names of the axes.
            whole_x: ticks of x at whole numbers only.
        """
        self.title = title
        self.x, self.y = _widened(x), _widened(y)
        self.parts: list[str] = []
        self._axes(x_label, y_label, whole_x)

    def px(self, x: float) -> str:
        """The place of x in the picture."""
        return _short(LEFT + (x - self.x[0]) / (self.x[1] - self.x[0]) * (WIDTH - LEFT - RIGHT))

    def py(self, y: float) -> str:
        """The place of y in the picture."""
        return _short(HEIGHT - BOTTOM - (y - self.y[0]) / (self.y[1] - self.y[0]) * (HEIGHT - TOP - BOTTOM))

    def _axes(self, x_label: str, y_label: str, whole_x: bool) -> None:
        bottom = HEIGHT - BOTTOM
        for value in ticks(*self.y):
            y = self.py(value)
            self.parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>')
            self.parts.append(f'<text class="tick end" x="{LEFT - 6}" y="{y}" dy=".35em">{_tick(value)}</text>')
        for value in ticks(*self.x, whole=whole_x):
            self.parts.append(f'<text class="tick mid" x="{self.px(value)}" y="{bottom + 15}">{_tick(value)}</text>')
        self.parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{bottom}" y2="{bottom}"/>')
        middle = (LEFT + WIDTH - RIGHT) / 2
        self.parts.append(f'<text class="label mid" x="{middle:g}" y="{HEIGHT - 6}">{escape(x_label)}</text>')
        up = (TOP + bottom) / 2
        self.parts.append(
            f'<text class="label mid" transform="translate(12 {up:g}) rotate(-90)">{escape(y_label)}</text>'
        )

    def level(self, y: float, label: str) -> None:
        """A horizontal line, such as a target."""
        if self.y[0] <= y <= self.y[1]:
            at = self.py(y)
            self.parts.append(f'<line class="level" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at}" y2="{at}"/>')
            place = f'x="{WIDTH - RIGHT}" y="{at}" dy="-4"'
            self.parts.append(f'<text class="tick end" {place}>{escape(label)}</text>')

    def upright(self, x: float, label: str, kind: str = 'level') -> None:
        """A vertical line with its name at the top: a target, or (`kind` 'phase') where a phase begins."""
        if self.x[0] <= x <= self.x[1]:
            at = self.px(x)
            late = kind != 'phase' and x > sum(self.x) / 2
            place = f'x="{at}" dx="{-4 if late else 3}" y="{TOP - 6}"'
            self.parts.append(f'<line class="{kind}" x1="{at}" x2="{at}" y1="{TOP - 12}" y2="{HEIGHT - BOTTOM}"/>')
            self.parts.append(f'<text class="tick{" end" if late else ""}" {place}>{escape(label)}</text>')

    def line(self, series: Series) -> None:
        """A line through the points of a series, and each point if there are few."""
        points = thinned([p for p in series.points if finite(p[0]) and finite(p[1])], 400)
        if not points:
            return
        path = 'M' + 'L'.join(f'{self.px(x)} {self.py(y)}' for x, y in points)
        kind = f'c{series.color % COLORS}'
        self.parts.append(f'<path class="line {kind} d{series.dash}" d="{path}"/>')
        if len(points) <= 40:
            self.parts += [
                f'<circle class="dot {kind}" cx="{self.px(x)}" cy="{self.py(y)}" r="2.2"><title>'
                f'{escape(series.name)}: {x:g}, {y:.6g}</title></circle>' for x, y in points
            ]

    def bars(self, bars: Sequence[Bar]) -> None:
        """Points with error bars; that with a `mark` is a diamond, drawn last."""
        for bar in sorted(bars, key=lambda b: b.mark):
            x, kind = self.px(bar.x), f'c{bar.color % COLORS}'
            low, high = self.py(bar.y - bar.error), self.py(bar.y + bar.error)
            self.parts.append(f'<g class="{kind}"><title>{escape(bar.label)}</title>')
            if bar.error:
                self.parts.append(f'<path class="whisker" d="M{x} {low}V{high}m-3 0h6M{x} {low}m-3 0h6"/>')
            y, size = self.py(bar.y), 6 if bar.mark else 4
            shape = f'M{x} {y}m0 {-size}l{size} {size}l{-size} {size}l{-size} {-size}z' if bar.mark else (
                f'M{x} {y}m{-size} 0a{size} {size} 0 1 0 {2 * size} 0a{size} {size} 0 1 0 {-2 * size} 0z'
            )
            self.parts.append(f'<path class="{"chosen" if bar.mark else "point"}" d="{shape}"/>')
            if bar.tag:
                tag = bar.tag if len(bar.tag) <= 16 else f'..{bar.tag[-14:]}'
                late = bar.x > sum(self.x) / 2
                place = f'class="tick{" end" * late}" x="{x}" y="{y}" dx="{-9 if late else 9}" dy=".35em"'
                self.parts.append(f'<text {place}>{escape(tag)}</text>')
            self.parts.append('</g>')

    def cloud(self, points: Sequence[Point], shade: int) -> None:
        """Many small points of one shade, `q0` to `q4`, as a single path."""
        path = ''.join(f'M{self.px(x)} {self.py(y)}h0' for x, y in points)
        if path:
            self.parts.append(f'<path class="cloud q{shade}" d="{path}"/>')

    def svg(self, data: str = '') -> str:
        """The finished picture; `data` is the id of its values, if it shows those of the epoch under the pointer."""
        more = f' data-chart="{escape(data)}"' if data else ''
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
            f'aria-label="{escape(self.title)}"{more}>{"".join(self.parts)}</svg>'
        )


def _widened(range_: tuple[float, float]) -> tuple[float, float]:
    low, high = range_
    if high > low:
        return low, high
    room = abs(low) * 0.05 or 0.5
    return low - room, low + room


def _tick(value: float) -> str:
    return f'{value / 1e6:g}M' if abs(value) >= 1e6 else f'{value / 1e3:g}k' if abs(value) >= 1e5 else f'{value:g}'


def _short(value: float) -> str:
    return f'{value:.1f}'.removesuffix('.0')
