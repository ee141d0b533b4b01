"""`fpnas decode`: a family of networks from one search, from its folder to models that timm loads."""
import itertools
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch

from fpnas_timm.arch import Arch
from fpnas_timm.arch.cost import cost
from fpnas_timm.cli import main
from fpnas_timm.errors import UsageError
from fpnas_timm.runs.files import write_text
from fpnas_timm.search import decode_family
from fpnas_timm.search.family_members import Member, compared, label
from fpnas_timm.search.learned import read_learned
from fpnas_timm.spaces import get_space
from fpnas_timm.spaces.costs import network_costs, tabulated
from tests.device.tables import SETTING, made_up_table

TARGETS = '40K,60K,90K'


@pytest.fixture(scope='module')
def family(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp('family') / 'out'
    given = ['--tolerance', '0.1', '--finalists', '3', '--workers', '0', '-o', str(out)]
    assert main(['decode', str(whole), '--targets', TARGETS, *given]) == 0
    return out


def members(out: Path) -> list[dict]:
    return json.loads((out / 'family.json').read_text())['members']


def test_each_member_is_within_its_target_and_can_be_loaded(family: Path) -> None:
    for member, target in zip(members(family), (40e3, 60e3, 90e3), strict=True):
        spent = cost(Arch.parse(member['arch']), num_classes=3)
        assert (member['macs'], member['params'], member['cost']) == (*spent, spent.macs)
        assert 0.9 * target <= spent.macs <= target
        folder = family / member['name']
        assert (folder / 'arch.txt').read_text().strip() == member['arch']
        model = timm.create_model(f'local-dir:{folder}', pretrained=True).eval()
        assert str(model.arch) == member['arch']
        assert model(torch.randn(2, 3, 16, 16)).isfinite().all()
        assert len(member['finalists']) == 3
        assert member['top1'] == max(f['top1'] for f in member['finalists'])
    assert (family / 'family.png').exists()


def test_the_networks_are_the_most_probable_ones_of_what_was_learned(family: Path, whole: Path) -> None:
    """By trying all architectures of the space."""
    learned = read_learned(whole)
    assert learned.budget_given_back
    space, scores = learned.searched.space, {}
    every = itertools.product(*(itertools.product(*(range(len(c)) for c in g.values())) for g in space.groups))
    archs = list(every)
    with torch.no_grad():
        log_probs = learned.distribution.log_prob(archs).tolist()
    for choices, log_prob in zip(archs, log_probs):
        arch = space.to_arch(choices)
        scores[str(arch)] = max(log_prob, scores.get(str(arch), -1e9))
    for member in members(family):
        inside = {
            a: s for a, s in scores.items()
            if 0.9 * member['target'] <= cost(Arch.parse(a), num_classes=3).macs <= member['target']
        }
        best = sorted(inside.values(), reverse=True)[:3]
        found = sorted((f['log_prob'] for f in member['finalists']), reverse=True)
        assert found == pytest.approx(best, abs=1e-5)
        assert all(inside[f['arch']] == pytest.approx(f['log_prob'], abs=1e-5) for f in member['finalists'])


def test_the_scores_are_those_of_the_search(whole: Path, tmp_path: Path) -> None:
    """Of an architecture that was a finalist of the search: the same images, weights and calibration."""
    result = json.loads((whole / 'result.json').read_text())
    known = {f['arch']: f['top1'] for f in result['finalists']}
    [member] = decode_family(whole, [60e3], tolerance=0.1, finalists=40, workers=0, output=tmp_path / 'out').members
    both = [f for f in member.finalists if f['arch'] in known]
    assert both
    assert all(f['top1'] == pytest.approx(known[f['arch']]) for f in both)


def test_what_is_written_is_not_made_again(family: Path, whole: Path, capsys: pytest.CaptureFixture) -> None:
    files = {p: p.stat().st_mtime_ns for name in ('40K', '60K', '90K') for p in (family / name).iterdir()}
    shutil.rmtree(family / '90K')
    family.joinpath('family.png').unlink()
    again = decode_family(whole, [60e3, 90e3, 120e3], tolerance=0.1, finalists=3, workers=0, output=family)
    assert [m.name for m in again.members] == ['60K', '90K', '120K']
    assert [m['name'] for m in members(family)] == ['40K', '60K', '90K', '120K']
    assert all(p.stat().st_mtime_ns == time for p, time in files.items() if p.parent.name != '90K')
    assert (family / 'family.png').exists() and (family / '90K' / 'model.safetensors').exists()
    shutil.rmtree(family / '120K')
    with pytest.raises(UsageError, match=r'other settings \(finalists was 3, is 4\)'):
        decode_family(whole, [60e3], tolerance=0.1, finalists=4, output=family)


def test_interrupted_keeps_what_was_done(
        whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    from fpnas_timm.search.family_scores import Scorer

    final, calls = Scorer.final, []

    def second_fails(self: Scorer, *given):
        calls.append(given)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return final(self, *given)

    monkeypatch.setattr(Scorer, 'final', second_fails)
    command = ['decode', str(whole), '--targets', '60K,90K', '--tolerance', '0.1', '--finalists', '1', '--workers', '0',
               '-o', str(tmp_path / 'out')]
    assert main(command) == 130
    assert [m['name'] for m in members(tmp_path / 'out')] == ['60K']
    assert main(command) == 0
    assert len(calls) == 3 and [m['name'] for m in members(tmp_path / 'out')] == ['60K', '90K']


@pytest.mark.parametrize('scores', [True, False])
def test_interrupted_before_the_first_member_is_noted(
        scores: bool, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C as the string of a member is written: its folder is there already, and the same call goes on."""
    given = dict(targets=[60e3, 90e3], tolerance=0.1, scores=scores, workers=0, output=tmp_path / 'out')
    for at in (1, 2):
        with monkeypatch.context() as patch:
            texts: list[Path] = []

            def interrupted(path: Path, text: str, texts=texts, at=at) -> None:
                texts.append(path)
                if len(texts) == at:
                    raise KeyboardInterrupt
                write_text(path, text)

            patch.setattr('fpnas_timm.search.family.write_text', interrupted)
            with pytest.raises(KeyboardInterrupt):
                decode_family(whole, **given)
        assert texts[-1].parent.is_dir()
        assert [m['name'] for m in members(tmp_path / 'out')] == ['60K', '90K'][: at - 1]
        shutil.rmtree(tmp_path / 'out' / '60K')  # made again
    assert [m.name for m in decode_family(whole, **given).members] == ['60K', '90K']


def test_targets_in_python(whole: Path, tmp_path: Path) -> None:
    """Numbers and texts, as on the command line; anything else is refused in a sentence."""
    given = dict(tolerance=0.1, scores=False)
    found = decode_family(whole, ['90K', 60_000, '0.075M', np.float32(5e4)], output=tmp_path / 'out', **given)
    assert [(m.name, m.target) for m in found.members] == [('50K', 5e4), ('60K', 6e4), ('75K', 75e3), ('90K', 9e4)]
    ms = tabulated(get_space(str(whole / 'space.json')), lambda c: 1.5 + sum(map(sum, c)) / 4, 'latency', 'ms')
    found = decode_family(whole, ['2500us', 3], ms, output=tmp_path / 'ms', **given)
    assert [m.target for m in found.members] == [2.5, 3]
    for targets, said in (
        (60e3, r"^targets 60000\.0: expected a list, such as \[1e6, '2M'\]$"),
        ('60K', "^targets '60K': expected a list"),
        (['many'], "^target 'many': expected a number such as 3M"),
        ([None], '^target None: expected a number or a text'),
        (['60K', 60e3], '^target 60K: is given twice'),
        ([float('nan')], '^target nan: expected a number above 0'),
    ):
        with pytest.raises(UsageError, match=said):
            decode_family(whole, targets, output=tmp_path / 'no', **given)
    with pytest.raises(UsageError, match=r'^finalists=2: without scores'):
        decode_family(whole, [60e3], finalists=2, output=tmp_path / 'no', **given)
    assert not (tmp_path / 'no').exists()


def test_a_cost_by_the_name_of_another(whole: Path, tmp_path: Path) -> None:
    """Multiply-adds with 1,000 classes, in a search with 3: they would not be those of the result."""
    space = get_space(str(whole / 'space.json'))
    given = dict(tolerance=0.1, scores=False)
    own, other = (network_costs(space, classes)[0] for classes in (3, 1000))
    found = decode_family(whole, [60e3], own, output=tmp_path / 'own', **given)
    assert found.members == decode_family(whole, [60e3], output=tmp_path / 'named', **given).members
    for wrong in (other, network_costs(get_space('fpnas_s1pp'), 3)[0]):
        with pytest.raises(UsageError, match=r"^cost 'macs': is not that of the search, which counts 3 classes"):
            decode_family(whole, [60e3], wrong, output=tmp_path / 'no', **given)
    honoured = decode_family(whole, [90e3], replace(other, name='larger'), output=tmp_path / 'larger', **given)
    assert cost(Arch.parse(honoured.members[0].arch), num_classes=1000).macs == honoured.members[0].cost <= 90e3


def test_a_member_that_another_beats() -> None:
    """Also one that costs less within a larger target."""
    rows = [('1M', 1.0e6, 50.0), ('2M', 1.9e6, 60.0), ('2.1M', 1.8e6, 70.0), ('3M', 2.9e6, 65.0), ('4M', 3.9e6, 80.0)]
    found = compared([Member(n, 1.0, c, '', 0, 0, 0.0, top1, 1.0) for n, c, top1 in rows])
    assert [m.beaten_by for m in found] == [None, '2.1M', None, '2.1M', None]


def test_strings_without_images(whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / 'strings'
    assert main(['decode', str(whole), '--target-params', '1.5K,2K', '--no-scores', '-o', str(out)]) == 0
    printed = capsys.readouterr().out
    assert '--recipe ls+aa+ema --num-classes 3 --data-dir DIR' in printed and '±' not in printed
    for member, target in zip(members(out), (1500, 2000), strict=True):
        assert member['cost'] == cost(Arch.parse(member['arch']), num_classes=3).params <= target
        assert member['top1'] is None and [p.name for p in (out / member['name']).iterdir()] == ['arch.txt']


def test_a_cost_of_ones_own(whole: Path, tmp_path: Path) -> None:
    space = get_space(str(whole / 'space.json'))
    ms = tabulated(space, lambda choices: 1.5 + sum(k for group in choices for k in group) / 4, 'latency', 'ms')
    family = decode_family(whole, [2.5, 3], ms, tolerance=0.2, scores=False, output=tmp_path / 'ms')
    assert [m.name for m in family.members] == ['2.5ms', '3ms']
    assert all(0.8 * m.target <= m.cost <= m.target for m in family.members)
    assert 'ms' in str(family).splitlines()[0]


def test_times(whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """The table is of another machine, so the times are only predicted."""
    space = get_space(str(whole / 'space.json'))
    table = made_up_table(space, setting=replace(SETTING, num_classes=3))
    table.save(tmp_path / 'table.json')
    least, most = table.cost().range()
    targets = ','.join(f'{least + share * (most - least):.4f}ms' for share in (0.4, 0.7))
    given = ['--tolerance', '0.1', '--no-scores', '-o', str(tmp_path / 'o')]
    command = ['decode', str(whole), '--targets', targets, *given]
    assert main(command) == 2
    assert 'times need --latency-table FILE' in capsys.readouterr().err
    assert main([*command, '--latency-table', str(tmp_path / 'table.json')]) == 0
    said = capsys.readouterr().out
    assert 'ms' in said.splitlines()[0] and 'times are predicted, not measured here: cannot be measured here' in said
    for member in members(tmp_path / 'o'):
        assert 0.9 * member['target'] <= member['cost'] <= member['target']
        assert member['cost'] == pytest.approx(table.predict(Arch.parse(member['arch'])), abs=1e-5)
    made_up_table(space, setting=replace(SETTING, num_classes=4)).save(tmp_path / 'other.json')
    assert main([*command, '--latency-table', str(tmp_path / 'other.json')]) == 2
    assert 'the latency table: is of networks with 4 classes, not 3' in capsys.readouterr().err


@pytest.mark.parametrize(('given', 'said'), [
    (['--targets', '1K'], "target 1K: the smallest network of space 'tiny' has"),
    (['--targets', '9M'], "target 9M: the largest network of space 'tiny' has"),
    (['--targets', '60K,6e4'], 'target 60K: is given twice'),
    (['--targets', '4000000.4,4.0000004M'], 'target 4000000.4: is given twice'),
    (['--targets', '60K,,90K'], "--targets 60K,,90K: '': expected a number such as 3M"),
    (['--targets', '-60K'], "--targets -60K: '-60K': expected more than 0"),
    (['--target-params', 'many'], "--target-params many: 'many': expected a number"),
    (['--targets', '1ms', '--latency-table', '/nowhere.json'], '--latency-table /nowhere.json: cannot be read'),
    (['--target-params', '2K', '--latency-table', 'x'], '--target-params 2K: counts parameters'),
    ([], 'expected the budgets: --targets 1M,2M,4M or --target-params'),
    (['--targets', '60K', '--target-params', '2K'], 'not both'),
    (['--targets', '60K', '--tolerance', '1'], '--tolerance 1: expected more than 0 and less than 1'),
    (['--targets', '60K', '--finalists', '0'], '--finalists 0: expected 1 or more'),
    (['--targets', '60K', '--data-dir', '/nowhere'], '/nowhere'),
    (['--targets', '60K', '--finalists', '2', '--no-scores'], '--finalists 2: without scores, the most probable'),
    (['--targets', '60K', '--tolerance', '1e-9'], 'target 60K: no architecture of space'),
])
def test_wrong_options(
        given: list[str], said: str, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / 'out'
    given = [f'{a}={b}' if b.startswith('-6') else a for a, b in itertools.pairwise([*given, ''])
             if not a.startswith('-6')]
    assert main(['decode', str(whole), *given, '-o', str(out)]) == 2
    err = capsys.readouterr().err
    assert said in err and err.count('\n') == 1
    assert not out.exists()


def test_wrong_folders(whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    def said(folder: Path, *more: str) -> str:
        assert main(['decode', str(folder), '--targets', '60K', '--tolerance', '0.1', *more]) == 2
        err = capsys.readouterr().err
        assert err.count('\n') == 1
        return err

    assert 'no such folder' in said(tmp_path / 'none')
    assert 'no search there' in said(tmp_path)
    copy = tmp_path / 'copy'
    shutil.copytree(whole, copy)
    (tmp_path / 'full').mkdir()
    (tmp_path / 'full' / 'thesis.tex').touch()
    assert 'is there, but no family' in said(copy, '-o', str(tmp_path / 'full'))
    for damage in (lambda path: path.write_bytes(b'damaged'), Path.unlink):
        damage(copy / 'last.pt')
        assert 'is of epoch 5 of 6' in said(copy, '--no-scores')
    (copy / 'last.previous.pt').unlink()
    assert 'no weights there (last.pt does not exist)' in said(copy)
    assert main(['decode', str(copy), '--targets', '60K', '--tolerance', '0.1', '--no-scores']) == 0
    assert 'is not known (there is no last.pt): decoded as it is' in capsys.readouterr().out
    (copy / 'result.json').unlink()
    assert f'not finished (epoch 6 of 6): continue it with --resume {copy}' in said(copy)
    args = copy / 'args.yaml'
    args.write_text(args.read_text().replace('strategy: fp-nas', 'strategy: random'))
    assert 'a search with --strategy random learns no distribution' in said(copy)


def test_names_of_targets() -> None:
    assert [label(t) for t in (1e6, 1.5e6, 1_234_567, 40e3, 2e9, 999)] == ['1M', '1.5M', '1234567', '40K', '2G', '999']
