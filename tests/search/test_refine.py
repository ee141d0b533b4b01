"""The refinement: its scores counted by hand, what it starts from, what becomes finalists, and any interruption."""
import json
import logging
import signal
from pathlib import Path

import pytest
import torch

from fpnas_timm.arch import Conv
from fpnas_timm.errors import UsageError
from fpnas_timm.runs.checkpoints import load_checkpoint
from fpnas_timm.runs.processes import StopRequest
from fpnas_timm.search.dataset import check_images
from fpnas_timm.search.evaluator import SuperNetEvaluator
from fpnas_timm.search.final_stage import hold_final
from fpnas_timm.search.options import parse_search_args, search_options
from fpnas_timm.search.refine import Refinement, different
from fpnas_timm.search.result import SearchResult
from fpnas_timm.search.run import search
from fpnas_timm.search.setup import set_up
from fpnas_timm.spaces import Choices, MBConvSpace, Row

from .test_api import SPACE, Colours
from .test_finalists import GIVEN, macs_of, setup_of

FOUR = MBConvSpace.from_rows(
    'four', Conv(3, 2, 8, 'sw'),
    [Row((1, 2), (4, 8), 1, 1, kernel=(0, 3), act=('re', 'sw'), splits=(0, 2)) for _ in range(4)],
    Conv(1, 1, 16, 'sw'), 16,
)
REFINED = dict(finalists=4, refine=24, **GIVEN)


@pytest.fixture(scope='module')
def found(tmp_path_factory: pytest.TempPathFactory) -> SearchResult:
    output = tmp_path_factory.mktemp('refine') / 'out'
    return search(SPACE, Colours(), output=output, **REFINED)


def rows_of(found: SearchResult) -> list[dict]:
    return [json.loads(line) for line in (found.folder / 'refinement.jsonl').read_text().splitlines()]


def test_candidates_and_finalists(found: SearchResult) -> None:
    rows = rows_of(found)
    assert len(rows) == len({row['arch'] for row in rows}) == 24
    assert all(21_000 <= row['macs'] == macs_of(row['arch']) <= 30_000 for row in rows)
    probable: dict[str, float] = {}  # the different networks within the budget, most probable first
    for arch, log_prob in found.distribution.ranked():
        probable.setdefault(SPACE.describe(arch), log_prob)
    inside = [string for string in probable if 21_000 <= macs_of(string) <= 30_000]
    assert [row['arch'] for row in rows[:4]] == inside[:4]  # it starts with them
    names = [str(f.arch) for f in found.finalists]
    assert len(names) == 4
    assert inside[0] in names
    assert set(names) <= {row['arch'] for row in rows}
    best = max(row['score'] for row in rows)
    assert best in [row['score'] for row in rows if row['arch'] in names]
    assert json.loads((found.folder / 'result.json').read_text())['final_seconds'] > 0


@pytest.mark.parametrize('weighted', [False, True])
def test_scores_are_accuracies_counted_by_hand(tmp_path: Path, weighted: bool) -> None:
    (tmp_path / 'weights.yaml').write_text('{red: 4, green: 1, blue: 1}')
    setup = setup_of(tmp_path, **({'class_weights': str(tmp_path / 'weights.yaml')} if weighted else {}))
    evaluator = setup.evaluator
    assert isinstance(evaluator, SuperNetEvaluator)
    refinement = Refinement(setup.search, evaluator, setup.search.finalists(3), 12, 0)
    assert refinement.scores.images == 8  # all complete batches: fewer than `IMAGES`
    assert refinement.run()
    batches = [next(batch) for batch in [evaluator.val_loader.start(0, 0)] for _ in range(2)]
    for arch, score in refinement.candidates.scored:
        right = 0.0
        for images, target in batches:
            with torch.no_grad():
                logits = evaluator.net(images, SPACE.to_arch(arch))
            weights = evaluator.val_class_weights[target] if weighted else torch.ones(4)
            right += float((weights * (logits.argmax(1) == target)).sum())
        assert score == pytest.approx(100 * right / 8)


def test_mutations_find_better_networks_than_as_many_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the score adds up over the variables: in the mean of ten seeds, 120 of 1,048,576 choices."""
    options = search_options({'output': str(tmp_path / 'out'), 'device': 'cpu', **GIVEN, 'target_macs': 40e3})
    setup = set_up(options, FOUR, check_images(Colours()))

    def hits(self, archs) -> torch.Tensor:
        return torch.tensor([sum(map(sum, arch)) for arch in archs], dtype=torch.float64)

    monkeypatch.setattr(SuperNetEvaluator, 'hits', hits)
    evolved = drawn = 0.0
    for seed in range(10):
        refinement = Refinement(setup.search, setup.evaluator, [], 120, seed)
        draw, generator, values = refinement.candidates.draw, torch.Generator().manual_seed(seed), dict[str, int]()
        assert refinement.run()
        evolved += refinement.candidates.best[1]
        while len(values) < 120:
            arch = draw(generator)
            values.setdefault(FOUR.describe(arch), sum(map(sum, arch)))
        drawn += 100 * 2 * max(values.values()) / 8  # two batches, 8 images
    assert evolved > drawn


def test_a_distribution_that_has_converged(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its draws are all the same: what comes then are mutations, until all networks within the budget are scored."""
    caplog.set_level(logging.INFO, 'search')
    monkeypatch.setattr('fpnas_timm.search.candidates.MAX_KNOWN', 400)
    setup = setup_of(tmp_path)
    distribution = setup.search.distribution
    [first] = setup.search.finalists(1)
    distribution.log_prob([first]).sum().backward()
    with torch.no_grad():
        distribution.alpha.add_(1e4 * (distribution.alpha.grad > 0))
    assert {*distribution.sample(100, torch.Generator().manual_seed(0))} == {first}
    refinement = Refinement(setup.search, setup.evaluator, [first], 1000, 0)
    assert refinement.run()
    networks = {SPACE.describe(arch) for arch, _ in distribution.ranked()}
    inside = {network for network in networks if 21_000 <= macs_of(network) <= 30_000}
    found = [SPACE.describe(arch) for arch, _ in refinement.candidates.scored]
    assert len(found) == len({*found}) == len(inside) > 50 and {*found} == inside  # more than a population
    assert (
        f'no architecture other than the {len(inside)} scored was found within the budget: 400 times each, refinement, '
        'mutations and draws of all that are within it gave known ones'
    ) in caplog.messages


