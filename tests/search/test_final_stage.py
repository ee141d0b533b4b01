"""What the log says of the result of a final."""
import logging
from pathlib import Path

import pytest

from fpnas_timm.search.final_stage import say_result

from .test_finalists import finals_of, made_up, setup_of


@pytest.mark.parametrize(('tops', 'said'), [
    ([[50.0]], 'the most probable network is the only finalist: 50.00 %'),
    ([[50.0, 60.0]], 'the most probable network is the only finalist: 60.00 % after 1 round of training'),
    ([[50.0], [40.0]], 'the most probable network is the best of 2 finalists: 50.00 %'),
    ([[40.0], [50.0]], 'the result is not the most probable network: of 2 finalists, it has 50.00 %, the most probable '
                       'network 40.00 % (standard error of each about 1.00)'),
    ([[40.0, 41.0, 42.0], [50.0, 51.0, 52.0], [10.0, 20.0]],
     'the result is not the most probable network: of 3 finalists, it has 52.00 %, the most probable network 42.00 % '
     'after 2 rounds of training (standard error of each about 1.00)'),
    ([[40.0, 17.0], [45.0, 18.0, 20.5], [10.0, 19.0, 20.0]],  # not 17.00 against 20.50, one round later
     'the result is not the most probable network: of 3 finalists, it has 18.00 %, the most probable network 17.00 % '
     'after 1 round of training (standard error of each about 1.00); it has 20.50 % after 2 rounds of training'),
])
def test_networks_are_compared_after_the_same_training(
        tops: list[list[float]], said: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    final = finals_of(setup_of(tmp_path), len(tops))
    final.scores = [[made_up(top) for top in rounds] for rounds in tops]
    caplog.set_level(logging.INFO, 'search')
    caplog.clear()
    say_result(final)
    assert caplog.messages == [said]
