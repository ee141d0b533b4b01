"""Progress bars: one place in a notebook's output that is written again; nothing in a file; a line in a terminal."""
import sys
import types
from collections.abc import Callable

import pytest
from matplotlib.figure import Figure

from fpnas_timm.runs.progress import Area, current_area, in_notebook, one_area, open_bar, progress, shows_progress


class Shown:
    """What a notebook's cell shows: one entry per `display`, the last content of each."""

    def __init__(self) -> None:
        self.contents: list[str] = []
        self.updates = 0

    def display(self, content: str, display_id: bool) -> object:
        assert display_id
        self.contents.append(content)
        place = len(self.contents) - 1

        def update(content: str) -> None:
            self.contents[place] = content
            self.updates += 1

        return types.SimpleNamespace(update=update)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Shown:
    """As in the kernel of a notebook."""
    found = Shown()
    shell = types.SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, 'IPython', types.SimpleNamespace(get_ipython=lambda: shell, version_info=(9, 0)))
    monkeypatch.setitem(sys.modules, 'IPython.display', types.SimpleNamespace(HTML=str, display=found.display))
    monkeypatch.setattr('fpnas_timm.runs.progress.LINES', 0.0)
    return found


def figure() -> Figure:
    drawn = Figure(figsize=(1, 1))
    drawn.subplots().plot([1, 2])
    return drawn


def test_a_notebook_shows_one_place_per_run(shown: Shown, capsys: pytest.CaptureFixture) -> None:
    assert in_notebook() and shows_progress()
    with one_area() as area:
        for epoch in range(3):
            with one_area() as inner:  # of a part of the run
                assert inner is area is current_area()
            for _ in progress(range(4), f'epoch {epoch + 1}', True):
                pass
            area.picture(figure, last=True)
            area.line(f'epoch {epoch + 1} of 3: a < b', last=True)
    assert len(shown.contents) == 1 and shown.updates >= 6
    assert shown.contents[0].count('<img src="data:image/png;base64,') == 1
    assert shown.contents[0].endswith('epoch 3 of 3: a &lt; b</div>')
    assert capsys.readouterr() == ('', '')
    with open_bar(name='alone', total=5) as bar:
        bar.set_postfix({'loss': '0.5'})
        bar.update(3)
        assert '3/5' in shown.contents[1] and 'loss=0.5' in shown.contents[1] and 'alone' in shown.contents[1]
    assert shown.contents[1].endswith('"></div>')  # it goes at its end


def test_hidden_bars_show_nothing(shown: Shown) -> None:
    assert list(progress([1, 2], 'not the first process', False)) == [1, 2]
    assert shown.contents == []


def test_pictures_are_not_drawn_too_often(shown: Shown) -> None:
    drawn = []

    def draw() -> Figure:
        drawn.append(1)
        return figure()

    area = Area()
    for _ in range(10):
        area.picture(draw)
    assert len(drawn) == 1
    area.picture(draw, last=True)
    assert len(drawn) == 2


def test_elsewhere_there_is_neither_a_bar_nor_a_picture(capsys: pytest.CaptureFixture) -> None:
    def never() -> Figure:
        raise AssertionError

    assert not in_notebook() and not shows_progress()
    with one_area() as area, open_bar(name='hidden', total=2) as bar:
        bar.update(2)
        area.line('text', last=True)
        area.picture(never, last=True)
    assert capsys.readouterr() == ('', '')


def test_ipython_in_a_terminal_is_no_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    shells: list[Callable[[], object]] = [lambda: None, lambda: types.SimpleNamespace()]
    for shell in shells:
        monkeypatch.setitem(sys.modules, 'IPython', types.SimpleNamespace(get_ipython=shell))
        assert not in_notebook()
