"""The options of a run: what is wrong with one is said in one sentence."""
import re
from pathlib import Path

import pytest
import yaml

from fpnas_timm.errors import UsageError
from fpnas_timm.recipes import recipe_names
from fpnas_timm.train import train
from fpnas_timm.train.arguments import loss_arguments
from fpnas_timm.train.options import parse_train_args, train_options

from .common import ARCH, TRAIN, fails


@pytest.mark.parametrize(('argv', 'message'), [
    (['--recipe', 'fpnas_l0/ls+a'], r"unknown recipe 'fpnas_l0/ls\+a'; did you mean fpnas_l0/ls\+aa\?"),
    (['--recipe', 'fpnas_l0', '--model', 'fpnas_s1pp'], r'recipe fpnas_l0 is for fpnas_l0, not fpnas_s1pp: .*ls\+aa'),
    (['--warmup-epoch-s', '3'], r'unknown option --warmup-epoch-s; did you mean --warmup-epochs\?'),
    (['--naflex-loader'], r'--naflex-loader is not supported here: NaFlex is for vision transformers'),
    (['--torchscript'], r'--torchscript is not supported here: use --torchcompile'),
    (['--drop-connect', '0.2'], r'--drop-connect is not supported here: .*--drop-path'),
    (['--task', 'multilabel'], r'--task multilabel is not supported here'),
    (['--resume', 'auto'], r'--resume auto needs --experiment'),
    (['--resume', 'nowhere.pth.tar'], r'nowhere.pth.tar: no such checkpoint'),
    (['--initial-checkpoint', 'nowhere.pth'], r'nowhere.pth: no such file of weights'),
    (['--model', 'efficientnet_b00'], r'--model efficientnet_b00: no model .* did you mean efficientnet_b0\?'),
    (['--model', 'fpnas'], r'--model fpnas: fpnas needs an architecture string'),
    (['--model', 'fpnas_s1pp', '--pretrained'], r'--model fpnas_s1pp: No pretrained weights'),
    (['--model', 'fpnas_s1pp', '--drop-block', '0.1'], r'--model fpnas_s1pp: .*drop_block_rate'),
    (['--arch-file', 'nowhere.txt'], r'--arch-file nowhere.txt: cannot be read \(No such file'),
    (['--model', 'fpnas_s1pp', '--num-classes', '3', '--freeze', '99'], r'--freeze 99: expected 1 to \d+ layers'),
    (['--loss', 'poly', '--smoothing', '0.1', '--sched', 'polly'],
     r"--sched 'polly': expected one of cosine, .*; did you mean poly\?"),
])
def test_options(
    capsys: pytest.CaptureFixture[str], tiny_images: Path, tmp_path: Path, argv: list[str], message: str
) -> None:
    where = ['--data-dir', str(tiny_images), '--output', str(tmp_path)]
    rest = ['--device', 'cpu', '-j', '0', '-b', '8', '--epochs', '1']
    if 'polly' in argv:
        argv = [*TRAIN, *argv]
    assert re.match(message, fails(capsys, [*rest, *argv, *where]))


@pytest.mark.parametrize(('options', 'message'), [
    ({'warmup_epoch': 3}, r".*\.yaml: unknown option 'warmup_epoch'; did you mean warmup_epochs\?"),
    ({'lr': 'fast'}, r".*\.yaml: lr: 'fast': expected a number"),
    ({'amp': 'yes'}, r".*\.yaml: amp: 'yes': expected true or false"),
    ({'naflex_loader': True}, r'--naflex-loader is not supported here'),
    ({'recipe': 'fpnas_l9'}, r"unknown recipe 'fpnas_l9'"),
])
def test_yaml(capsys: pytest.CaptureFixture[str], tmp_path: Path, options: dict, message: str) -> None:
    path = tmp_path / 'options.yaml'
    path.write_text(yaml.safe_dump(options))
    assert re.match(message, fails(capsys, ['-c', str(path), *TRAIN]))


@pytest.mark.parametrize(('file', 'argv', 'loss'), [
    ({'model_ema': False, 'model_ema_decay': 0.9, 'val_seed': 3, 'val_fraction': 0.0}, [], 'ce'),  # as in args.yaml
    ({'bce_loss': True, 'bce_sum': True}, [], 'bce'),
    ({'bce_loss': True}, ['--loss', 'asl'], 'asl'),  # the command line overrides the file
    ({'loss': 'bce'}, ['--bce-loss', '--bce-pos-weight', '2'], 'bce'),
    ({}, ['--recipe', 'ls+aa+ema', '--model-ema-decay', '0.9', '--train-size-schedule', 'constant'], 'ce'),
    ({'kd_model_name': 'resnet18'}, ['--kd-temperature', '2'], 'ce'),
])
def test_options_with_an_effect(tmp_path: Path, file: dict, argv: list[str], loss: str) -> None:
    path = tmp_path / 'options.yaml'
    path.write_text(yaml.safe_dump(file))
    args = parse_train_args(['-c', str(path), *argv])
    assert loss_arguments(args)['loss'] == loss
    path.write_text(yaml.safe_dump(vars(args)))  # the args.yaml of the run
    assert loss_arguments(parse_train_args(['-c', str(path)]))['loss'] == loss


