"""`--strategy`: the baselines on images, from the options to the files, and options of one given to another."""
import json
import signal
from pathlib import Path

import pytest
import timm
import torch
import torch.nn.functional as F
import yaml

from fpnas_timm.arch.cost import cost
from fpnas_timm.errors import UsageError
from fpnas_timm.search import search
from fpnas_timm.search.candidates import CandidateSearch
from fpnas_timm.search.options import build_parser, parse_search_args, search_options
from fpnas_timm.search.run import SearchResult
from fpnas_timm.search.scores import FixedScores
from fpnas_timm.search.setup import set_up
from fpnas_timm.search.strategies import candidate_config, create_search
from fpnas_timm.search.strategy_options import ONLY
from tests.search.test_api import SPACE, Colours

SETTINGS = dict(
    epochs=2, warmup_lr_epochs=0, batch_size=4, workers=0, calibration_batches=2, target_macs=30e3, tolerance=0.3,
    evaluations=52, score_batches=1,
)
EVOLUTION = dict(SETTINGS, strategy='evolution', population=10, tournament=4, crossover=0.2)
RANDOM = dict(SETTINGS, strategy='random')


@pytest.fixture(scope='module')
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, SearchResult]:
    folder = tmp_path_factory.mktemp('strategies')
    return {s['strategy']: search(SPACE, Colours(), output=folder / s['strategy'], **s) for s in (EVOLUTION, RANDOM)}


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def differing(archs: list[str], count: int) -> list[str]:
    """The first that differ from all before them in half of their groups; then, if they are too few, in fewer."""
    found: list[str] = []
    groups = len(archs[0].split('-')) - 3
    for least in range((groups + 1) // 2, 0, -1):
        for arch in archs:
            apart = [sum(a != b for a, b in zip(arch.split('-'), other.split('-'))) for other in found]
            if len(found) < count and min(apart, default=groups) >= least:
                found.append(arch)
    return found


@pytest.mark.parametrize('name', ['evolution', 'random'])
def test_result_and_files(name: str, found: dict[str, SearchResult], caplog: pytest.LogCaptureFixture) -> None:
    result = found[name]
    assert result.distribution is None and 'distribution' not in str(result)
    candidates = rows(result.folder / 'candidates.jsonl')
    assert len(candidates) == len({c['arch'] for c in candidates}) == 52
    assert all(cost(c['arch'], num_classes=3).macs == c['macs'] and 21_000 <= c['macs'] <= 30_000 for c in candidates)
    written = json.loads((result.folder / 'result.json').read_text())
    assert str(result.arch) == written['arch']
    by_score = sorted(candidates, key=lambda c: -c['score'])
    assert written['score'] == next(c['score'] for c in candidates if c['arch'] == written['arch'])
    assert {f['arch'] for f in written['finalists']} == set(differing([c['arch'] for c in by_score], 8))
    assert all(f['log_prob'] is None for f in written['finalists'])
    assert (written['strategy'], written['samples']) == (name, 52) and written['seconds'] > 0
    assert result.macs == written['macs']
    assert [row['phase'] for row in result.history] == ['weights', 'weights', name, name]
    assert result.history == rows(result.folder / 'history.jsonl')
    assert not (result.folder / 'distribution.safetensors').exists()
    assert (result.folder / 'course.png').exists() and not (result.folder / 'distribution.png').exists()
    assert timm.create_model(f'local-dir:{result.folder / "extract"}', pretrained=True).arch == result.arch
    with caplog.at_level('INFO'):
        again = search(resume=result.folder, dataset=Colours())
    assert str(again.arch) == str(result.arch)
    assert [m for m in caplog.messages if 'is finished: there is nothing left to do' in m]
    (result.folder / 'candidates.jsonl').unlink()  # then it is written again
    search(resume=result.folder, dataset=Colours())
    assert rows(result.folder / 'candidates.jsonl') == candidates


def test_fewer_candidates_than_finalists(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """There are more networks within the budget, but no more were scored."""
    caplog.set_level('INFO')
    result = search(SPACE, Colours(), output=tmp_path / 'out', **{**RANDOM, 'evaluations': 5})
    assert len(result.finalists) == 5
    assert 'different networks scored: 5, all of them finalists' in caplog.messages
    assert not [m for m in caplog.messages if 'different networks within the budget' in m]


@pytest.mark.parametrize(('split', 'count'), [('archs', 4), ('data', 1)])
def test_children_of_the_processes(
        split: str, count: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level('INFO')
    args = search_options(dict(EVOLUTION, split=split, output=str(tmp_path / 'out'), space='given'))
    setup = set_up(args, SPACE, Colours())
    args.world_size = 4
    found = create_search(args, SPACE, setup.evaluator, candidate_config(args))
    assert isinstance(found, CandidateSearch) and found.strategy.config.children == count
    said = [m for m in caplog.messages if 'another number of processes is another search' in m]
    assert len(said) == (split == 'archs') and all('4 children at a time come from the same' in m for m in said)


def test_both_train_the_same_weights(found: dict[str, SearchResult]) -> None:
    first, second = (torch.load(r.folder / 'last.pt', weights_only=False)['evaluator']['net'] for r in found.values())
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(('settings', 'at'), [
    (RANDOM, (1, 0)), (RANDOM, (2, 20)), (EVOLUTION, (2, 0)), (EVOLUTION, (3, 1)),
])
def test_interrupted(
        settings: dict, at: tuple[int, int], found: dict[str, SearchResult], tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ctrl-C while weights are trained, the population is drawn or evolves: the same candidates, to the bit."""
    out = tmp_path / 'out'
    with monkeypatch.context() as patch:
        for method in ('_train', '_score_next'):
            step = getattr(CandidateSearch, method)

            def interrupt(self: CandidateSearch, step=step):
                if (self.epoch, self.step) == at:
                    signal.raise_signal(signal.SIGINT)
                return step(self)

            patch.setattr(CandidateSearch, method, interrupt)
        with pytest.raises(KeyboardInterrupt, match=rf'epoch {at[0] + 1}; continue with search\(resume='):
            search(SPACE, Colours(), output=out, **settings)
    again = search(resume=out, dataset=Colours())
    whole = found[settings['strategy']]
    assert str(again.arch) == str(whole.arch) and again.supernet_top1 == whole.supernet_top1
    assert [{**r, 'seconds': 0} for r in again.history] == [{**r, 'seconds': 0} for r in whole.history]


@pytest.mark.parametrize('kept', [True, False])
def test_scores_are_those_of_the_first_batches(
        kept: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The mean log-probability of the true class, of each batch on its own statistics; the same in every call."""
    caplog.set_level('INFO')
    monkeypatch.setattr('fpnas_timm.search.scores.MAX_KEPT', 2 * 4 * 3 * 16 * 16 * 4 - (not kept))
    args = search_options(dict(RANDOM, output=str(tmp_path / 'out'), space='given', score_batches=0))
    evaluator = set_up(args, SPACE, Colours()).evaluator
    scores = FixedScores(evaluator)
    assert (scores.steps, scores.images) == (2, 8) and FixedScores(evaluator, 1).images == 4
    archs = [SPACE.sample(torch.Generator().manual_seed(i)) for i in range(3)]
    first = scores(archs)
    evaluator.start_epoch(1, 0)  # what is trained in between does not move the images
    assert torch.equal(scores(archs[::-1]).flip(0), first)
    assert len(scores._kept) == (2 if kept else 0)
    assert len([m for m in caplog.messages if '8 images are more than are kept in memory' in m]) == (not kept)
    evaluator.val_loader.half.epoch = evaluator.val_loader.batches.epoch = 0
    with torch.no_grad():
        for arch, score in zip(archs, first.tolist()):
            total = 0.0
            for batch in evaluator.val_loader.batches:
                items = [evaluator.val_loader.half[i] for i in batch]
                logits = evaluator.net(torch.stack([x for x, _ in items]), SPACE.to_arch(arch))
                total += float(F.log_softmax(logits, 1)[range(4), [y for _, y in items]].sum())
            assert score == pytest.approx(total / 8, abs=1e-6)


def test_two_budgets(tmp_path: Path) -> None:
    """Candidates, drawn or mutated, are within that of the multiply-adds and that of the parameters."""
    args = search_options(dict(EVOLUTION, target_params=900, output=str(tmp_path / 'out'), space='given'))
    found = set_up(args, SPACE, Colours()).search
    assert isinstance(found, CandidateSearch)
    for i in range(40):
        arch = found.strategy.ask(found.generator)
        spent = cost(SPACE.to_arch(arch), num_classes=3)
        assert 21_000 <= spent.macs <= 30_000 and 630 <= spent.params <= 900
        found.strategy.tell(arch, float(i))


@pytest.mark.parametrize(('given', 'message'), [
    ('--strategy random --lam 0.25', '--lam: is an option of --strategy fp-nas, not of random: leave it out'),
    ('--strategy evolution --no-baseline', '--no-baseline: is an option of --strategy fp-nas, not of evolution'),
    ('--strategy random --tournament 3', '--tournament: is an option of --strategy evolution, not of random'),
    ('--evaluations 9', '--evaluations: is an option of --strategy evolution and random, not of fp-nas: leave it out'),
    ('--strategy evolution --population 9', '--tournament 10: expected at most --population, 9'),
    ('--strategy evolution --evaluations 49', '--population 50: expected at most --evaluations, 49: the population is'),
    ('--strategy genetic', "--strategy 'genetic': expected one of fp-nas, evolution, random"),
])
def test_options_of_another_strategy(given: str, message: str) -> None:
    with pytest.raises(UsageError, match='^' + message.replace('(', r'\(')):
        parse_search_args([*given.split(), '--output', 'out'])


def test_options_of_another_strategy_in_python_and_yaml(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^lam: is an option of strategy='fp-nas', not of random: leave it out$"):
        search(SPACE, Colours(), strategy='random', lam=0.25, output=tmp_path / 'out')
    assert search_options({'strategy': 'random', 'joint_epoch': None, 'output': 'out'}).joint_epoch is None
    path = tmp_path / 'options.yaml'
    path.write_text('alpha-lr: 0.02\nstrategy: random\n')
    with pytest.raises(UsageError, match=r'^--alpha-lr: is an option of --strategy fp-nas'):
        parse_search_args(['-c', str(path), '--output', 'out'])


def test_an_earlier_searchs_options_as_a_file(found: dict[str, SearchResult]) -> None:
    """`args.yaml` has every option, also those without meaning, with their defaults."""
    for name, result in found.items():
        path = result.folder / 'args.yaml'
        args = parse_search_args(['-c', str(path), '--output', 'out'])
        assert args.strategy == name
        saved, parser = yaml.safe_load(path.read_text()), build_parser()
        assert all(saved[k] == parser.get_default(k) for k, names in ONLY.items() if name not in names)


def test_presets_set_what_means_something(caplog: pytest.LogCaptureFixture) -> None:
    args = parse_search_args('--preset fpnas_l0 --strategy evolution --epochs 30 --output out'.split())
    defaults = build_parser()
    assert (args.target_macs, args.img_size, args.search_classes) == (399e6, 224, 100)
    assert (args.warmup_epochs, args.joint_epoch) == (defaults.get_default('warmup_epochs'), None)
    assert caplog.messages == [  # and not that the warm-up is scaled to 30 epochs
        '--preset fpnas_l0: this search has no use for its --cost-form, --temperature, --no-baseline, --alpha-lr, '
        '--warmup-epochs, --joint-epoch: left out'
    ]
    parse_search_args('--strategy random --epochs 1 --output out'.split())  # no warm-up that would have to be shorter


def test_another_strategy_on_resume(found: dict[str, SearchResult]) -> None:
    with pytest.raises(UsageError, match="strategy is 'random' there, 'evolution' here"):
        parse_search_args(['--resume', str(found['random'].folder), '--strategy', 'evolution'])
    with pytest.raises(UsageError, match='evaluations is 52 there, 60 here'):
        parse_search_args(['--resume', str(found['random'].folder), '--evaluations', '60'])