@pytest.mark.parametrize('at', [0, 10, 20])
def test_ctrl_c(found: SearchResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """What is scored is not scored again, and the end is that of the uninterrupted search."""
    scored = interrupts = 0
    hits = SuperNetEvaluator.hits

    def interrupted(self, archs) -> torch.Tensor:
        nonlocal scored, interrupts
        if scored >= 2 * at and not interrupts:  # two batches each; a second Ctrl-C would not wait
            interrupts += 1
            signal.raise_signal(signal.SIGINT)
        scored += len(archs)
        return hits(self, archs)

    out = tmp_path / 'out'
    with monkeypatch.context() as patch:
        patch.setattr(SuperNetEvaluator, 'hits', interrupted)
        with pytest.raises(KeyboardInterrupt, match=r"^stopped in the final; continue with search\(resume='"):
            search(SPACE, Colours(), output=out, **REFINED)
    done = len(load_checkpoint(out / 'refinement.pt')['scored'])
    assert 0 < done < 24
    assert not (out / 'result.json').exists()
    counted: list[int] = []
    monkeypatch.setattr(SuperNetEvaluator, 'hits', lambda self, a: counted.append(len(a)) or hits(self, a))
    again = search(resume=out, dataset=Colours())
    assert sum(counted) == 2 * (24 - done)
    assert again.finalists == found.finalists
    assert rows_of(again) == rows_of(found)


def test_a_state_of_another_search_starts_anew(
        found: SearchResult, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = load_checkpoint(found.folder / 'refinement.pt')
    setup = setup_of(tmp_path, finalists=4, refine=24)
    setup.folder.mkdir()
    torch.save({**state, 'search': 5}, setup.folder / 'refinement.pt')
    assert hold_final(setup, StopRequest()) is not None
    assert 'refinement.pt: of another search than this one: the refinement starts anew' in caplog.text


def test_a_distribution_with_nothing_within_the_budget(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, 'search')
    setup = setup_of(tmp_path)
    smallest = min((a for a, _ in setup.search.distribution.ranked()), key=setup.evaluator.cost)
    distribution = setup.search.distribution
    distribution.log_prob([smallest]).sum().backward()
    with torch.no_grad():  # all the probability is outside
        distribution.alpha.add_(1e4 * (distribution.alpha.grad > 0))
    refinement = Refinement(setup.search, setup.evaluator, [], 10, 0)
    assert 'none of 2,000 draws of the learned distribution is within the budget: candidates are drawn' in caplog.text
    assert refinement.run()
    assert all(setup.search.budgets.allow(arch) for arch, _ in refinement.candidates.scored)


def test_finalists_differ_in_half_of_the_groups_where_they_can() -> None:
    archs = [FOUR.sample(torch.Generator().manual_seed(i)) for i in range(300)]

    def differing(a: Choices, b: Choices) -> int:
        first, second = (FOUR.from_arch(FOUR.to_arch(arch)) for arch in (a, b))
        return sum(x != y for x, y in zip(first, second, strict=True))

    chosen = different(FOUR, archs, 8)
    assert len(chosen) == 8
    for at, arch in enumerate(archs[: archs.index(chosen[-1])]):  # exactly those that are too near are left out
        assert (arch in chosen) == all(differing(arch, c) >= 2 for c in chosen if archs.index(c) < at)
    near = [archs[0], *((*archs[0][:3], arch[3]) for arch in archs)]  # none differs in two groups
    assert len(different(FOUR, near, 4)) == 4
    assert different(FOUR, [archs[0]] * 3, 3) == archs[:1]  # the same network is one finalist


@pytest.mark.parametrize(('options', 'message'), [
    ('--strategy random --refine 9', '--refine: is an option of --strategy fp-nas, not of random: leave it out'),
    ('--refine 9 --finalists 1', '--refine 9: with --finalists 1 the result is the most probable network'),
    ('--refine 5', '--refine 5: the finalists are chosen from so many networks: expected at least 8, the number of'),
    ('--refine -1', '--refine -1: expected 0 or more'),
])
def test_bad_input(options: str, message: str) -> None:
    given = f'--space fpnas_s1pp --data-dir . --num-classes 10 --output out {options}'.split()
    with pytest.raises(UsageError, match=f'^{message}'):
        parse_search_args(given)
