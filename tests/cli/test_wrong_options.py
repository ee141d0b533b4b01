"""Every option of every long command with a wrong value: exit status 2, one line on stderr, nothing written.

The values are made from the parsers themselves, so that a new option is tested too.
"""
import argparse
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fpnas_timm.cli import main
from fpnas_timm.cli.demo import build_parser as demo_parser
from fpnas_timm.errors import UsageError
from fpnas_timm.runs.options import ParseKwargs
from fpnas_timm.runs.parser import Parser, known_options, set_options
from fpnas_timm.runs.values import NAMES, RANGES, Range, Value
from fpnas_timm.search.options import build_parser as search_parser
from fpnas_timm.train.options import build_parser as train_parser
from fpnas_timm.train.validate_options import build_validate_parser

PARSERS = {
    'search': search_parser, 'train': train_parser, 'validate': build_validate_parser, 'demo': demo_parser,
}
ANY_NUMBER = {'mean', 'head_init_scale', 'head_init_bias'}


def outside(allowed: Range, kind: type) -> Iterator[str]:
    """Numbers that are not in a range: its ends if they are not in it, what lies beyond them, and infinity."""
    step = 1 if kind is int else 0.5
    if math.isfinite(allowed.low):
        yield repr(kind(allowed.low if allowed.above else allowed.low - step))
    if math.isfinite(allowed.high):
        yield repr(kind(allowed.high if allowed.below else allowed.high + step))
    yield '1e400' if kind is float else '1e30' if math.isfinite(allowed.high) else 'inf'


def wrong_values(action: argparse.Action) -> Iterator[list[str]]:
    """Command-line values that an option must refuse."""
    if action.nargs == 0:
        return
    if isinstance(action, ParseKwargs):
        yield from (['arch'], ['=x'], ['a=1', 'b'])
        return
    value = action.type
    assert isinstance(value, Value), action
    several = action.nargs if isinstance(action.nargs, int) else 1
    singles = ['a\0b']
    if value.kind is not str:
        singles += ['many', '', 'nan', '1,5', '--', *outside(value.range, value.kind)]
        singles += ['1.5'] * (value.kind is int)
    elif value.names:
        longest = max(map(str, value.names), key=len)
        singles += ['nope', f'{longest}x', longest.upper()]
    yield from ([single] * several for single in singles)
    if action.nargs != '?' and action.nargs != '*':
        yield []
    if isinstance(action.nargs, int):
        yield ['0.5'] * (action.nargs - 1)


@pytest.mark.parametrize('command', PARSERS)
def test_wrong_values_on_the_command_line(
        command: str, capsys: pytest.CaptureFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    parser = PARSERS[command]()
    tried = 0
    for action in known_options(parser).values():
        if action.help == argparse.SUPPRESS:
            continue
        flag = max(action.option_strings, key=len)
        cases = [[flag, *values] for values in wrong_values(action)] or [[f'{flag}=1']]
        for case in cases:
            assert main([command, *case]) == 2, case
            out, err = capsys.readouterr()
            assert out == '' and err.count('\n') == 1 and err.startswith('error: '), (case, out, err)
            assert any(f in err for f in action.option_strings), (case, err)
            assert len(err) < 600, err
            tried += 1
    assert tried > {'search': 200, 'train': 500, 'validate': 100, 'demo': 20}[command]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('command', ['search', 'train'])
@pytest.mark.parametrize('source', ['options.yaml', 'call()'])
def test_wrong_values_in_yaml_and_python(command: str, source: str) -> None:
    parser: Parser = PARSERS[command]()
    for name, action in known_options(parser).items():
        if action.help == argparse.SUPPRESS:
            continue
        wrong: list[Any] = [v if action.nargs else v[0] for v in wrong_values(action) if v and '--' not in v]
        if action.nargs == 0:
            wrong = ['yes', 1, None]
        elif isinstance(action, ParseKwargs):
            wrong += ['x', 3]
        else:
            wrong += [{'a': 1}, [[1]]]
            assert isinstance(action.type, Value)
            wrong += [] if action.type.kind is str else [True, object()]
            wrong += [] if action.type.optional else [None]
        for value in wrong:
            with pytest.raises(UsageError) as e:
                set_options(parser, {name: value}, source)
            assert '\n' not in str(e.value), (name, value)
            assert str(e.value).startswith(f'{source}: {name}{"=" if source == "call()" else ": "}'), (name, value)


def test_whole_numbers_in_any_notation() -> None:
    parser = train_parser()
    for given in (2, 2.0, '2', '2.0', '2e0'):
        set_options(parser, {'epochs': given}, 'train()')
        epochs = parser.get_default('epochs')
        assert epochs == 2 and type(epochs) is int


@pytest.mark.parametrize('value', ['-1M', '-5e6', '-.5'])
def test_a_negative_number_is_a_value(value: str) -> None:
    """argparse takes `-1M` for an option, and would say that the value is missing."""
    with pytest.raises(UsageError, match=f"^--target-macs '?{value}'?: expected"):
        search_parser().parse_args(['--target-macs', value])


def test_every_number_has_a_range() -> None:
    used = set()
    for command, build in PARSERS.items():
        for name, action in known_options(build()).items():
            if isinstance(action.type, Value) and action.type.kind is not str:
                used.add(name)
                assert name in ANY_NUMBER or action.type.range != Range(), f'{command} --{name}: add it to RANGES'
                default = action.default if isinstance(action.default, list) else [action.default]
                assert all(d is None or d in action.type.range for d in default), name
    assert set(RANGES) <= used, 'a range of an option that no longer exists'


def test_names_are_timms() -> None:
    """The names that the parsers accept are those that timm accepts, and no others."""
    import inspect
    import re

    from timm.data import create_transform, transforms
    from timm.scheduler import create_scheduler_v2, scheduler_factory, wsd_lr
    from torch import nn

    assert set(NAMES['interpolation']) - {''} == set(transforms._str_to_torch_interpolation)
    assert set(NAMES['lr_decay_fn']) == set(wsd_lr._DECAY_FNS)
    source = inspect.getsource(scheduler_factory.create_scheduler_v2)
    compared = re.findall(r"sched (?:==|!=|in) (\(.*?\)|'\w+')", source)
    assert set(re.findall(r"'(\w+)'", ' '.join(compared))) == set(NAMES['sched'])
    from torch.optim import SGD

    for name in NAMES['sched']:
        optimizer = SGD(nn.Linear(1, 1).parameters(), lr=0.1)
        more = {'decay_epochs': 2, 'warmup_epochs': 1} if name in ('wsd', 'rsqrt') else {}
        create_scheduler_v2(optimizer, name, num_epochs=5, decay_milestones=(2,), **more)
    for mode in NAMES['train_crop_mode']:
        create_transform(32, is_training=True, train_crop_mode=mode)
    for mode in NAMES['crop_mode']:
        create_transform(32, crop_mode=mode)
    for mode in NAMES['remode']:
        create_transform(32, is_training=True, re_prob=0.5, re_mode=mode)
