"""The recipes: the paper's tables, files in step with them, and each read by our parser and by timm's."""
import importlib.util
import os
import sys
from pathlib import Path

import pytest
import timm
import yaml

import fpnas_timm
from fpnas_timm.cli.runs import train_main
from fpnas_timm.paper import TABLE_B1, TABLE_C2
from fpnas_timm.recipes import find_recipe, recipe_names, recipe_table
from fpnas_timm.recipes.table import ALIASES, FILES
from fpnas_timm.train.options import build_parser, parse_train_args

FOLDER = Path(fpnas_timm.__file__).parent / 'recipes'
TIMM_TRAIN = Path(os.environ.get('TIMM_TRAIN', 'not given'))
SCRIPT = TIMM_TRAIN / 'train.py' if TIMM_TRAIN.is_dir() else TIMM_TRAIN
OPTIONS = {  # the toggles, as the paper's columns
    'LS': lambda o: o.get('smoothing', 0) > 0,
    'AA': lambda o: bool(o.get('aa')),
    'EMA': lambda o: o.get('model_ema', False),
    'SD': lambda o: o.get('drop_path', 0) > 0,
}


def columns(options: dict) -> str:
    return ''.join('x' if has(options) else '-' for has in OPTIONS.values())


def test_files_are_in_step_with_the_table() -> None:
    on_disk = {str(p.relative_to(FOLDER).with_suffix('')): p.read_text() for p in FOLDER.rglob('*.yaml')}
    assert on_disk == {name: recipe.text() for name, recipe in FILES.items()}
    for name, text in on_disk.items():
        assert yaml.safe_load(text) == FILES[name].options()


def test_table_c2() -> None:
    """Rows in the paper's order, with its columns LS AA EMA SD."""
    rows = [n for n in FILES if n.partition('/')[0] in TABLE_C2 and '/' in n]
    assert len(rows) == 16
    printed = ['x-x-', 'xx--', 'xxx-', 'xxxx'] * 4
    assert [columns(find_recipe(n).options) for n in rows] == printed
    assert [FILES[n].top1 for n in rows] == [
        69.8, 70.0, 70.0, 69.5, 76.4, 76.4, 76.6, 76.4, 77.6, 77.5, 77.9, 78.0, 80.2, 79.2, 80.6, 80.7
    ]
    for model in TABLE_C2:  # the rows of a model differ by their toggles alone
        own = [find_recipe(n).options for n in rows if n.startswith(model)]
        toggles = {'smoothing', 'aa', 'model_ema', 'model_ema_decay', 'drop_path'}
        rest = [{k: v for k, v in o.items() if k not in toggles} for o in own]
        assert rest.count(rest[0]) == 4


def test_table_c3() -> None:
    printed = {
        'mnasnet': 'x-x-', 'fbnetv2': 'xx--', 'fpnas_small': 'xxx-', 'atomnas': 'x-x-', 'efficientnet': 'xxxx',
        'fpnas_large': 'xxxx',
    }
    assert {row: columns(find_recipe(f'table_c3/{row}').options) for row in printed} == printed
    assert all('model' not in find_recipe(f'table_c3/{row}').options for row in printed)


def test_final_recipes_are_those_of_table_b1() -> None:
    """Small models without, large ones with stochastic depth; distilled where the table says so."""
    for model, row in TABLE_B1.items():
        recipe = find_recipe(model)
        file = FILES[ALIASES.get(model, model)]
        assert recipe.options['model'] == model
        assert columns(recipe.options) == ('xxx-' if model.startswith('fpnas_s') else 'xxxx')
        assert ('kd_model_name' in recipe.options) == (row.top1_distilled is not None)
        assert file.top1 == (row.top1_distilled or row.top1)
    teacher = find_recipe('fpnas_l2').options['kd_model_name']
    assert timm.models.get_pretrained_cfg(teacher).num_classes == 1000
    assert timm.models.get_pretrained_cfg(teacher).has_weights


@pytest.mark.parametrize('name', recipe_names())
def test_parsed_by_ours(name: str) -> None:
    args = parse_train_args(['--recipe', name])
    options = find_recipe(name).options
    assert {k: getattr(args, k) for k in options} == options
    from_file = parse_train_args(['-c', str(find_recipe(name).path)])
    assert {**vars(args), 'recipe': None, 'config': None} == {**vars(from_file), 'config': None}


def test_the_command_line_wins(tmp_path: Path) -> None:
    (tmp_path / 'own.yaml').write_text('epochs: 7\nlr: 0.5\nrecipe: fpnas_l0/ls+aa\n')
    args = parse_train_args(['-c', str(tmp_path / 'own.yaml'), '--lr', '0.25', 'DATA'])
    assert (args.model, args.aa, args.epochs, args.lr, args.data_dir) == ('fpnas_l0', 'original', 7, 0.25, 'DATA')


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert train_main(['--list-recipes']) == 0
    out = capsys.readouterr().out
    assert out.strip() == recipe_table()
    rows = {line.split()[0]: line for line in out.splitlines()[1:] if line and not line.startswith('The')}
    assert set(rows) == set(recipe_names())
    assert '81.6' in rows['fpnas_l2']
    assert '80.7' in rows['fpnas_l2/ls+aa+ema+sd']
    assert 'reconstructions' in out


@pytest.fixture(scope='module')
def timms_script():
    if not SCRIPT.is_file():
        pytest.skip('TIMM_TRAIN names no script or checkout of timm')
    spec = importlib.util.spec_from_file_location('timms_train', SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize('name', sorted(FILES))
def test_parsed_by_timms(name: str, timms_script, monkeypatch: pytest.MonkeyPatch) -> None:
    """timm's parser takes the file: every key is one of its options, every value arrives."""
    recipe = find_recipe(name)
    known = {a.dest for a in timms_script.parser._actions}
    assert set(recipe.options) <= known
    monkeypatch.setattr(sys, 'argv', ['train.py', '-c', str(recipe.path), '--data-dir', 'DATA'])
    defaults = dict(timms_script.parser._defaults), [(a, a.default) for a in timms_script.parser._actions]
    try:
        args = timms_script._parse_args()[0]
    finally:
        timms_script.parser._defaults = defaults[0]
        for action, default in defaults[1]:
            action.default = default
    assert {k: getattr(args, k) for k in recipe.options} == recipe.options


def test_same_defaults_as_timms(timms_script) -> None:
    """Names, defaults and types of the options; those that newer versions of timm have on top are left out."""
    theirs = {a.dest: a for a in timms_script.parser._actions if a.option_strings and a.dest != 'help'}
    ours = {a.dest: a for a in build_parser()._actions if a.option_strings}
    assert set(theirs) <= set(ours)
    newer = {'decay_epochs'}  # None since 1.0.30: 90 for `step`
    own = {'device', 'workers'}  # ours: what the machine has, and no more workers than cores
    for name in set(theirs) - newer - own:
        assert ours[name].default == theirs[name].default, name
        assert set(theirs[name].option_strings) <= set(ours[name].option_strings), name
        # a range is two numbers here, where timm's parser takes any number and its transforms fail
        same = ours[name].nargs == theirs[name].nargs
        assert same or (ours[name].nargs, theirs[name].nargs) == (2, '+'), name
