"""`train()` from Python: the run of the command line, with a result that holds what it says."""
import json
import shutil
from pathlib import Path

import pytest
import timm
import torch
from timm.data import create_dataset, create_loader

from fpnas_timm.arch import Arch
from fpnas_timm.cli.runs import train_main
from fpnas_timm.errors import RunError, UsageError
from fpnas_timm.train import train
from fpnas_timm.train.options import parse_train_args
from fpnas_timm.train.run import TrainResult, run_training

from .common import ARCH, OTHER, at, state

OPTIONS = dict(
    num_classes=3, device='cpu', batch_size=8, workers=0, epochs=3, opt='adamw', lr=0.01, warmup_epochs=0, no_aug=True
)
ARGV = [
    '--num-classes', '3', '--device', 'cpu', '-b', '8', '-j', '0', '--epochs', '3', '--opt', 'adamw', '--lr', '0.01',
    '--warmup-epochs', '0', '--no-aug',
]


@pytest.fixture(scope='module')
def result(tiny_images: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    out = tmp_path_factory.mktemp('api')
    return train('fpnas', arch=ARCH, data_dir=tiny_images, output=out, experiment='run', model_ema=True,
                 model_ema_decay=0.8, **OPTIONS)


def test_the_run_is_that_of_the_command_line(result: TrainResult, tiny_images: Path, tmp_path: Path) -> None:
    argv = ['--model', 'fpnas', '--model-kwargs', f'arch={ARCH}', '--data-dir', str(tiny_images), *ARGV]
    assert train_main([*argv, '--model-ema', '--model-ema-decay', '0.8', *at(tmp_path)]) == 0
    ours, theirs = state(result.folder), state(tmp_path / 'run')
    for key in ('state_dict', 'state_dict_ema'):
        assert all(torch.equal(ours[key][n], theirs[key][n]) for n in theirs[key])
    assert (result.folder / 'summary.csv').read_text() == (tmp_path / 'run' / 'summary.csv').read_text()
    assert ours['args'] == {**theirs['args'], 'output': ours['args']['output']}


def test_result(result: TrainResult, tiny_images: Path) -> None:
    """The history is the file's; the model has the accuracy of the best epoch, measured here by hand."""
    lines = (result.folder / 'history.jsonl').read_text().splitlines()
    assert result.history == [json.loads(line) for line in lines]
    assert result.metrics == max(result.history, key=lambda row: (row['eval_top1'], -row['eval_loss'], row['epoch']))
    best = result.metrics
    assert repr(result) == (
        f"TrainResult('{result.folder}', 3 epochs, best: epoch {best['epoch'] + 1} (loss={best['eval_loss']:.4g}, "
        f"top1={best['eval_top1']:.4g}, top5=100))"
    )
    model = result.model().eval()
    assert str(model.arch) == ARCH
    dataset = create_dataset('', root=tiny_images, split='validation')
    loader = create_loader(dataset, (3, 16, 16), 12, interpolation='bicubic', use_prefetcher=False, num_workers=0)
    images, target = next(iter(loader))
    with torch.inference_mode():
        top1 = (model(images).argmax(1) == target).double().mean().item() * 100
    assert result.metrics['eval_top1'] == pytest.approx(top1, abs=1e-3)
    again = timm.create_model(f'local-dir:{result.export}', pretrained=True).eval()
    with torch.inference_mode():
        assert torch.equal(again(images), model(images))
    assert result.model(features_only=True)(images)[-1].shape[0] == 12


def test_arch_and_recipe(tiny_images: Path, tmp_path: Path) -> None:
    """Short for `model_kwargs`; what is given wins over the recipe."""
    small = {k: v for k, v in OPTIONS.items() if k not in ('opt', 'lr', 'epochs')}
    run = train(arch=Arch.parse(OTHER), recipe='ls+aa+ema', data_dir=tiny_images, output=tmp_path, experiment='a',
                epochs=1, model_ema_decay=0.5, **small)
    kept = state(run.folder)
    assert kept['arch_string'] == OTHER
    assert kept['args']['model_kwargs'] == {'arch': OTHER}
    assert (kept['args']['opt'], kept['args']['smoothing'], kept['args']['model_ema_decay']) == ('rmsproptf', 0.1, 0.5)
    config = json.loads((run.export / 'config.json').read_text())
    assert config['training']['recipe'] == 'ls+aa+ema'


def test_resume(result: TrainResult, tiny_images: Path, tmp_path: Path) -> None:
    common = dict(model='fpnas', model_kwargs={'arch': ARCH}, data_dir=str(tiny_images), output=tmp_path,
                  experiment='run', model_ema=True, model_ema_decay=0.8, resume='auto', **OPTIONS)
    assert len(train(stop_epoch=1, **common).history) == 1
    resumed = train(**common)
    columns = ('epoch', 'train_loss', 'eval_loss', 'eval_top1')
    assert [[row[c] for c in columns] for row in resumed.history] == [[r[c] for c in columns] for r in result.history]
    assert resumed.metrics['epoch'] == result.metrics['epoch']
    again = train(**common, dataset=None)  # there is nothing left to do
    assert (again.history, again.metrics) == (resumed.history, resumed.metrics)


@pytest.mark.parametrize(('options', 'message'), [
    ({'epoch': 3}, r"train\(\): unknown option 'epoch'; did you mean epochs\?"),
    ({'lr': 'fast'}, r"train\(\): lr='fast': expected a number"),
    ({'epochs': 0}, r'train\(\): epochs=0: expected 1 or more'),
    ({'opt': 'adamw', 'loss': 'l2'}, r"train\(\): loss='l2': expected one of ce, bce"),
    ({'recipe': 'ls+a'}, r"unknown recipe 'ls\+a'; did you mean ls\+aa\?"),
    ({'torchscript': True}, r'torchscript is not supported here: use torchcompile$'),
    ({'model': 'fpnas_l0', 'recipe': 'fpnas_l1'}, r'recipe fpnas_l1 is for fpnas_l1, not fpnas_l0'),
    ({'num_classes': 2}, r'.*the data has 3 classes, the model 2: use num_classes=3'),
    ({'data_dir': 'nowhere'}, r'nowhere: no such folder'),
    ({'config': 'nowhere.yaml'}, r'nowhere.yaml: cannot be read'),
    ({'dataset': Path('x')}, r"train\(\): dataset takes timm's TYPE/NAME"),
    ({'model_kwargs': {'arch': ARCH, 'act_layer': torch.nn.ReLU}},
     r"model_kwargs: <class 'torch\.nn.*ReLU'> cannot be saved in args.yaml: expected numbers, texts, lists"),
])
def test_errors(tiny_images: Path, tmp_path: Path, options: dict, message: str) -> None:
    good = dict(model='fpnas', model_kwargs={'arch': ARCH}, data_dir=tiny_images, output=tmp_path, **OPTIONS)
    with pytest.raises(UsageError, match=message):
        train(**{**good, **options})
    assert not list(tmp_path.iterdir())


def test_stopped_before_the_first_epoch(tiny_images: Path, tmp_path: Path) -> None:
    class Now:
        def __bool__(self) -> bool:
            return True

    argv = ['--model', 'fpnas', '--model-kwargs', f'arch={ARCH}', '--data-dir', str(tiny_images), *ARGV]
    stopped = run_training(parse_train_args([*argv, *at(tmp_path)]), Now())
    assert (stopped.history, stopped.metrics) == ([], {})
    with pytest.raises(RunError, match='no epoch was finished'):
        stopped.model()


@pytest.mark.parametrize('workers', [0, 1])
def test_an_unreadable_image_is_named(tiny_images: Path, tmp_path: Path, workers: int) -> None:
    shutil.copytree(tiny_images, tmp_path / 'data')
    bad = tmp_path / 'data' / 'train' / 'red' / '3.png'
    bad.write_bytes(bad.read_bytes()[:60])
    with pytest.raises(RunError, match=rf'^{bad}: this image cannot be read \(.*\): fix it, then resume$'):
        train('fpnas', arch=ARCH, data_dir=tmp_path / 'data', output=tmp_path, **{**OPTIONS, 'workers': workers})
