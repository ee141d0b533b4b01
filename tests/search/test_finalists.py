"""The final: scores counted by hand, successive halving, and the same end after any interruption."""
import io
import json
import logging
import math
import shutil
import signal
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from fpnas_timm.draw.finalists import finalists_figure
from fpnas_timm.errors import UsageError
from fpnas_timm.runs.checkpoints import load_checkpoint
from fpnas_timm.search import finalists as finalists_module
from fpnas_timm.search.dataset import check_images
from fpnas_timm.search.finalists import Candidate, Finals
from fpnas_timm.search.options import search_options
from fpnas_timm.search.result import SearchResult
from fpnas_timm.search.run import search
from fpnas_timm.search.scoring import Score
from fpnas_timm.search.setup import Setup, set_up

from .test_api import SETTINGS, SPACE, Colours

GIVEN = dict(target_macs=30e3, tolerance=0.3, **SETTINGS)


def setup_of(tmp_path: Path, **options) -> Setup:
    """A search that has not started; its supernet is as good as another for what is tested here."""
    given = {'output': str(tmp_path / 'setup'), 'device': 'cpu', **GIVEN, **options}
    return set_up(search_options(given), SPACE, check_images(Colours()))


def finals_of(setup: Setup, count: int, epochs: int = 0) -> Finals:
    candidates = [Candidate(arch, -float(i)) for i, arch in enumerate(setup.search.finalists(count))]
    return Finals(setup.evaluator, candidates, 2, epochs, 2, setup.open_optimizer)


@pytest.fixture(scope='module')
def found(tmp_path_factory: pytest.TempPathFactory) -> SearchResult:
    output = tmp_path_factory.mktemp('finalists') / 'out'
    return search(SPACE, Colours(), output=output, finalists=5, **GIVEN)


def test_what_a_search_says_of_its_finalists(found: SearchResult, caplog: pytest.LogCaptureFixture) -> None:
    rows = json.loads((found.folder / 'result.json').read_text())['finalists']
    assert [row['arch'] for row in rows] == [str(f.arch) for f in found.finalists]
    assert len({row['arch'] for row in rows}) == 5
    assert rows[0]['arch'] == str(found.arch) == (found.folder / 'arch.txt').read_text().strip()
    assert [f.score for f in found.finalists] == sorted((f.score for f in found.finalists), reverse=True)
    for row, finalist in zip(rows, found.finalists, strict=True):
        assert 21_000 <= row['macs'] == finalist.macs <= 30_000
        assert (row['rounds'], row['images'], row['inherited_top1']) == (0, 8, row['top1'])
        assert row['top1_se'] == pytest.approx(math.sqrt(row['top1'] * (100 - row['top1']) / 8), abs=1e-5)
    probable: dict[str, float] = {}  # the different networks within the budget, most probable first
    for arch, log_prob in found.distribution.ranked():
        probable.setdefault(SPACE.describe(arch), log_prob)
    inside = {string: log_prob for string, log_prob in probable.items() if 21_000 <= macs_of(string) <= 30_000}
    assert [row['log_prob'] for row in rows] == pytest.approx([inside[row['arch']] for row in rows], abs=1e-6)
    assert sorted(row['log_prob'] for row in rows) == pytest.approx(sorted(inside.values())[-5:], abs=3e-6)
    assert (found.finalists[0].top1, found.finalists[0].images) == (found.supernet_top1, found.supernet_top1_images)
    assert (found.folder / 'finalists.png').read_bytes().startswith(b'\x89PNG')
    figure = finalists_figure(rows, 30e3)
    assert len(figure.axes[0].containers) == 5
    figure = finalists_figure([rows[0], {**rows[1], 'rounds': 2}])  # as if the training of the result had failed twice
    assert 'after up to 2 rounds' in figure.get_suptitle() and figure.axes[0].containers[1][0].get_alpha() == 1
    caplog.set_level(logging.INFO, 'search')
    again = search(resume=found.folder, dataset=Colours())
    assert 'there is nothing left to do' in caplog.text
    assert again.finalists == found.finalists


def macs_of(string: str) -> int:
    from fpnas_timm.arch import Arch
    from fpnas_timm.arch.cost import cost

    return cost(Arch.parse(string), num_classes=3).macs