@pytest.mark.parametrize(('file', 'argv'), [
    ({'kd_model_name': None}, ['--kd-temperature', '2']), ({'kd_temperature': 2}, []), ({'loss': 'ce'}, ['--bce-loss']),
    ({'loss': 'ce', 'jsd_loss': True}, []),
])
def test_options_without_an_effect(tmp_path: Path, file: dict, argv: list[str]) -> None:
    path = tmp_path / 'options.yaml'
    path.write_text(yaml.safe_dump(file))
    with pytest.raises(UsageError, match=r'^--kd-temperature needs --kd-model-name|are different losses'):
        parse_train_args(['-c', str(path), *argv])
    if not argv:
        with pytest.raises(UsageError):
            train_options(file)


def test_the_command_line_overrides_a_file(tmp_path: Path) -> None:
    path = tmp_path / 'options.yaml'
    path.write_text(yaml.safe_dump({'lr': 0.1, 'no_aug': True}))
    args = parse_train_args(['-c', str(path), '--lr-base', '0.05'])
    assert (args.lr, args.lr_base) == (None, 0.05)
    with pytest.raises(UsageError, match=rf'^--aa has no effect with --no-aug, which is in {path}: change it there$'):
        parse_train_args(['-c', str(path), '--aa', 'original'])
    assert parse_train_args(['--opt-kwargs', 'layer_decay=0.5', '--layer-decay-min-scale', '0.9']).opt_kwargs


def test_what_is_not_used(caplog: pytest.LogCaptureFixture) -> None:
    """Options that others make useless are named; those that are as by default in Python are not."""
    parse_train_args([
        '--decay-milestones', '3', '--patience-epochs', '4', '--aa', 'original', '--color-jitter', '0.3',
        '--no-resume-opt', '--wandb-project', 'x', '--mixup', '0.1', '--mixup-switch-prob', '0.2', '--min-lr', '1e-3',
    ])
    assert [m.partition(': ')[0] for m in caplog.messages] == [
        f'--{name} is not used' for name in (
            'decay-milestones', 'patience-epochs', 'color-jitter', 'mixup-switch-prob', 'no-resume-opt', 'wandb-project'
        )
    ]
    caplog.clear()
    parse_train_args(['--sched', 'multistep', '--decay-milestones', '3', '--decay-rate', '0.5', '--aa', '3a',
                      '--color-jitter', '0.3'])
    parse_train_args(['--recipe', 'ls+aa+ema'])
    train_options({'patience_epochs': 10, 'min_lr': 0.0, 'sched': 'none'})
    assert caplog.messages == []


def test_a_file_and_a_recipe(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / 'options.yaml'
    path.write_text(yaml.safe_dump({'smoothing': 0.0}))
    args = parse_train_args(['-c', str(path), '--recipe', 'ls+aa+ema'])
    assert (args.smoothing, args.model_ema) == (0.0, True)
    assert caplog.messages == [f'--recipe ls+aa+ema: {path} overrides its --smoothing']
    for recipe, of in (('ls+aa+ema', 'a run with the recipe ls+aa'), ('ls+aa', 'a run without a recipe')):
        before = parse_train_args(['--recipe', 'ls+aa'] if 'with ' in of else [])
        path.write_text(yaml.safe_dump(vars(before)))
        with pytest.raises(UsageError, match=rf'^--recipe {re.escape(recipe)}: {path} is of {re.escape(of)}, and its'):
            parse_train_args(['-c', str(path), '--recipe', recipe])


def test_two_architectures_or_weights(tmp_path: Path) -> None:
    (tmp_path / 'arch.txt').write_text('\ufeff' + ARCH)  # as Windows saves it
    given = ['--arch-file', str(tmp_path / 'arch.txt'), '--model-kwargs']
    assert parse_train_args([*given, f'arch={ARCH}']).model_kwargs == {'arch': ARCH}
    with pytest.raises(UsageError, match='is another architecture than --model-kwargs: give one'):
        parse_train_args([*given, f'arch={ARCH.replace("c16", "c8")}'])
    with pytest.raises(UsageError, match=r'arch and model_kwargs.* are different architectures'):
        train(arch=ARCH, model_kwargs={'arch': ARCH.replace('c16', 'c8')}, output=str(tmp_path))
    with pytest.raises(UsageError, match=r'^--pretrained-path and --initial-checkpoint both load weights'):
        parse_train_args(['--pretrained-path', 'a', '--initial-checkpoint', 'b'])
    assert parse_train_args(['--recipe', 'fpnas_l2', '--kd-model-name', '']).kd_model_name is None


def test_all_options_from_python() -> None:
    """A caller may pass every option as it is by default, those that are None left out."""
    usual = {name: value for name, value in vars(parse_train_args([])).items() if value is not None}
    usual = {name: value for name, value in usual.items() if name not in ('config', 'list_recipes')}
    assert train_options({**usual, 'no_aug': True, 'lr': 0.1}).no_aug
    with pytest.raises(UsageError, match=r'^--aa has no effect with --no-aug: give one of them$'):
        train_options({**usual, 'no_aug': True, 'aa': 'original'})


def test_every_recipe_and_its_own_options(tmp_path: Path) -> None:
    """Those of the package, also as the file of a run."""
    for name in recipe_names():
        args = parse_train_args(['--recipe', name])
        path = tmp_path / 'args.yaml'
        path.write_text(yaml.safe_dump(vars(args)))
        assert vars(parse_train_args(['-c', str(path)])) == {**vars(args), 'config': str(path)}
