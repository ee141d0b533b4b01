"""The options of a search: defaults that are counted in epochs fit the number of epochs."""
import logging
from pathlib import Path

import pytest
import yaml

from fpnas_timm.errors import UsageError
from fpnas_timm.search.loop import SearchConfig
from fpnas_timm.search.options import parse_search_args, search_options
from fpnas_timm.train.options import parse_train_args


@pytest.mark.parametrize(('epochs', 'warmup', 'lr_warmup'), [
    (1, 0, 0), (2, 1, 1), (5, 1, 1), (6, 2, 1), (10, 2, 1), (16, 4, 1), (20, 4, 1), (300, 4, 1),
])
def test_the_default_warmups_fit(
        epochs: int, warmup: int, lr_warmup: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A fifth of the epochs, at most the default of 4, and the search itself accepts them."""
    given = {'epochs': epochs, 'output': str(tmp_path / 'out')}
    for args in (
        search_options(given), parse_search_args(['--epochs', str(epochs), '--output', str(tmp_path / 'out')])
    ):
        assert (args.warmup_epochs, args.warmup_lr_epochs, args.joint_epoch) == (warmup, lr_warmup, None)
        SearchConfig(args.epochs, args.warmup_epochs)
    said = [m for m in caplog.messages if '--warmup-epochs' in m]
    assert said == ([] if warmup == 4 else [said[0]] * 2)
    assert not said or f'for --epochs {epochs}: --warmup-epochs {warmup} instead of 4' in said[0]


def test_those_that_were_asked_for_stay_or_are_refused(tmp_path: Path) -> None:
    given = ['--output', str(tmp_path / 'out'), '--epochs', '3']
    assert parse_search_args([*given, '--warmup-epochs', '2']).warmup_epochs == 2
    with pytest.raises(UsageError, match=r'^--warmup-epochs 3: expected fewer than --epochs, 3$'):
        parse_search_args([*given, '--warmup-epochs', '3'])
    with pytest.raises(UsageError, match=r'^--joint-epoch 3: expected fewer than --epochs, 3$'):
        parse_search_args([*given, '--joint-epoch', '3'])


def test_the_papers_settings_are_scaled(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """315 epochs, 45 of warm-up, theta 80: a tenth of the epochs has a tenth of each, rounded up."""
    given = ['--preset', 'fpnas_l0', '--output', str(tmp_path / 'out')]
    args = parse_search_args(given)
    assert (args.epochs, args.warmup_epochs, args.joint_epoch) == (315, 45, 80)
    assert not [m for m in caplog.messages if 'instead of' in m]
    with caplog.at_level(logging.WARNING):
        args = parse_search_args([*given, '--epochs', '32'])
    assert (args.warmup_epochs, args.joint_epoch) == (5, 9)
    assert 'for --epochs 32: --warmup-epochs 5 instead of 45, --joint-epoch 9 instead of 80' in caplog.messages
    assert parse_search_args([*given, '--epochs', '32', '--joint-epoch', '20']).joint_epoch == 20


def test_workers_that_a_saved_search_does_not_name(tmp_path: Path) -> None:
    (tmp_path / 'args.yaml').write_text('data_dir: null\nepochs: 2\nwarmup_epochs: 1\n')
    fresh = parse_search_args(['--output', str(tmp_path / 'new')])
    assert search_options({'resume': str(tmp_path)}).workers == fresh.workers > 0
    assert search_options({'resume': str(tmp_path), 'workers': 0}).workers == 0


def test_a_training_run_is_no_search(tmp_path: Path) -> None:
    (tmp_path / 'args.yaml').write_text(yaml.safe_dump(vars(parse_train_args(['--data-dir', 'x']))))
    with pytest.raises(UsageError, match=r'^--resume .*: a training run, not a search: fpnas train --resume'):
        parse_search_args(['--resume', str(tmp_path)])


def test_a_search_needs_an_epoch() -> None:
    for options in ('', '--strategy random', '--init-from x'):
        with pytest.raises(UsageError, match=r'^--epochs 0: expected 1 or more$'):
            parse_search_args([*options.split(), '--epochs', '0', '--output', 'out'])


def test_a_name_that_begins_like_several() -> None:
    with pytest.raises(UsageError, match=r"'warm_up'; did you mean warmup_epochs, warmup_lr_epochs or warmup_lr\?$"):
        search_options({'warm_up': 1})


@pytest.mark.parametrize(('options', 'said'), [
    ('--lam 1 --num-samples 4', ['--lam 1.0 is not used: K is --num-samples 4']),
    ('--no-aug --aa original', ['--aa original is not used: --no-aug switches the augmentation off']),
    ('--amp-dtype bfloat16', ['--amp-dtype bfloat16 is not used: --amp is off']),
    ('--weight-window 0.5', ['--weight-window 0.5 is not used: it is for --weight-draws budget']),
    ('--weight-window 0.5 --weight-draws budget --target-macs 3M', []),
    ('--cost-form relative --beta 2 --tolerance 0.1', [
        f'--{option} is not used: there is no budget' for option in ('beta 2.0', 'cost-form relative', 'tolerance 0.1')
    ]),
    ('--cost-form relative --beta 2 --tolerance 0.1 --target-params 3M', []),
    ('--preset fbnetv2_f --num-samples 4', []),  # its lambda was not asked for
])
def test_what_has_no_effect_is_said(
        options: str, said: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    args = parse_search_args([*options.split(), '--output', str(tmp_path / 'out')])
    assert caplog.messages == said
    settings = {k: v for k, v in vars(args).items() if k not in ('resume', 'config', 'anew')}
    (tmp_path / 'args.yaml').write_text(yaml.safe_dump(settings))
    caplog.clear()
    parse_search_args(['-c', str(tmp_path / 'args.yaml'), '--output', str(tmp_path / 'out')])  # which has all options
    assert caplog.messages == said


def test_a_file_with_all_options_goes_on_too(tmp_path: Path) -> None:
    """Its defaults for what the strategy has no use for were left out at the start."""
    (tmp_path / 'all.yaml').write_text(yaml.safe_dump({'strategy': 'evolution', 'epochs': 20, 'warmup_epochs': 4}))
    command = ['-c', str(tmp_path / 'all.yaml'), '--init-from', 'net.safetensors', '--data-dir', 'x', '--output',
               str(tmp_path / 'out'), '--resume', 'auto']
    started = vars(parse_search_args(command))
    assert started['epochs'] == 0
    (tmp_path / 'out').mkdir()
    settings = {k: v for k, v in started.items() if k not in ('resume', 'config', 'anew')}
    (tmp_path / 'out' / 'args.yaml').write_text(yaml.safe_dump(settings))
    (tmp_path / 'out' / 'last.pt').touch()
    assert parse_search_args(command).resume == str(tmp_path / 'out')


@pytest.mark.parametrize('options', [
    '--preset fpnas_s1pp --strategy evolution', '--preset thorough --strategy random --target-macs 3M',
    '--preset thorough --init-from x', '--preset thorough --target-macs 3M --epochs 4',
    '--preset fpnas_l0 --epochs 32',
])
def test_the_same_command_goes_on_whatever_it_left_out_of_its_preset(options: str, tmp_path: Path) -> None:
    command = [*options.split(), '--data-dir', 'x', '--output', str(tmp_path), '--resume', 'auto']
    started = vars(parse_search_args(command))
    settings = {k: v for k, v in started.items() if k not in ('resume', 'config', 'anew')}
    (tmp_path / 'args.yaml').write_text(yaml.safe_dump(settings))
    (tmp_path / 'last.pt').touch()
    assert vars(parse_search_args(command)) == {**started, 'anew': False, 'resume': str(tmp_path)}
    other = {'thorough': 'fpnas_s1pp'}.get(command[1], 'thorough')
    with pytest.raises(UsageError, match='settings differ from those of that search'):  # also those of a preset
        parse_search_args(['--preset', other, *command[2:]])
    with pytest.raises(UsageError, match=r'--alpha-lr is .* there, 0\.7 here'):
        parse_search_args([*command, '--alpha-lr', '0.7'])