@pytest.mark.parametrize('weighted', ['', 'balanced_sampling', 'class_weights'])
def test_scores_are_those_counted_by_hand(tmp_path: Path, weighted: str) -> None:
    weights = tmp_path / 'weights.yaml'
    weights.write_text('{red: 4, green: 1, blue: 1}')
    given = {'': {}, 'balanced_sampling': {'balanced_sampling': True}, 'class_weights': {'class_weights': str(weights)}}
    setup = setup_of(tmp_path, **given[weighted])
    final = finals_of(setup, 2)
    assert final.run()
    evaluator = setup.evaluator
    items = [evaluator.val_loader.half[i] for i in range(8)]
    images, targets = torch.stack([image for image, _ in items]), np.array([target for _, target in items])
    counts = np.bincount(targets)
    w = np.ones(8)
    if weighted == 'balanced_sampling':
        w = 1 / counts[targets]
    if weighted == 'class_weights':
        w = np.array([4.0, 1.0, 1.0])[targets]
    for arch, [found] in zip(final.archs, final.scores, strict=True):
        model = evaluator.net.extract(arch, evaluator.calibration_batches(2))
        with torch.no_grad():
            logits = model(images).double()
        right = (logits.argmax(1).numpy() == targets).astype(float)
        ll = logits.log_softmax(1).numpy()[np.arange(8), targets]
        mean = np.average(ll, weights=w)
        assert found.images == 8
        assert found.top1 == 100 * right.mean()
        assert found.score == pytest.approx(100 * np.average(right, weights=w))
        assert found.top1_se == pytest.approx(100 * right.std() / math.sqrt(8))
        assert found.log_likelihood == pytest.approx(mean, rel=1e-5)
        assert found.log_likelihood_se == pytest.approx(math.sqrt(((w * (ll - mean)) ** 2).sum()) / w.sum(), rel=1e-4)


def made_up(top1: float, ll: float = -1.0) -> Score:
    return Score(top1, 1.0, ll, 0.1, top1, 100)


