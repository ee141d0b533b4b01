"""What is said of the result of a final."""
import json
import logging
import math
from pathlib import Path

import pytest

from fpnas_timm.errors import NonFiniteError
from fpnas_timm.search.final_stage import say_result
from fpnas_timm.search.finalist_training import FinalistTraining
from fpnas_timm.search.run import search

from .test_api import SPACE, Colours
from .test_finalists import GIVEN, finals_of, made_up, setup_of


@pytest.mark.parametrize(('tops', 'said'), [  # None: a round whose training failed
    ([[50.0, None]], 'the most probable network is the only finalist: 50.00 %'),
    ([[40.0, 41.0], [50.0, None]],
     'the result is not the most probable network: of 2 finalists, it has 50.00 % without training, the most probable '
     'network 41.00 % after 1 round of training (standard error of each about 1.00)'),
    ([[40.0, 41.0, None], [50.0, 51.0, 52.0]],
     'the result is not the most probable network: of 2 finalists, it has 52.00 % after 2 rounds of training, the most '
     'probable network 41.00 % after 1 round of training (standard error of each about 1.00)'),
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
        tops: list[list[float | None]], said: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    final = finals_of(setup_of(tmp_path), len(tops))
    for scores, failed, rounds in zip(final.scores, final.failed, tops, strict=True):
        for number, top in enumerate(rounds):
            scores.append(scores[-1] if top is None else made_up(top))
            failed.extend([number] * (top is None))
    caplog.set_level(logging.INFO, 'search')
    caplog.clear()
    say_result(final)
    assert caplog.messages == [said]


def test_a_result_whose_training_failed_is_not_called_trained(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: object) -> None:
        raise NonFiniteError('the training loss', [math.nan])

    caplog.set_level(logging.INFO, 'search')
    monkeypatch.setattr(FinalistTraining, '_take_step', fails)
    found = search(SPACE, Colours(), output=tmp_path / 'out', finalists=2, finalist_epochs=3, **GIVEN)
    assert [f.rounds for f in found.finalists] == [0, 0]
    config = json.loads((found.folder / 'extract' / 'config.json').read_text())
    assert config['training']['search']['weights'] == 'inherited from the supernet, not trained on their own'
    assert 'rounds of training' not in caplog.text and 'round of training' not in caplog.text
    assert 'with the trained weights' not in caplog.text + str(found)
