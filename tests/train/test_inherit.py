"""`--init-from`: a run that starts from another network, what it takes from it, and what contradicts it."""
import json
import logging
import re
import shutil
from pathlib import Path

import pytest
import timm
import torch

from fpnas_timm.cli.runs import validate_main
from fpnas_timm.train.run import TrainResult, train
from fpnas_timm.weights.checks import sha256_of
from fpnas_timm.weights.folder import export_model
from fpnas_timm.weights.manifest import ManifestEntry
from fpnas_timm.zoo.models import register_arch

from .common import ARCH, OTHER, TRAIN, at, fails

SETTINGS = dict(
    num_classes=3, device='cpu', batch_size=8, workers=0, no_aug=True, opt='adamw', lr=0.01, warmup_epochs=0,
)


@pytest.fixture(scope='module')
def first(tiny_images: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    """A trained network, with pixel statistics of its own."""
    return train(
        arch=ARCH, data_dir=tiny_images, epochs=8, output=tmp_path_factory.mktemp('first'), experiment='run',
        mean=[0.4, 0.4, 0.4], std=[0.3, 0.3, 0.3], **SETTINGS,
    )


def test_the_same_network_starts_where_the_other_ended(
        first: TrainResult, tiny_images: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert first.metrics['eval_top1'] > 90
    with caplog.at_level(logging.INFO, 'train'):
        again = train(
            init_from=first.folder, data_dir=tiny_images, epochs=1, output=tmp_path, experiment='run',
            **{**SETTINGS, 'lr': 1e-9},
        )
    assert 'nothing was cut: the outputs are the same; the source\'s classifier' in caplog.text
    assert again.metrics['eval_top1'] == first.metrics['eval_top1']
    assert again.metrics['eval_loss'] < 0.1  # not the same: batch norms went on
    config = json.loads((again.export / 'config.json').read_text())
    assert config['model_args']['arch'] == ARCH
    assert config['pretrained_cfg']['mean'] == [0.4, 0.4, 0.4]
    assert config['training']['init_from'] == {'name': str(first.folder), 'license': ''}


def test_a_checkpoint_and_an_unusual_network_are_taken_with_all_that_they_expect(
        first: TrainResult, tiny_images: Path, tmp_path: Path
) -> None:
    net = timm.create_model('fpnas', arch=ARCH, num_classes=3, global_pool='max', bn_eps=1e-2)
    data = {'input_size': (3, 32, 32), 'mean': (0.4,) * 3, 'std': (0.3,) * 3, 'crop_mode': 'squash'}
    export_model(net, tmp_path / 'net', data, [], {})
    start = train(
        init_from=tmp_path / 'net', data_dir=tiny_images, epochs=2, stop_epoch=1, output=tmp_path, experiment='a',
        **SETTINGS,
    )
    resumed = train(
        init_from=tmp_path / 'net', data_dir=tiny_images, epochs=2, output=tmp_path, experiment='a', resume='auto',
        **SETTINGS,
    )
    again = train(
        init_from=start.folder / 'last.pth.tar', data_dir=tiny_images, epochs=1, output=tmp_path, experiment='b',
        **SETTINGS,
    )
    for result in (resumed, again):
        config = json.loads((result.export / 'config.json').read_text())
        args, cfg = config['model_args'], config['pretrained_cfg']
        assert (args['global_pool'], args['bn_eps'], cfg['crop_mode']) == ('max', 1e-2, 'squash')
        assert (cfg['mean'], cfg['std']) == ([0.4] * 3, [0.3] * 3)
    argv = [str(tiny_images), '--device', 'cpu', '-j', '0', '--model', 'fpnas', '--model-kwargs', f'arch={ARCH}']
    results = tmp_path / 'result.json'
    argv += ['--checkpoint', str(again.folder / 'last.pth.tar'), '--results-file', str(results)]
    assert validate_main(argv) == 0
    assert json.loads(results.read_text())['loss'] == pytest.approx(again.metrics['eval_loss'], abs=2e-4)
    third = train(
        arch=ARCH, initial_checkpoint=str(again.folder / 'last.pth.tar'), data_dir=tiny_images, epochs=1,
        output=tmp_path, experiment='c', **SETTINGS,
    )
    assert json.loads((third.export / 'config.json').read_text())['model_args']['bn_eps'] == 1e-2


def test_a_resumed_run_keeps_the_arguments_of_a_manifest(tiny_images: Path, tmp_path: Path) -> None:
    net = timm.create_model('fpnas', arch=ARCH, num_classes=3, bn_eps=0.1)
    export_model(net, tmp_path / 'net', timm.data.resolve_model_data_config(net), ['blue', 'green', 'red'], {})
    entry = ManifestEntry(
        'test_inherit_net.v1', sha256_of(tmp_path / 'net' / 'model.safetensors'), {}, 'none', 'mit',
        folder=str(tmp_path / 'net'), arch=ARCH, pretrained_cfg={'num_classes': 3, 'input_size': (3, 16, 16)},
        model_args={'bn_eps': 0.1},
    )
    register_arch('test_inherit_net', ARCH, [entry])
    given = dict(
        model='test_inherit_net.v1', data_dir=tiny_images, output=tmp_path, experiment='run', epochs=2, **SETTINGS,
    )
    train(pretrained=True, stop_epoch=1, **given)
    resumed = train(resume='auto', **given)
    assert json.loads((resumed.export / 'config.json').read_text())['model_args']['bn_eps'] == 0.1


def test_another_network_starts_better_than_from_scratch(
        first: TrainResult, tiny_images: Path, tmp_path: Path
) -> None:
    losses = [
        train(
            arch=OTHER, init_from=source, data_dir=tiny_images, epochs=1, output=tmp_path, experiment=name,
            mean=[0.4, 0.4, 0.4], std=[0.3, 0.3, 0.3], **{**SETTINGS, 'lr': 1e-3},
        ).history[0]['train_loss']
        for name, source in (('scratch', None), ('inherited', first.export))
    ]
    assert losses[1] < 0.6 * losses[0]


def test_a_resumed_run_has_its_own_weights_and_network(
        first: TrainResult, tiny_images: Path, tmp_path: Path
) -> None:
    given = dict(init_from=first.export, data_dir=tiny_images, output=tmp_path, **SETTINGS)
    whole = train(epochs=2, experiment='whole', **given)
    train(epochs=2, stop_epoch=1, experiment='parts', **given)
    there = first.export.rename(first.export.with_name('moved'))  # it is not needed any more
    try:
        parts = train(epochs=2, experiment='parts', resume='auto', **given)
    finally:
        there.rename(first.export)
    a, b = (torch.load(r.folder / 'last.pth.tar', weights_only=True)['state_dict'] for r in (whole, parts))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_a_classifier_in_another_order(first: TrainResult, tiny_images: Path, tmp_path: Path) -> None:
    model = timm.create_model(f'local-dir:{first.export}', pretrained=True)
    order = [2, 0, 1]  # red green blue -> blue red green
    with torch.no_grad():
        for p in model.get_classifier().parameters():
            p.copy_(p[order].clone())
    config = timm.data.resolve_model_data_config(model)
    export_model(model, tmp_path / 'turned', config, [['blue', 'green', 'red'][i] for i in order], {})
    again = train(
        init_from=tmp_path / 'turned', data_dir=tiny_images, epochs=1, output=tmp_path, experiment='run',
        **{**SETTINGS, 'lr': 1e-9},
    )
    assert again.metrics['eval_top1'] == first.metrics['eval_top1']


def test_a_file_of_weights_knows_its_classes_too(first: TrainResult, tiny_images: Path, tmp_path: Path) -> None:
    model = timm.create_model(f'local-dir:{first.export}', pretrained=True)
    order = [2, 0, 1]
    with torch.no_grad():
        for p in model.get_classifier().parameters():
            p.copy_(p[order].clone())
    config = timm.data.resolve_model_data_config(model)
    export_model(model, tmp_path / 'turned', config, [['blue', 'green', 'red'][i] for i in order], {})
    for i, source in enumerate((tmp_path / 'turned' / 'model.safetensors', first.folder / 'model_best.pth.tar')):
        again = train(  # the string is in the file's own folder or checkpoint
            init_from=source, data_dir=tiny_images, epochs=1, output=tmp_path, experiment=str(i), mean=[0.4] * 3,
            std=[0.3] * 3, **{**SETTINGS, 'lr': 1e-9},
        )
        assert again.metrics['eval_top1'] == first.metrics['eval_top1']


def test_the_images_of_augmentation_splits(first: TrainResult, tiny_images: Path, tmp_path: Path) -> None:
    run = train(
        arch=OTHER, init_from=first.export, data_dir=tiny_images, epochs=1, output=tmp_path, experiment='run',
        aug_splits=2, jsd_loss=True, **{**SETTINGS, 'no_aug': False},
    )
    assert run.metrics['eval_top1'] > 30


def test_classes_without_names_are_said(first: TrainResult, tiny_images: Path, tmp_path: Path, caplog) -> None:
    shutil.copy(first.export / 'model.safetensors', tmp_path / 'alone.safetensors')
    train(
        init_from=tmp_path / 'alone.safetensors', init_from_model=ARCH, data_dir=tiny_images, epochs=1,
        output=tmp_path, experiment='run', **SETTINGS,
    )
    assert 'its class names are not known: its outputs are taken to be your classes in order' in caplog.text


def test_the_channels_are_those_of_the_source(tiny_images: Path, tmp_path: Path) -> None:
    grey = timm.create_model('fpnas', arch=ARCH, num_classes=3, in_chans=1).eval()
    config = {'input_size': (1, 16, 16), 'mean': (0.5,), 'std': (0.25,), 'crop_pct': 1.0, 'interpolation': 'bilinear'}
    export_model(grey, tmp_path / 'grey', config, [], {})
    run = train(
        init_from=tmp_path / 'grey', data_dir=tiny_images, epochs=1, output=tmp_path, experiment='run', **SETTINGS
    )
    again = train(
        init_from=tmp_path / 'grey', data_dir=tiny_images, epochs=2, output=tmp_path, experiment='run', resume='auto',
        **SETTINGS,
    )
    assert len(again.history) == 2
    config = json.loads((run.export / 'config.json').read_text())
    assert config['pretrained_cfg']['input_size'][0] == 1 and config['input_img_mode'] == 'L'


def test_a_colour_source_for_grey_images(first: TrainResult, tiny_images: Path, tmp_path: Path) -> None:
    """The mean of the source's three means, as with `--pretrained`."""
    run = train(init_from=first.export, data_dir=tiny_images, epochs=1, output=tmp_path, in_chans=1, **SETTINGS)
    colour, grey = (json.loads((f / 'config.json').read_text())['pretrained_cfg'] for f in (first.export, run.export))
    assert grey['mean'] == pytest.approx([sum(colour['mean']) / 3])
    assert grey['std'] == pytest.approx([sum(colour['std']) / 3])


def test_contradictions(first: TrainResult, tiny_images: Path, tmp_path: Path, capsys) -> None:
    base = [*TRAIN, '--data-dir', str(tiny_images), *at(tmp_path)]
    start = ['--init-from', str(first.export)]
    last = str(first.folder / 'last.pth.tar')
    for argv, message in (
            ([*start, '--resume', last], '--init-from and --resume both load weights'),
            ([*start, '--initial-checkpoint', last], '--init-from and --initial-checkpoint both load weights'),
            ([*start, '--pretrained'], '--init-from and --pretrained both load weights'),
            (['--init-from-model', 'x'], '--init-from-model is for a file of weights'),
            (['--init-from', 'mobilenetv2_50'], 'mobilenetv2_50: neither a file or folder, nor a model of timm'),
            (['--init-from', str(tmp_path / 'no')], 'no such file or folder'),
            (['--pretrained-cfg-overlay', 'mean=1'], r'--pretrained-cfg-overlay mean=1: expected a list'),
            ([*start, '--model', 'resnet18', '--model-kwargs'], 'for networks of this package .* not for a ResNet'),
            ([*start, '--model-kwargs', f'arch={ARCH.replace("k3_s2_c8", "k3_s1_c8")}'], 'the stem of the source has'),
    ):
        assert re.search(message, fails(capsys, [*base, *argv]))
    assert not (tmp_path / 'run').exists()
