"""Malformed training checkpoints: whatever an entry holds, `--resume` answers with a sentence."""
import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from fpnas_timm.cli.runs import train_main
from fpnas_timm.errors import UsageError
from fpnas_timm.train.state import OPTIONAL, REQUIRED, check_state

from .common import TRAIN, at, fails, state


@pytest.fixture(scope='module')
def saved(tiny_images: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp('state')
    argv = [*TRAIN, '--data-dir', str(tiny_images), '--epochs', '1', '--amp', '--model-ema', *at(out)]
    assert train_main(argv) == 0
    return state(out / 'run')


@pytest.fixture
def resume(saved: dict, tiny_images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Resumes from a changed checkpoint, which fails."""

    def run(changed: Any) -> str:
        path = tmp_path / 'changed.pth.tar'
        torch.save(changed, path)
        argv = [*TRAIN, '--data-dir', str(tiny_images), '--amp', '--model-ema', *at(tmp_path, 'new')]
        said = fails(capsys, [*argv, '--resume', str(path)])
        assert str(path) in said
        assert not (tmp_path / 'new').exists()
        return said

    return run


WRONG = ('x', 5, -1, None, True, [1], {'a': 1}, {5: torch.ones(1)}, torch.ones(1), float('nan'))


@pytest.mark.parametrize('name', [*REQUIRED, *OPTIONAL])
def test_every_entry(saved: dict, resume, name: str) -> None:
    """All values that are not of the entry's kind; those that are (such as a number for the metric) are left out."""
    is_good = (REQUIRED | OPTIONAL)[name][0]
    wrong = [value for value in WRONG if not is_good(value)]
    assert len(wrong) >= 4
    for value in wrong:
        with pytest.raises(UsageError, match=f"^f: not a training checkpoint, or altered: its '{name}' is "):
            check_state({**saved, name: value}, 'f')
    assert f'its {name!r} is ' in resume({**saved, name: wrong[0]})


def test_missing_entries(saved: dict, resume) -> None:
    for name in REQUIRED:
        assert 'not a training checkpoint' in resume({k: v for k, v in saved.items() if k != name})
    for other in (5, [saved], {}, {'epoch': 1}):
        assert 'not a training checkpoint' in resume(other)


@pytest.mark.parametrize(('path', 'value'), [
    (('args', 'model_kwargs'), 5), (('optimizer', 'state'), 5), (('optimizer', 'param_groups'), [5]),
    (('optimizer', 'param_groups'), []), (('optimizer', 'param_groups', 0, 'params'), 'x'),
    (('optimizer', 'param_groups', 0, 'params'), [0]), (('optimizer', 'state', 0), 5),
    (('optimizer', 'state', 0, 'exp_avg'), torch.ones(3)), (('optimizer', 'state', 0, 'exp_avg'), 'x'),
    (('saver', 'checkpoint_files'), [5]), (('saver', 'checkpoint_files'), [['../x', 1.0]]), (('saver', 'pending'), 5),
    (('saver', 'best_metric'), 'x'), (('random', 'processes'), 5), (('random', 'processes'), [{}]),
    (('random', 'processes', 0, 'main'), torch.ones(5)), (('random', 'processes', 0, 'workers'), 5),
    (('amp_scaler', 'scale'), 'x'), (('state_dict', 'stem.conv.weight'), torch.ones(3)), (('state_dict', 'more'), 5),
    (('state_dict_ema', 'more'), torch.ones(3)),
], ids=lambda value: '.'.join(map(str, value)) if isinstance(value, tuple) else '')
def test_within_an_entry(saved: dict, resume, path: tuple, value: Any) -> None:
    changed = copy.deepcopy(saved)
    inner: Any = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    resume(changed)


def test_lacking_keys(saved: dict, resume) -> None:
    changed = copy.deepcopy(saved)
    del changed['optimizer']['param_groups'][0]['betas']
    assert '--no-resume-opt' in resume(changed)
    changed = copy.deepcopy(saved)
    del changed['amp_scaler']['scale']
    assert '--no-resume-opt' in resume(changed)
