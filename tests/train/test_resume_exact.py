"""What a resumed run takes from its checkpoint and what from its options: nothing is lost, all options count."""
import json
import shutil
from pathlib import Path

import pytest
import torch

from fpnas_timm.cli.runs import train_main
from fpnas_timm.train.folder import export_best
from fpnas_timm.train.state import check_state

from .common import TRAIN, at, fails, state


def test_fewer_batches_than_workers(tiny_images: Path, tmp_path: Path) -> None:
    """A worker without a batch has no random state: the run ends well, and is resumed exactly."""
    augmented = [a for a in TRAIN if a != '--no-aug']
    argv = [*augmented, '--data-dir', str(tiny_images), '-b', '36', '-j', '2']
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


@pytest.mark.parametrize('options', [
    ['--warmup-epochs', '2'], ['--warmup-epochs', '1', '--lr-noise', '0.3', '0.8', '--layer-decay', '0.5'],
], ids=['warm-up', 'noise and layers'])
def test_plateau(tiny_images: Path, tmp_path: Path, options: list[str]) -> None:
    """Stopped in and after the warm-up and between decays, which come since the images are easy: the same run."""
    argv = [*TRAIN, '--data-dir', str(tiny_images), '--sched', 'plateau', '--patience-epochs', '1', '--lr', '0.02']
    argv += [*options, '--epochs', '7', '--warmup-lr', '1e-4']
    assert train_main([*argv, *at(tmp_path, 'whole')]) == 0
    for epoch in ('1', '3', '4', '5', '7'):
        assert train_main([*argv, *at(tmp_path), '--stop-epoch', epoch, '--resume', 'auto']) == 0
    rows = [
        [json.loads(line) for line in (tmp_path / name / 'history.jsonl').read_text().splitlines()]
        for name in ('whole', 'run')
    ]
    rates = [row['lr'] for row in rows[0]]
    assert [row['lr'] for row in rows[1]] == rates
    assert rates[-1] < 0.2 * max(rates)
    whole, resumed = (state(tmp_path / name)['state_dict'] for name in ('whole', 'run'))
    assert all(torch.equal(resumed[name], value) for name, value in whole.items())


def test_plateau_with_another_learning_rate(tiny_images: Path, tmp_path: Path) -> None:
    """And from a checkpoint of timm, which has no state of the schedule: at its learning rate."""
    argv = [*TRAIN, '--data-dir', str(tiny_images), '--sched', 'plateau', '--warmup-epochs', '1', '--epochs', '3']
    assert train_main([*argv, *at(tmp_path), '--stop-epoch', '2']) == 0
    shutil.copytree(tmp_path / 'run', tmp_path / 'other')
    last = state(tmp_path / 'other')
    del last['plateau']
    for group in last['optimizer']['param_groups']:
        group['lr'] = 0.004
    for path in (tmp_path / 'other').glob('last*'):
        path.unlink()
    torch.save(last, tmp_path / 'other' / 'last.pth.tar')
    for name, options, expected in (('run', ['--lr', '0.003'], 0.003), ('other', [], 0.004)):
        assert train_main([*argv, *at(tmp_path, name), *options, '--resume', 'auto']) == 0
        rows = (tmp_path / name / 'history.jsonl').read_text().splitlines()
        assert json.loads(rows[-1])['lr'] == pytest.approx(expected)
