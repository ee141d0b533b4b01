"""TensorBoard and Weights & Biases: logged when asked for, refused in one sentence when not installed."""
import sys
import types
from pathlib import Path

import pytest

from fpnas_timm.cli.runs import train_main
from fpnas_timm.errors import RunError
from fpnas_timm.runs.tracking import Trackers, read_history, write_history

ARCH = 'i16-cn_r1_k3_s2_c8_nsw-ir_r1_k3_s1_e2_c8_nre-cn_r1_k1_s1_c16_nsw'
TRAIN = [
    '--model', 'fpnas', '--model-kwargs', f'arch={ARCH}', '--num-classes', '3', '--device', 'cpu', '-b', '12',
    '-j', '0', '--epochs', '2', '--warmup-epochs', '0',
]


def test_wandb(tiny_images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple] = []
    fake = types.ModuleType('wandb')
    fake.init = lambda **kwargs: calls.append(('init', kwargs))
    fake.log = lambda row: calls.append(('log', row))
    fake.finish = lambda: calls.append(('finish', None))
    monkeypatch.setitem(sys.modules, 'wandb', fake)
    argv = [*TRAIN, '--data-dir', str(tiny_images), '--output', str(tmp_path), '--experiment', 'run']
    assert train_main([*argv, '--log-wandb', '--wandb-project', 'p', '--wandb-tags', 'a', 'b']) == 0
    assert [name for name, _ in calls] == ['init', 'log', 'log', 'finish']
    assert calls[0][1]['project'] == 'p'
    assert calls[0][1]['tags'] == ['a', 'b']
    assert calls[0][1]['name'] == 'run'
    assert [row['epoch'] for _, row in calls[1:3]] == [0, 1]
    assert {'train_loss', 'eval_top1', 'lr'} <= set(calls[1][1])


@pytest.mark.parametrize(('flag', 'module'), [('--log-wandb', 'wandb'), ('--log-tensorboard', 'tensorboard')])
def test_not_installed(
    flag: str, module: str, tiny_images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    for name in [n for n in sys.modules if n.startswith('torch.utils.tensorboard')]:
        monkeypatch.delitem(sys.modules, name)
    assert train_main([*TRAIN, '--data-dir', str(tiny_images), '--output', str(tmp_path), flag]) == 2
    assert f'error: {flag}: pip install {module}' in capsys.readouterr().err


def test_tensorboard(tiny_images: Path, tmp_path: Path) -> None:
    pytest.importorskip('tensorboard')
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    argv = [*TRAIN, '--data-dir', str(tiny_images), '--output', str(tmp_path), '--experiment', 'run']
    assert train_main([*argv, '--log-tensorboard']) == 0
    events = EventAccumulator(str(tmp_path / 'run'))
    events.Reload()
    assert [e.step for e in events.Scalars('eval_top1')] == [0, 1]


def test_a_run_of_wandb_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[dict] = []
    fake = types.ModuleType('wandb')
    fake.init = lambda **kwargs: calls.append(kwargs)
    monkeypatch.setitem(sys.modules, 'wandb', fake)
    Trackers(tmp_path / 'a', wandb={'resume_id': 'abc', 'config': {'lr': 0.1}})
    Trackers(tmp_path / 'b', wandb={})
    assert [(c['name'], c['id'], c['resume'], c['config']) for c in calls] == [
        ('a', 'abc', 'must', {'lr': 0.1}), ('b', None, None, None)
    ]
    Trackers(tmp_path).log({'epoch': 0})  # nothing was asked for
    assert len(calls) == 2


def test_history(tmp_path: Path) -> None:
    rows = [
        {'epoch': 0, 'train_loss': 2.0, 'lr': 0.1},
        {'epoch': 1, 'train_loss': 1.0, 'eval_loss': 1.5, 'eval_top1': 50.0, 'lr': 0.1, 'validated': True},
    ]
    assert read_history(tmp_path, 5) == []
    write_history(tmp_path, rows)
    assert read_history(tmp_path, 5) == rows
    assert read_history(tmp_path, 1) == rows[:1]
    assert (tmp_path / 'summary.csv').read_text() == 'epoch,train_loss,eval_loss,eval_top1,lr\n1,1.0,1.5,50.0,0.1\n'
    with pytest.raises(RunError, match=r'cannot be written \(No such file'):
        write_history(tmp_path / 'nowhere', rows)
