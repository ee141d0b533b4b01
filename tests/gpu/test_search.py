"""`fpnas search` on the GPU: precisions, layouts, resume, a start from weights, and its result on the CPU."""
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from fpnas_timm.cli.runs import search_main
from fpnas_timm.search.distribution import load_distribution
from fpnas_timm.search.loop import Search
from fpnas_timm.search.run import SearchResult, search
from fpnas_timm.spaces import MBConvSpace
from fpnas_timm.spaces.ranked import decode_ranked

from .common import DEVICE, python

SETTINGS: dict[str, Any] = dict(
    epochs=5, warmup_epochs=1, warmup_lr_epochs=0, joint_epoch=3, target_macs=60e3, tolerance=0.1, batch_size=6,
    workers=0, calibration_batches=2, alpha_lr=0.05, no_aug=True, device=DEVICE, lr=0.05,
)
WAYS: dict[str, dict[str, Any]] = {
    'float32': {},
    'float16': dict(amp=True, amp_dtype='float16'),
    'bfloat16, channels_last': dict(amp=True, amp_dtype='bfloat16', channels_last=True, workers=2),
    'float16, accumulated, weighed': dict(amp=True, grad_accum_steps=2, batch_size=3, class_weights='balanced'),
    'sandwich, average': dict(weight_archs='sandwich', distill=0.5, weight_ema=0.9),
    'trained finalists': dict(amp=True, finalists=3, finalist_epochs=2),
}


@pytest.mark.parametrize('way', WAYS)
def test_searches(space: MBConvSpace, tiny_images: Path, tmp_path: Path, way: str) -> None:
    result = search(space, data_dir=tiny_images, output=tmp_path / 'out', **{**SETTINGS, **WAYS[way]})
    assert 54_000 <= result.macs <= 60_000
    assert len(result.history) == 5
    assert result.history[-1]['train_loss'] < result.history[0]['train_loss']
    assert result.history[-1]['entropy'] < result.history[0]['entropy']
    learned = load_distribution(result.folder / 'distribution.safetensors', space)
    ranked = decode_ranked(space, learned, len(result.finalists), macs=(54_000, 60_000), num_classes=3)
    assert {str(found.arch) for found in ranked} == {str(finalist.arch) for finalist in result.finalists}
    assert str(result.arch) == str(result.finalists[0].arch)
    assert result.model()(torch.zeros(1, 3, 16, 16)).shape == (1, 3)  # on the CPU


@pytest.mark.usefixtures('deterministic')
@pytest.mark.parametrize('way', ['float32', 'float16'])
def test_stopped_and_resumed_with_deterministic_algorithms(
        space: MBConvSpace, tiny_images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """Ctrl-C in the middle of an epoch: the same distribution, to the bit, as without it."""
    given = dict(data_dir=tiny_images, **{**SETTINGS, **WAYS[way]})
    whole = search(space, output=tmp_path / 'whole', **given)
    monkeypatch.setattr(Search, '_take_step', _stop_in_second_epoch(Search._take_step))
    with pytest.raises(KeyboardInterrupt):
        search(space, output=tmp_path / 'out', **given)
    monkeypatch.undo()
    assert_same(search(resume=tmp_path / 'out'), whole)


def _stop_in_second_epoch(take_step: Callable[..., Any]) -> Callable[..., Any]:
    """The same step, but Ctrl-C is pressed in the second one of the second epoch."""

    def step(search: Search) -> Any:
        if (search.epoch, search.step) == (1, 1):
            signal.raise_signal(signal.SIGINT)
        return take_step(search)

    return step


def assert_same(one: SearchResult, other: SearchResult) -> None:
    assert torch.equal(one.distribution.alpha, other.distribution.alpha)
    assert str(one.arch) == str(other.arch)
    ours, theirs = (result.model().state_dict() for result in (one, other))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.usefixtures('deterministic')
def test_killed_and_resumed(space: MBConvSpace, space_file: Path, tiny_images: Path, tmp_path: Path) -> None:
    """A process of its own; the same distribution, to the bit, as without the kill."""
    given = {**SETTINGS, 'space': space_file, 'data_dir': tiny_images}
    argv = [word for name, value in given.items() for word in (
        [f'--{name.replace("_", "-")}'] if value is True else [f'--{name.replace("_", "-")}', str(value)]
    )]
    out = tmp_path / 'killed'
    process = python('-m', 'tests.gpu.deterministic', 'search', *argv, '--log-interval', '1', '--output', str(out))
    lines = []
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line)
        if 'epoch 3 step 1/' in line:
            process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, ''.join(lines)
    assert search_main(['--resume', str(out)]) == 0
    whole = search(output=tmp_path / 'whole', **given)
    again = load_distribution(out / 'distribution.safetensors', space)
    assert torch.equal(again.alpha, whole.distribution.alpha)
    assert (out / 'arch.txt').read_text().strip() == str(whole.arch)


@pytest.mark.parametrize('settings', [
    dict(supernet='trained', lr=1e-3, warmup_epochs=1, warmup_lr_epochs=0, calibration_batches=2),
    dict(supernet='fitted', amp=True, channels_last=True),
], ids=['trained', 'fitted'])
def test_starts_from_a_network(trained: Path, tiny_images: Path, tmp_path: Path, settings: dict[str, Any]) -> None:
    """The space around it; its weights on the GPU know the classes from the first step."""
    result = search(
        init_from=trained / 'export', data_dir=tiny_images, output=tmp_path / 'out', epochs=3, target_macs=60e3,
        tolerance=0.3, batch_size=6, workers=0, no_aug=True, device=DEVICE, **settings,
    )
    assert result.macs <= 60e3
    assert result.supernet_top1 > 50  # chance: 33