@pytest.mark.parametrize(('count', 'sizes'), [(1, [1]), (2, [2]), (3, [3, 2]), (5, [5, 3, 2]), (6, [6, 3, 2])])
def test_successive_halving(count: int, sizes: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each round trains all that are left; the worse half, by the round's own scores, drops out after it."""
    setup = setup_of(tmp_path)
    final = finals_of(setup, count, epochs=1)
    tops = [50.0 + 10 * ((3 * i) % 7) for i in range(count)]
    trained: list[list[int]] = []

    def train(self: Finals, *_: object) -> None:
        if len(trained) < self.round:
            trained.append([])
        trained[-1].append(now[0])

    now = [0]
    take = Finals._train_and_score

    def note(self: Finals, index: int, *rest) -> None:
        now[0] = index
        take(self, index, *rest)

    def score(evaluator, models, tick) -> list[Score]:
        if final.round:
            return [made_up(tops[now[0]] + final.round)]
        return [made_up(100 - top) for top in tops]  # the inherited weights rank them the other way round

    monkeypatch.setattr(Finals, '_train_and_score', note)
    monkeypatch.setattr(Finals, '_train', train)
    monkeypatch.setattr(finalists_module, 'score', score)
    assert final.run()
    assert [len(r) for r in trained] == sizes
    order = sorted(range(count), key=lambda i: -tops[i])
    for entrants, size in zip(trained, sizes, strict=True):
        assert sorted(entrants) == sorted(order[:size])
    rows = final.finalists()
    assert [r.arch for r in rows] == [final.archs[i] for i in order]
    assert [r.rounds for r in rows] == [sum(i < size for size in sizes) for i in range(count)]
    assert rows[0].top1 == max(tops) + len(sizes)
    assert rows[0].inherited_top1 == 100 - max(tops)
    assert set(final._weights) == {order[0]}
    assert final.run()  # there is nothing left to do


def test_equal_accuracies_are_decided_by_the_log_likelihood_then_by_the_probability(tmp_path: Path) -> None:
    final = finals_of(setup_of(tmp_path), 4)
    final.scores = [[made_up(50.0, -2.0)], [made_up(50.0, -1.0)], [made_up(60.0, -9.0)], [made_up(50.0, -2.0)]]
    assert final.ranked() == [2, 1, 0, 3]


class After:
    """A request to stop that comes after some batches."""

    def __init__(self, batches: int) -> None:
        self.left = batches

    def __bool__(self) -> bool:
        self.left -= 1
        return self.left < 0


@pytest.mark.parametrize(('saved', 'every'), [('when stopped', 5), ('when stopped', 9), ('by the way', 11)])
def test_interrupted_and_resumed_ends_the_same(
        saved: str, every: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped with a request, or killed: then the last state that was saved on the way counts."""
    setup = setup_of(tmp_path, opt='adamw', lr=1e-2)
    whole = finals_of(setup, 3, epochs=2)
    assert whole.run()
    finished: Counter[tuple[int, int]] = Counter()
    score = finalists_module.score

    def counted(evaluator, models, tick) -> list[Score]:
        found = score(evaluator, models, tick)
        for model in models:
            finished[final.round, [str(a) for a in final.archs].index(str(model.arch))] += 1
        return found

    monkeypatch.setattr(finalists_module, 'score', counted)
    kept = io.BytesIO()
    torch.save(finals_of(setup, 3, epochs=2).state_dict(), kept)
    for start in range(500):
        final = finals_of(setup, 3, epochs=2)
        kept.seek(0)
        final.load_state_dict(torch.load(kept, weights_only=True))
        before = [len(s) for s in final.scores]

        stop = After(every + (start if saved == 'by the way' else 0))

        def save(final=final, stop=stop) -> None:
            if saved == 'when stopped' or stop.left >= 0:
                kept.seek(0)
                kept.truncate()
                torch.save(final.state_dict(), kept)

        if final.run(stop, save):
            break
        assert [len(s) for s in final.scores] >= before
    else:
        pytest.fail('no end')
    assert start > 0
    assert final.scores == whole.scores
    assert set(finished.values()) == {1} or saved == 'by the way'
    weights, wanted = final.model().state_dict(), whole.model().state_dict()
    assert all(torch.equal(weights[k], wanted[k]) for k in wanted)


def test_training_changes_the_weights_and_the_extracted_model_has_them(
        tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, 'search')
    given = dict(output=tmp_path / 'out', finalists=2, finalist_epochs=24, opt='adamw', lr=1e-2, **GIVEN)
    found = search(SPACE, Colours(), **given)
    best, other = found.finalists
    assert (best.rounds, other.rounds) == (1, 1)
    assert best.log_likelihood > -1 > math.log(1 / 3)  # from near chance
    state = load_checkpoint(found.folder / 'finalists.pt')
    [weights] = state['weights'].values()
    loaded = found.model().state_dict()
    assert all(torch.equal(loaded[k], v) for k, v in weights.items())
    config = json.loads((found.folder / 'extract' / 'config.json').read_text())
    assert config['training']['search']['weights'] == 'inherited from the supernet, then trained on for 24 epochs'
    assert found.supernet_top1 == best.inherited_top1
    both = f'{best.inherited_top1:.2f} %, with the trained weights of extract/ {best.top1:.2f} %'
    assert f'accuracy with the inherited weights on the 8 images that train alpha: {both}' in caplog.messages
    assert f'\n               {best.top1:.2f} % with the trained weights of extract/\n' in str(found)
    net = load_checkpoint(found.folder / 'last.pt')['evaluator']['net']
    assert not torch.equal(loaded['classifier.weight'], net['classifier.weight'])


def test_a_finalist_whose_loss_is_not_finite_keeps_its_weights(
        tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    setup = setup_of(tmp_path)
    final = finals_of(setup, 2, epochs=1)
    loss = setup.evaluator.loss_fn

    def loss_fn(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return loss(logits, target) * (math.nan if final.alive.index(1) + 1 == len(final.scores[0]) else 1)

    setup.evaluator.loss_fn = loss_fn
    assert final.run()
    assert 'round 1, finalist 2/2: the training loss is nan: it keeps the weights that it had before' in caplog.text
    assert final.scores[1][0] == final.scores[1][1]
    assert final.scores[0][0] != final.scores[0][1]
    again = finals_of(setup, 2, epochs=1)
    again.load_state_dict(final.state_dict())
    assert [{f.log_prob: f.rounds for f in ended.finalists()} for ended in (final, again)] == [{0.0: 1, -1.0: 0}] * 2


def test_ctrl_c_in_the_final(found: SearchResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Finished finalists are not scored again, and the result is that of the uninterrupted search."""
    scored: list[str] = []
    score = finalists_module.score

    def interrupted(evaluator, models, tick) -> list[Score]:
        if len(scored) == 2:
            signal.raise_signal(signal.SIGINT)
        found = score(evaluator, models, tick)
        scored.extend(str(model.arch) for model in models)
        return found

    out = tmp_path / 'out'
    monkeypatch.setattr(finalists_module, 'TOGETHER', 2)
    with monkeypatch.context() as patch:
        patch.setattr(finalists_module, 'score', interrupted)
        with pytest.raises(KeyboardInterrupt, match=r"^stopped in the final; continue with search\(resume='"):
            search(SPACE, Colours(), output=out, finalists=5, **GIVEN)
    assert len(scored) == 2
    assert not (out / 'result.json').exists()
    monkeypatch.setattr(
        finalists_module, 'score', lambda e, m, t: scored.extend(str(one.arch) for one in m) or score(e, m, t)
    )
    again = search(resume=out, dataset=Colours())
    assert Counter(scored) == Counter(str(f.arch) for f in found.finalists)
    assert again.finalists == found.finalists
    assert again.arch == found.arch


def test_a_damaged_state_or_one_of_another_final_starts_anew(
        found: SearchResult, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = Path(shutil.copytree(found.folder, tmp_path / 'out'))
    state = load_checkpoint(out / 'finalists.pt')
    for path in out.glob('finalists*.pt'):
        path.write_bytes(b'damaged')
    (out / 'result.json').unlink()
    assert search(resume=out, dataset=Colours()).finalists == found.finalists
    assert 'no good checkpoint is left: the finalists start anew' in caplog.text
    torch.save({**state, 'search': 5, 'scores': [[(99.0, *s[0][1:])] for s in state['scores']]}, out / 'finalists.pt')
    (out / 'result.json').unlink()
    assert search(resume=out, dataset=Colours()).finalists == found.finalists
    assert 'of another search than this one: the finalists start anew' in caplog.text


def test_a_finished_search_of_an_earlier_version(found: SearchResult, tmp_path: Path) -> None:
    """It has the most probable network and no finalists, and stays as it is."""
    out = Path(shutil.copytree(found.folder, tmp_path / 'out'))
    for path in out.glob('finalists*.pt'):
        path.unlink()
    probable = max(found.finalists, key=lambda f: f.log_prob)
    result = json.loads((out / 'result.json').read_text())
    result = {k: v for k, v in result.items() if k != 'finalists'}
    (out / 'result.json').write_text(json.dumps({**result, 'arch': str(probable.arch)}))
    (out / 'arch.txt').write_text(f'{probable.arch}\n')
    again = search(resume=out, dataset=Colours())
    assert (again.arch, again.finalists) == (probable.arch, [])
    assert not (out / 'finalists.pt').exists()


def test_more_finalists_than_there_are(found: SearchResult, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    networks = Counter(macs_of(string) for string in set_up_networks(tmp_path))
    count = sum(networks.values())
    with pytest.raises(UsageError, match=(
            rf'^finalists=1000: there are only {count} different networks within the budget: expected at most {count}$'
    )):
        search(SPACE, Colours(), output=tmp_path / 'out', finalists=1000, **GIVEN)
    assert not (tmp_path / 'out').exists()
    with pytest.raises(UsageError, match='finalists is 5 there, 4 here'):
        search(resume=found.folder, dataset=Colours(), finalists=4)
    caplog.set_level(logging.INFO, 'search')
    [(macs, few)] = networks.most_common()[-1:]
    assert few < 8
    result = search(SPACE, Colours(), output=tmp_path / 'few', **{**GIVEN, 'tolerance': 1e-9, 'target_macs': macs})
    assert len(result.finalists) == few
    assert f'different networks within the budget: {few}, all of them finalists' in caplog.text


def set_up_networks(tmp_path: Path) -> set[str]:
    """All different networks within the budget, by trying every architecture."""
    distribution = setup_of(tmp_path).search.distribution
    strings = {SPACE.describe(arch) for arch, _ in distribution.ranked()}
    return {s for s in strings if 21_000 <= macs_of(s) <= 30_000}
