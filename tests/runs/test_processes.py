"""`on_primary`: the other processes hear of every failure of the first one, instead of waiting for ever."""
import pytest

from fpnas_timm.errors import RunError, UsageError
from fpnas_timm.runs import processes
from fpnas_timm.runs.processes import on_primary


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list:
    """Two ranks in turn in this process: rank 0 leaves what it broadcasts, rank 1 receives it."""
    message: list = []

    def broadcast(objects: list) -> None:
        if message:
            objects[:] = message
        else:
            message.extend(objects)

    monkeypatch.setattr(processes.dist, 'broadcast_object_list', broadcast)
    return message


@pytest.mark.parametrize(('error', 'others'), [
    (UsageError('holds a search'), UsageError), (OSError(28, 'No space left on device'), RunError)
])
def test_a_failure_reaches_all(sent: list, error: Exception, others: type[Exception]) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(type(error), match=r'holds a search|No space left'):
        on_primary(fail, 0, 2)
    assert sent
    with pytest.raises(others, match=r'holds a search|No space left'):
        on_primary(fail, 1, 2)


def test_the_result_is_the_first_processs(sent: list) -> None:
    assert on_primary(lambda: 7, 0, 2) == 7
    assert on_primary(lambda: 8, 1, 2) is None
    assert on_primary(lambda: 9, 0, 1) == 9
