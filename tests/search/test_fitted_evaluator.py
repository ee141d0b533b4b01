"""`--init-from`: the sub-networks of a trained network are fitted to images, and the search only scores them."""
import json
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import timm
import torch

from fpnas_timm.arch.cost import cost
from fpnas_timm.errors import UsageError
from fpnas_timm.search.finalists import Candidate, Finals
from fpnas_timm.search.fitted_evaluator import FittedEvaluator
from fpnas_timm.search.loop import SearchConfig
from fpnas_timm.search.options import parse_search_args
from fpnas_timm.search.run import SearchResult, search
from fpnas_timm.search.scoring import Score
from fpnas_timm.search.setup import set_up
from fpnas_timm.search.targets import small_contexts
from fpnas_timm.spaces import get_space
from fpnas_timm.spaces.around import space_around
from fpnas_timm.train.run import TrainResult
from tests.helpers.pretrained import (
    ARCH,
    check_resumed_without_checkpoint,
    stop_in_second_epoch,
    trained_source,
)

SETTINGS = dict(epochs=3, batch_size=6, workers=0, device='cpu', target_macs='60k', tolerance=0.3)


@pytest.fixture(scope='module')
def source(tiny_images: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    return trained_source(tiny_images, tmp_path_factory.mktemp('source'))


@pytest.fixture(scope='module')
def found(source: TrainResult, tiny_images: Path, tmp_path_factory: pytest.TempPathFactory) -> SearchResult:
    output = tmp_path_factory.mktemp('found') / 'out'
    return search(init_from=source.export, data_dir=tiny_images, output=output, **SETTINGS)


def test_the_result_is_a_smaller_network_that_knows_the_classes(found: SearchResult, source: TrainResult) -> None:
    space = get_space(str(found.folder / 'space.json'))
    assert found.arch in space and all(len(row.channels) == 1 and row.repeat == 1 for row in space.rows)
    assert 42_000 <= found.macs <= 60_000
    assert found.supernet_top1 > 60
    assert 'train_loss' not in found.history[0] and found.history[0]['phase'] == 'factorized'
    config = json.loads((found.folder / 'extract' / 'config.json').read_text())
    assert config['training']['init_from']['name'] == str(source.export)
    assert (found.folder / 'report.html').exists()
    report = (found.folder / 'report.html').read_text()  # what is worth more comes first
    assert report.index('Train it from the weights of the search') < report.index('Train the network from scratch')


def test_a_resumed_search_needs_no_source_and_fits_nothing_anew(
        found: SearchResult, source: TrainResult, tiny_images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / 'out'
    stop_in_second_epoch(monkeypatch, output)
    given = dict(init_from=source.export, data_dir=tiny_images, **SETTINGS)
    with pytest.raises(KeyboardInterrupt):
        search(output=output, **given)
    monkeypatch.undo()
    there = source.export.rename(source.export.with_name('moved'))
    try:
        again = search(output=output, resume='auto', **given)
    finally:
        there.rename(source.export)
    assert str(again.arch) == str(found.arch)
    for name in ('distribution.safetensors', 'extract/model.safetensors'):
        assert (output / name).read_bytes() == (found.folder / name).read_bytes()


def test_resumed_without_a_checkpoint_it_starts_from_the_source_again(
        found: SearchResult, source: TrainResult, tiny_images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = dict(data_dir=tiny_images, **SETTINGS)
    check_resumed_without_checkpoint(found, source, tmp_path / 'out', monkeypatch, **given)


def test_the_score_is_the_likelihood_of_the_labels_that_the_source_gives(
        source: TrainResult, tiny_images: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    argv = ['--init-from', str(source.export), '--data-dir', str(tiny_images), '--output', str(tmp_path / 'out')]
    argv += ['--epochs', '1', '--batch-size', '6', '-j', '0', '--device', 'cpu']
    with caplog.at_level(logging.INFO, 'search'):
        evaluator = set_up(parse_search_args(argv)).evaluator
    assert isinstance(evaluator, FittedEvaluator)
    assert 'are fitted to' in caplog.text
    archs = [evaluator.space.sample(torch.Generator().manual_seed(i)) for i in range(3)]
    evaluator.start_epoch(0, 0)
    assert evaluator.train_step(archs) is None
    found = evaluator.log_likelihoods(archs)
    evaluator.start_epoch(0, 0)
    images, _ = evaluator.val_batch()
    with torch.no_grad():
        labels = source.model().eval()(images).softmax(1)
        for choices, value in zip(archs, found.tolist()):
            log_probs = evaluator.net(images, evaluator.space.to_arch(choices)).log_softmax(1)
            wanted = sum(
                float(p) * float(q) for row, other in zip(labels, log_probs) for p, q in zip(row, other)
            )
            assert value == pytest.approx(wanted, rel=1e-4)


def test_large_images_are_fewer(found: SearchResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    args = parse_search_args(['--resume', str(found.folder)])
    evaluator = set_up(args).evaluator
    assert isinstance(evaluator, FittedEvaluator)
    whole = evaluator.images()
    monkeypatch.setattr('fpnas_timm.transfer.repair.MAX_VALUES', 5 * 24 * 8 * 8)  # five of the widest feature maps
    evaluator._images = None
    assert torch.equal(evaluator.images(), whole[:5])


@pytest.mark.parametrize(('options', 'said'), [
    (dict(lr=0.1), 'is an option of the training of the weights'),
    (dict(warmup_epochs=1), 'is an option of the training of the weights'),
    (dict(finalist_epochs=1), 'is an option of the training of the weights'),
    (dict(no_aug=True), 'is an option of the training of the weights'),
    (dict(init_from=None, supernet='fitted'), 'name it with init_from'),
])
def test_options_that_have_no_meaning(
        options: dict[str, Any], said: str, source: TrainResult, tiny_images: Path, tmp_path: Path
) -> None:
    given = {**dict(init_from=source.export), **options}
    with pytest.raises(UsageError, match=said):
        search(data_dir=tiny_images, output=tmp_path / 'out', **SETTINGS, **{k: v for k, v in given.items() if v})
    assert not (tmp_path / 'out').exists()


def test_a_baseline_trains_nothing(
        source: TrainResult, tiny_images: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    given = {k: v for k, v in SETTINGS.items() if k != 'epochs'}
    given |= dict(init_from=source.export, data_dir=tiny_images, output=tmp_path / 'out', strategy='random')
    for epochs in (3, 20):  # 20 is the default
        with pytest.raises(UsageError, match=r'^epochs: strategy random only trains the weights in them'):
            search(**given, epochs=epochs)
    caplog.set_level(logging.INFO, 'search')
    found = search(**given, evaluations=3)
    assert 'strategy random: 3 architectures are scored on the same 18 images each' in caplog.messages
    assert [(row['phase'], row['num_samples']) for row in found.history] == [('random', 3)]
    again = parse_search_args(['-c', str(found.folder / 'args.yaml'), '--output', str(tmp_path / 'again')])
    assert again.epochs == 0
    assert search(resume=found.folder).arch == found.arch


def test_a_space_with_channels_to_choose(source: TrainResult, tiny_images: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match='which cannot be fitted to the source: make the space with'):
        search(
            space_around(ARCH), init_from=source.export, data_dir=tiny_images, output=tmp_path / 'out', **SETTINGS
        )
    assert not (tmp_path / 'out').exists()


def test_the_finalist_that_agrees_best_with_the_source_is_the_result(
        source: TrainResult, tiny_images: Path, tmp_path: Path
) -> None:
    """Counted again from the extracted network and the source, on the images that train alpha."""
    output = tmp_path / 'out'
    given = dict(SETTINGS, epochs=1, warmup_epochs=0, finalists=3, refine=8)
    found = search(init_from=source.export, data_dir=tiny_images, output=output, **given)
    agreements = [f.agreement for f in found.finalists]
    assert None not in agreements and agreements == sorted(agreements, reverse=True)
    assert len(set(agreements)) > 1
    scored = [json.loads(line) for line in (output / 'refinement.jsonl').read_text().splitlines()]
    assert len(scored) == 8
    assert all(row['score'] < 0 for row in scored)  # nats per image
    assert {str(f.arch) for f in found.finalists} <= {row['arch'] for row in scored}
    args = parse_search_args(['--resume', str(output)])
    evaluator = set_up(args, get_space(str(output / 'space.json'))).evaluator
    state = torch.load(output / 'last.pt', weights_only=True)
    assert isinstance(evaluator, FittedEvaluator)
    evaluator.load_state_dict(state['evaluator'])
    model = timm.create_model(f'local-dir:{output / "extract"}', pretrained=True).eval()
    total = count = 0.0
    with torch.no_grad():
        for images, _ in evaluator.val_loader.once():
            features = model.forward_head(model.forward_features(images), pre_logits=True)
            logits = evaluator.net.source.classifier(features)
            total += float((evaluator.net.labels(images) * logits.log_softmax(1)).sum())
            count += len(images)
    assert total / count == pytest.approx(agreements[0], rel=1e-4)


@pytest.mark.parametrize(('agreement', 'advice'), [(None, 'until it is trained, and its choice'), (-3.0, 'fine-tuned')])
def test_a_result_that_guesses_is_said(
        agreement: float | None, advice: str, caplog: pytest.LogCaptureFixture
) -> None:
    final = object.__new__(Finals)
    final.evaluator = SimpleNamespace(scored=SimpleNamespace(num_classes=10))
    final.candidates = [Candidate((), -1.0)]
    for log_likelihood, said in ((-2.2, False), (-2.4, True)):
        final.scores = [[Score(10.0, 1.0, log_likelihood, 0.1, 10.0, 1_500, agreement)]]
        final._say_if_guessing()
        assert ('log-likelihood -2.40, those -2.30' in caplog.text) is said
    assert advice in caplog.text


@pytest.mark.parametrize(('share', 'near'), [(0.9, False), (0.5, True)])
def test_blocks_are_fitted_to_networks_of_the_budget_only_if_random_ones_are_much_larger(
        share: float, near: bool
) -> None:
    space = space_around(ARCH, blocks=True, channels=(1.0,))
    generator = torch.Generator().manual_seed(3)
    macs = [cost(space.sample_arch(generator), num_classes=3).macs for _ in range(200)]
    target = share * sum(macs) / len(macs)
    found = small_contexts(0, space, SearchConfig(epochs=1, target=target, tolerance=0.2), 3, 3, [])
    assert (found is not None) == near
    assert all(0.8 * target <= cost(arch, num_classes=3).macs <= target for arch in found or [])
