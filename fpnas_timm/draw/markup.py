"""The frame of a report: one HTML file with its style and script, that needs nothing from elsewhere."""
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from .svg import COLORS, escape

__all__ = ['Cell', 'card', 'cards', 'code', 'details', 'json_script', 'key', 'page', 'section', 'table']

POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


class Cell(str):
    """HTML for a table that is finished: not escaped again."""


def page(title: str, intro: str, sections: Mapping[str, str]) -> str:
    """The whole file.

    Args:
        title: its title; text.
        intro: HTML below the title.
        sections: title -> HTML, in order; those without content are left out.
    """
    shown = {name: content for name, content in sections.items() if content}
    links = ''.join(f'<a href="#{_anchor(name)}">{escape(name)}</a>' for name in shown)
    body = ''.join(section(name, content) for name, content in shown.items())
    style, script = (files(__package__).joinpath(name).read_text(encoding='utf-8') for name in ('page.css', 'page.js'))
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n<title>{escape(title)}</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta name="color-scheme" content="light dark">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n<style>\n{style}</style></head>\n'
        f'<body><main><h1>{escape(title)}</h1>{intro}<nav aria-label="sections">{links}</nav>\n{body}</main>\n'
        f'<script>\n{script}</script></body></html>\n'
    )


def section(title: str, content: str) -> str:
    """A section with its heading; a link leads to it."""
    return f'<section id="{_anchor(title)}" aria-label="{escape(title)}"><h2>{escape(title)}</h2>{content}</section>\n'


def _anchor(title: str) -> str:
    return ''.join(c if c.isalnum() else '-' for c in title.lower())


def table(head: Sequence[str], rows: Sequence[Sequence[object]], name: str, kinds: Sequence[str] = ()) -> str:
    """A table that scrolls in its box if it is too wide.

    Args:
        head: names of the columns.
        rows: cells, as text or as `Cell`. The first cell of a row is its heading.
        name: what a screen reader calls it.
        kinds: class of each row; none if empty.
    """
    lines = []
    for i, row in enumerate(rows):
        kind = f' class="{kinds[i]}"' if kinds and kinds[i] else ''
        first, *rest = (cell if isinstance(cell, Cell) else escape(cell) for cell in row)
        lines.append(f'<tr{kind}><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in rest)}</tr>')
    top = ''.join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(name)}"><table><thead><tr>{top}</tr>'
        f'</thead><tbody>{"".join(lines)}</tbody></table></div>'
    )


def details(summary: str, content: str) -> str:
    """Content that is shown on a click."""
    return f'<details><summary>{escape(summary)}</summary>{content}</details>'


def code(text: str, name: str) -> str:
    """Text to copy, with a button for it."""
    kind = 'pre' if '\n' in text else 'pre class="wrap"'
    return (
        f'<div class="code"><{kind} tabindex="0"><code>{escape(text)}</code></pre>'
        f'<button type="button" class="copy" aria-label="copy {escape(name)}">copy</button></div>'
    )


def card(name: str, value: str, note: str = '') -> str:
    """A number with its name, and a note below."""
    below = f'<span class="faint">{escape(note)}</span>' if note else ''
    return f'<div class="card"><span class="name">{escape(name)}</span><strong>{escape(value)}</strong>{below}</div>'


def cards(content: Sequence[str]) -> str:
    """Cards side by side."""
    return f'<div class="cards">{"".join(content)}</div>'


def key(entries: Sequence[tuple[str, int, int]]) -> str:
    """A legend of lines: name, number of the colour, number of the dashes."""
    items = ''.join(
        f'<li><svg xmlns="http://www.w3.org/2000/svg" class="swatch" viewBox="0 0 24 10" aria-hidden="true"><path '
        f'class="line c{color % COLORS} d{dash}" d="M1 5H23"/></svg> {escape(name)}</li>'
        for name, color, dash in entries
    )
    return f'<ul class="legend">{items}</ul>'


def json_script(name: str, data: Any) -> str:
    """Data for the script of the page; nothing in it can end the element."""
    text = json.dumps(data, separators=(',', ':')).replace('<', '\\u003c').replace('>', '\\u003e')
    return f'<script type="application/json" id="{escape(name)}">{text}</script>'
