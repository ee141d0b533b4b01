"""What a resumed run takes from its checkpoint and what from its options: nothing is lost, all options count."""
import json
from pathlib import Path

import pytest
import torch

from fpnas_timm.cli.runs import train_main
from fpnas_timm.train.folder import export_best
from fpnas_timm.train.state import check_state

from .common import TRAIN, at, fails, state


def test_fewer_batches_than_workers(tiny_images: Path, tmp_path: Path) -> None:
    """A worker without a batch has no random state: the run ends well, and is resumed exactly."""
    argv = [*TRAIN, '--data-dir', str(tiny_images), '-b', '36', '-j', '2', '--hflip', '0.5']
    assert train_main([*argv, *at(tmp_path, 'whole')]) == 0
    saved = state(tmp_path / 'whole')
    idle = saved['random']['processes'][0]['workers'].any(1)
    assert idle.tolist() == [True, False]
    check_state(saved, 'f')
    assert train_main([*argv, *at(tmp_path), '--stop-epoch', '1']) == 0
    assert train_main([*argv, *at(tmp_path), '--resume', 'auto']) == 0
    resumed = state(tmp_path / 'run')
    for name, value in saved['state_dict'].items():
        assert torch.equal(resumed['state_dict'][name], value)
    assert torch.equal(resumed['random']['processes'][0]['main'], saved['random']['processes'][0]['main'])


def test_a_run_that_has_trained_fails_with_1(
        capsys: pytest.CaptureFixture[str], tiny_images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if its own best checkpoint is not what it should be."""
    def altered(model, folder: Path, *rest):
        torch.save({**state(folder, 'model_best.pth.tar'), 'epoch': 'x'}, folder / 'model_best.pth.tar')
        return export_best(model, folder, *rest)

    monkeypatch.setattr('fpnas_timm.train.run.export_best', altered)
    argv = [*TRAIN, '--data-dir', str(tiny_images), '--epochs', '1', *at(tmp_path)]
    assert "its 'epoch' is 'x'" in fails(capsys, argv, 1)


@pytest.mark.parametrize('sched', ['cosine', 'none'])
def test_changed_options_take_effect(tiny_images: Path, tmp_path: Path, sched: str) -> None:
    """Those of the optimizer: as in a run that had them from the start; layers keep their own scale."""
    argv = [*TRAIN, '--data-dir', str(tiny_images), '--layer-decay', '0.5', '--sched', sched]
    changed = ['--lr', '0.004', '--weight-decay', '0.3', '--opt-betas', '0.8', '0.9', '--opt-eps', '1e-6']
    assert train_main([*argv, *at(tmp_path), '--stop-epoch', '1']) == 0
    assert train_main([*argv, *at(tmp_path), '--resume', 'auto', *changed]) == 0
    assert train_main([*argv, *at(tmp_path, 'other'), *changed]) == 0
    ours, theirs = (state(tmp_path / name)['optimizer']['param_groups'] for name in ('run', 'other'))
    assert ours == theirs
    assert len({group['lr_scale'] for group in ours}) > 1
    rows = [(tmp_path / name / 'history.jsonl').read_text().splitlines()[-1] for name in ('run', 'other')]
    assert len({json.loads(row)['lr'] for row in rows}) == 1
