"""The picture of a search that scores candidates shows what is in the history and in the candidates."""
import pytest

pytest.importorskip('matplotlib')

from fpnas_timm.draw.candidates import course_of_candidates


def test_course() -> None:
    history = [
        {'epoch': 0, 'phase': 'weights', 'train_loss': 2.0}, {'epoch': 1, 'phase': 'weights', 'train_loss': 1.5},
        {'epoch': 2, 'phase': 'random', 'score': -1.0},
    ]
    candidates = [(3e6, -1.2), (2e6, -0.9), (2.5e6, -1.0), (1e6, -0.7)]
    left, middle, right = course_of_candidates(history, candidates, target=3e6).axes
    assert left.lines[0].get_xydata().tolist() == [[1, 2.0], [2, 1.5]]
    each, best = middle.lines
    assert list(each.get_ydata()) == [-1.2, -0.9, -1.0, -0.7]
    assert list(best.get_ydata()) == [-1.2, -0.9, -0.9, -0.7]
    points, result, target = right.lines
    assert list(points.get_xdata()) == [3, 2, 2.5, 1] and result.get_xydata().tolist() == [[1, -0.7]]
    assert set(target.get_xdata()) == {3}
