"""Progress bars: a line in a terminal; in a notebook one place that is written again, with a picture above the line.

Elsewhere (in a file, or under a scheduler) there are no bars: runs log lines instead.
"""
import base64
import contextlib
import html
import io
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ['Area', 'current_area', 'in_notebook', 'one_area', 'open_bar', 'progress', 'shows_progress']

LINES, PICTURES = 0.3, 2.0  # seconds between two changes of a line, and of a picture
STYLE = 'font-family: monospace; font-size: 90%; white-space: pre-wrap'


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook, which shows HTML and can write it again."""
    shell = getattr(sys.modules.get('IPython'), 'get_ipython', lambda: None)()
    return getattr(shell, 'kernel', None) is not None


def shows_progress() -> bool:
    """Whether there is somebody to see a progress bar: in a terminal or a notebook."""
    return sys.stderr.isatty() or in_notebook()


class Area:
    """A place in the output of a notebook's cell: a picture, and a line below it. Elsewhere it shows nothing."""

    def __init__(self) -> None:
        self._handle: Any = None
        self._picture = self._line = ''
        self._drawn = self._written = -1e9

    def line(self, text: str, last: bool = False) -> None:
        """Show a line of text; not more often than the eye can follow, unless it is the `last`."""
        if last or time.monotonic() - self._written >= LINES:
            self._line = text
            self._show()

    def picture(self, draw: Callable[[], 'Figure'], last: bool = False) -> None:
        """Show the figure that `draw` makes with matplotlib, if that is installed, and unless one was just shown."""
        if not in_notebook() or not (last or time.monotonic() - self._drawn >= PICTURES):
            return
        content = io.BytesIO()
        with contextlib.suppress(ImportError):
            draw().savefig(content, format='png', dpi=64)
        if content.tell():
            encoded = base64.b64encode(content.getvalue()).decode()
            self._picture = f'<img src="data:image/png;base64,{encoded}" style="max-width: 100%">'
        self._drawn = time.monotonic()
        self._show()

    def _show(self) -> None:
        if not in_notebook():
            return
        from IPython.display import HTML, display  # type: ignore[import-not-found,unused-ignore]

        self._written = time.monotonic()
        content = HTML(f'{self._picture}<div style="{STYLE}">{html.escape(self._line)}</div>')
        if self._handle is None:
            self._handle = display(content, display_id=True)
        else:
            self._handle.update(content)


_current: ContextVar[Area | None] = ContextVar('area', default=None)


@contextlib.contextmanager
def one_area() -> Iterator[Area]:
    """Within the context, all progress bars share one area; in one of another run, that of the outer run."""
    area = current_area()
    token = _current.set(area)
    try:
        yield area
    finally:
        _current.reset(token)


def current_area() -> Area:
    """The area of the run that this is called in; a new one if there is none."""
    return _current.get() or Area()


class _NotebookBar(tqdm):
    """A bar as a line in an area."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._alone = _current.get() is None
        self._area = current_area()
        super().__init__(*args, **{**kwargs, 'file': io.StringIO(), 'ncols': 100, 'mininterval': LINES})

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Show the bar, or the text; a closed bar goes, but in the area of a run its last line stays."""
        if msg != '':
            self._area.line(msg or str(self).strip())
        elif self._alone:
            self._area.line('', last=True)

    def clear(self, nolock: bool = False) -> None:
        """There is nothing to clear."""


def open_bar(
        items: Iterable[Any] | None = None, name: str = '', total: int | None = None, initial: int = 0,
        hidden: bool = False,
) -> tqdm:
    """A progress bar, over `items` or to be updated; it disappears at its end.

    Args:
        items: what is gone through, if anything.
        name: stands before the bar.
        total: its length, if not that of `items`.
        initial: how much is done already.
        hidden: show nothing; so does a process without a terminal or a notebook.
    """
    kind = _NotebookBar if in_notebook() else tqdm
    return kind(
        items, desc=name, total=total, initial=initial, leave=False, disable=hidden or not shows_progress()
    )


def progress(items: Iterable[Any], name: str, primary: bool) -> tqdm:
    """A progress bar over `items`, on rank 0 only."""
    return open_bar(items, name, hidden=not primary)
