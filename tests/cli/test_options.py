"""The options that commands share, and what the help says."""
import argparse
from pathlib import Path

import pytest
from timm import utils

from fpnas_timm.cli import usage
from fpnas_timm.runs.options import SHARED, ParseKwargs
from fpnas_timm.search.options import build_parser as search_parser
from fpnas_timm.train.options import build_parser as train_parser
from fpnas_timm.train.validate_options import build_validate_parser

PARSERS = {'search': search_parser(), 'train': train_parser(), 'validate': build_validate_parser()}


@pytest.mark.parametrize('values', [
    [], [''], ['a=1', 'b=x', 'c=(1, 2)'], ['arch=i32-cn_k3'], ['a=b=c', 'a=None', "s='q'", 'e='], ['a=1e-3', 'b=[1,'],
])
def test_kwargs_as_timms(values: list[str]) -> None:
    results = []
    for action in (ParseKwargs, utils.ParseKwargs):
        parser = argparse.ArgumentParser()
        parser.add_argument('--x', nargs='*', default={}, action=action)
        results.append(parser.parse_args(['--x', *values]).x)
    assert results[0] == results[1] and list(map(type, results[0].values())) == list(map(type, results[1].values()))


def test_shared_options_are_shared() -> None:
    dests = [{a.dest for a in parser._actions} for parser in PARSERS.values()]
    for name in SHARED:
        assert sum(name in d for d in dests) > 1, name


@pytest.mark.parametrize('name', PARSERS)
def test_help_in_words(name: str) -> None:
    text = PARSERS[name].format_help()
    assert f'usage: fpnas {name}' in text
    assert '(default: None)' not in text and '(default: )' not in text and '(default: False)' not in text


def test_page_shows_the_real_help() -> None:
    page = (Path(__file__).parents[2] / 'docs' / 'cli.md').read_text()
    assert f'$ fpnas --help\n{usage()}```' in page
