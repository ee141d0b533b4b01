"""`--init-from` with `--supernet trained`: the supernet starts from a network, in the space around it."""
import json
import logging
from pathlib import Path

import pytest
import timm
import torch

from fpnas_timm.errors import UsageError
from fpnas_timm.model.supernet import SuperNet
from fpnas_timm.search.run import SearchResult, search
from fpnas_timm.spaces import get_space
from fpnas_timm.spaces.around import space_around
from fpnas_timm.train.run import TrainResult, train
from fpnas_timm.transfer.sources import open_source
from fpnas_timm.transfer.supernet import start_supernet
from fpnas_timm.weights.folder import export_model
from tests.helpers.pretrained import (
    ARCH,
    check_resumed_without_checkpoint,
    stop_in_second_epoch,
    trained_source,
)

SETTINGS = dict(
    epochs=2, warmup_epochs=1, warmup_lr_epochs=0, batch_size=6, workers=0, calibration_batches=2, device='cpu',
    lr=1e-3, opt='adamw', no_aug=True, supernet='trained',
)


@pytest.fixture(scope='module')
def source(tiny_images: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    return trained_source(tiny_images, tmp_path_factory.mktemp('source'))


@pytest.fixture(scope='module')
def found(source: TrainResult, tiny_images: Path, tmp_path_factory: pytest.TempPathFactory) -> SearchResult:
    output = tmp_path_factory.mktemp('found') / 'out'
    given = dict(data_dir=tiny_images, target_macs='60k', tolerance=0.3, output=output, **SETTINGS)
    return search(init_from=source.export, **given)


def test_the_result_is_a_smaller_network_that_knows_the_classes(found: SearchResult, source: TrainResult) -> None:
    space = get_space(str(found.folder / 'space.json'))
    assert found.arch in space and space.name.startswith('around ')
    config = json.loads((found.folder / 'extract' / 'config.json').read_text())
    assert config['pretrained_cfg']['mean'] == [0.4] * 3
    assert found.supernet_top1 > 60
    assert config['training']['init_from']['name'] == str(source.export)


def test_the_result_is_fine_tuned_from_its_inherited_weights(
        found: SearchResult, tiny_images: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, 'train'):
        tuned = train(
            arch_file=found.folder / 'arch.txt', init_from=found.folder / 'extract', num_classes=3, epochs=2,
            data_dir=tiny_images, output=tmp_path, experiment='run', device='cpu', batch_size=8, workers=0, no_aug=True,
            opt='adamw', lr=0.003, warmup_epochs=0,
        )
    assert 'nothing was cut' in caplog.text
    assert tuned.metrics['eval_top1'] > 80


def test_a_resumed_search_does_not_need_the_source(
        found: SearchResult, source: TrainResult, tiny_images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = dict(init_from=source.export, data_dir=tiny_images, target_macs='60k', tolerance=0.3, **SETTINGS)
    output = tmp_path / 'out'
    stop_in_second_epoch(monkeypatch, output)
    with pytest.raises(KeyboardInterrupt):
        search(output=output, **given)
    monkeypatch.undo()
    there = source.export.rename(source.export.with_name('moved'))
    try:
        again = search(output=output, resume='auto', **given)
    finally:
        there.rename(source.export)
    assert str(again.arch) == str(found.arch)
    assert (output / 'distribution.safetensors').read_bytes() == (
        found.folder / 'distribution.safetensors'
    ).read_bytes()


def test_resumed_without_a_checkpoint_it_starts_from_the_source_again(
        found: SearchResult, source: TrainResult, tiny_images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = dict(data_dir=tiny_images, target_macs=6e4, tolerance=0.3, **SETTINGS)
    check_resumed_without_checkpoint(found, source, tmp_path / 'out', monkeypatch, **given)


def test_classes_are_matched_by_name(source: TrainResult, tiny_images: Path, tmp_path: Path) -> None:
    """A source whose classes have another order scores the same; of other classes, it gets a new classifier."""
    model = timm.create_model(f'local-dir:{source.export}', pretrained=True)
    order = [2, 0, 1]
    with torch.no_grad():
        for p in model.get_classifier().parameters():
            p.copy_(p[order].clone())
    config = timm.data.resolve_model_data_config(model)
    names = [['blue', 'green', 'red'][i] for i in order]
    space, kept = space_around(ARCH), []
    for name, labels in (('turned', names), ('others', ['x', 'y', 'z'])):
        export_model(model, tmp_path / name, config, labels, {})
        net = SuperNet(space, 3)
        kept.append(start_supernet(net, open_source(str(tmp_path / name)).model, labels, ['blue', 'green', 'red']))
        if name == 'turned':
            plain = timm.create_model(f'local-dir:{source.export}', pretrained=True)
            assert torch.equal(net.classifier.weight, plain.classifier.weight)
    assert kept == [True, False]


def test_a_space_that_is_not_around_the_source(source: TrainResult, tiny_images: Path, tmp_path: Path) -> None:
    given = dict(init_from=source.export, data_dir=tiny_images, target_macs='1M', output=tmp_path / 'out', **SETTINGS)
    with pytest.raises(UsageError, match='is not around this network'):
        search('fpnas_s1pp', img_size=32, **given)
    with pytest.raises(UsageError, match='is for a file of weights'):
        search(**{**given, 'init_from': None}, init_from_model='x')
    with pytest.raises(UsageError, match='no such file or folder'):
        search(**{**given, 'init_from': str(tmp_path / 'no.pth')})
    assert not (tmp_path / 'out').exists()
