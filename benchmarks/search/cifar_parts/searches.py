"""The product's searches on these images: half of the training images for the weights, half for alpha."""
import math
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from fpnas_timm.search.alpha_settings import with_alpha_settings
from fpnas_timm.search.candidates import CandidateConfig, CandidateSearch, RandomDraws
from fpnas_timm.search.evolution import Evolution, EvolutionConfig
from fpnas_timm.search.finalists import Candidate, Finals
from fpnas_timm.search.loop import Search, SearchConfig
from fpnas_timm.search.refine import Refinement, different
from fpnas_timm.search.scores import FixedScores
from fpnas_timm.search.within import network_sampler
from fpnas_timm.spaces.costs import network_costs

from .data import Images, stratified
from .problem import CLASSES, TARGET, TOLERANCE, add_result, log, macs_of
from .supernets import Counting, WarmCosine, create_evaluator

STEPS = 1000  # of a search, unless it says otherwise
EPOCHS = 10
REFINED = 8  # finalists after a refinement
FINALISTS = 10  # the most probable networks within the budget, scored on all images that train alpha
CALIBRATION = 20  # batches
EVALUATIONS, SCORE_BATCHES = 0.35, 10  # of evolution and random, a step: about as many forward passes as the method's
COMMON: dict[str, Any] = {
    'warmup_epochs': 3, 'joint_epoch': 7, 'lam': 0.25, 'weight_samples': 2, 'cost_form': 'multiplier',
}
WEIGHTS: dict[str, Any] = {'lr': 2e-3, 'weight_ema': 0.998}
# the supernet that ranks best (`ranking.py`): one architecture a step, near the target, a higher learning rate
NEAR: dict[str, Any] = {'lr': 6e-3, 'weight_draws': 'budget', 'weight_window': (3_000_000, 5_000_000)}
LONG = 2.5  # times STEPS
AT_THE_END = 'long', 'refine', 'different', 'finalist_epochs'  # settings that are not those of the search itself
# name: settings that differ from COMMON; options of the supernet that differ from WEIGHTS
SEARCHES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    'default': ({'long': True}, {}),
    'near-target': ({'weight_samples': 1, 'long': True}, NEAR),
    'refined': ({'weight_samples': 1, 'long': True, 'refine': 300, 'finalist_epochs': 1}, NEAR),
    'refined-no-warmup': (
        {'weight_samples': 1, 'long': True, 'refine': 300, 'finalist_epochs': 1, 'warmup_epochs': 0}, NEAR,
    ),
    'refined-fixed-K': (
        {'weight_samples': 1, 'long': True, 'refine': 300, 'finalist_epochs': 1, 'num_samples': 6}, NEAR,
    ),
    'evolution': ({'strategy': 'evolution', 'long': True}, {}),
    # the supernet and the final of `refined`, and for its samples and candidates as many multiply-adds
    'evolution-equal': (
        {'strategy': 'evolution', 'weight_samples': 1, 'long': True, 'evaluations': 706, 'score_batches': 20,
         'different': True, 'finalist_epochs': 1}, NEAR,
    ),
    # the same supernet and the package's final as its default is: all else that `refined` costs goes into candidates
    'evolution-plain': (
        {'strategy': 'evolution', 'weight_samples': 1, 'long': True, 'evaluations': 1390, 'score_batches': 20,
         'different': True}, NEAR,
    ),
    # with `--scale 0.35` about as many multiply-adds as `no-warmup`, and the same number of steps for the weights
    'evolution-short': ({'strategy': 'evolution', 'evaluations': 218, 'different': True}, {}),
    'sandwich-distilled': ({'weight_samples': 1}, {'weight_archs': 'sandwich', 'distill': 0.5}),
    'short': ({}, {}),  # what the following are to be compared with
    'fixed-K': ({'num_samples': 6}, {}),
    'no-warmup': ({'warmup_epochs': 0}, {}),
    'joint': ({'joint_epoch': 0}, {}),
    'factorised': ({'joint_epoch': None}, {}),
    'random-scored': ({'strategy': 'random'}, {}),
    'as-printed': ({'temperature': 1.0, 'cost_form': 'relative', 'beta': 0.3, 'alpha_lr': 0.01}, {'weight_ema': None}),
}


def steps_of(name: str, scale: float) -> int:
    """Number of steps of a search."""
    return round(scale * STEPS * (LONG if SEARCHES[name][0].get('long') else 1))


def passes_of(name: str, scale: float) -> float:
    """About how many passes forward and backward take the time of a search."""
    settings = {**COMMON, **SEARCHES[name][0]}
    trained = settings['weight_samples'] + (2 if SEARCHES[name][1].get('weight_archs') else 0)
    return steps_of(name, scale) * (trained + 1.4)  # about 4 forward passes a step


def create_search(evaluator: Counting, settings: dict[str, Any], seed: int) -> Search | CandidateSearch:
    """The product's search with these settings; those of alpha that are not given fit its length, as in the product."""
    space, given = evaluator.net.space, {k: v for k, v in settings.items() if k not in AT_THE_END}
    strategy = given.pop('strategy', None)
    if strategy is None:
        temperature, alpha_lr = given.pop('temperature', None), given.pop('alpha_lr', None)
        config = SearchConfig(epochs=EPOCHS, target=TARGET, tolerance=TOLERANCE, **given)
        config = with_alpha_settings(
            config, temperature, alpha_lr, evaluator.steps_per_epoch, evaluator.val_loader.batch
        )
        return Search(space, evaluator, config, seed, evaluator.decode, costs=network_costs(space, CLASSES, 3))
    evaluations = given.get('evaluations') or max(60, round(EVALUATIONS * EPOCHS * evaluator.steps_per_epoch))
    candidates = CandidateConfig(EPOCHS, evaluations, given['weight_samples'], TARGET, TOLERANCE)
    draw = network_sampler(space, (math.ceil(TARGET * (1 - TOLERANCE)), TARGET), None, CLASSES, 3)
    proposes = RandomDraws(draw)
    if strategy == 'evolution':
        proposes = Evolution(space, lambda arch: candidates.allows(evaluator.cost(arch)), draw, EvolutionConfig())
    scores = FixedScores(evaluator, given.get('score_batches', SCORE_BATCHES))
    return CandidateSearch(space, evaluator, candidates, proposes, draw, seed, scores)


def search(
        out: Path,
        name: str,
        data: dict[str, Images],
        seed: int = 0,
        scale: float = 1.0,
        deadline: float = math.inf,
        **options: Any,
) -> None:
    """Run a search and write its result.

    Args:
        out: where the file of results is.
        name: of `SEARCHES`.
        data: images on the device; those of 'train' are split into the two halves.
        seed: of the search and its supernet.
        scale: of its length.
        deadline: time at which it stops with what it has learned so far.
        options: further ones of the supernet, such as `batch`.
    """
    settings, weights = SEARCHES[name]
    first, second = (i.to(data['train'].labels.device) for i in stratified(data['train'].labels.cpu(), 0.5, 1))
    per_epoch = max(1, steps_of(name, scale) // EPOCHS)
    weights = {**WEIGHTS, **weights, **options}
    val = data['train'].pick(second)
    evaluator = create_evaluator(data['train'].pick(first), val, per_epoch, per_epoch * EPOCHS, seed, **weights)
    running = create_search(evaluator, {**COMMON, **settings}, seed)
    started, cpu = time.time(), time.process_time()

    class Late:
        def __bool__(self) -> bool:
            return time.time() > deadline

    def on_epoch(search: Any) -> None:
        shown = ('k', 'entropy', 'train_loss', 'log_likelihood', 'most_probable_cost', 'best_score')
        figures = ', '.join(f'{k} {search.history[-1][k]:.5g}' for k in shown if k in search.history[-1])
        log(f'search {name} seed {seed}: epoch {search.epoch}, {figures}, {time.time() - started:.0f} s')

    finished = running.run(Late(), None, on_epoch)
    searched = time.time() - started
    final = last_stage(running, evaluator, {**COMMON, **settings}, seed, finished)
    finalists = final.finalists()
    found, first_of_all = str(finalists[0].arch), final.archs[0]
    mode = evaluator.net.space.describe(running.distribution.most_probable()) if running.distribution else found
    add_result(
        out, kind='search', name=name, seed=seed, arch=found, macs=macs_of(found), mode=mode, mode_macs=macs_of(mode),
        likeliest=str(first_of_all), finalists=[f.to_dict() for f in finalists], finished=finished, epoch=running.epoch,
        steps=per_epoch * EPOCHS, samples=running.num_samples, trained_passes=evaluator.trained,
        scored_passes=evaluator.scored_passes, spent_macs=evaluator.macs, scored_macs=evaluator.scored_macs,
        seconds=round(time.time() - started, 1), search_seconds=round(searched, 1),
        final_seconds=round(final.seconds, 1),
        cpu_seconds=round(time.process_time() - cpu, 1), evaluator_seconds=round(evaluator.seconds, 1),
        threads=torch.get_num_threads(), settings=settings_of(running.config), weights=weights,
        history=list(short(running.history)),
    )
    log(f'search {name} seed {seed}: finalist {final.ranked()[0] + 1}, {finalists[0].top1:.2f} % of the images of '
        f'alpha: {found}')


def last_stage(
        running: Search | CandidateSearch, evaluator: Counting, settings: dict[str, Any], seed: int, finished: bool
) -> Finals:
    """The product's refinement, if there is one, and its final, at their end."""
    archs = running.finalists(FINALISTS if finished else 1)
    spent = 0.0
    if settings.get('refine') and finished:
        assert isinstance(running, Search)
        refinement = Refinement(running, evaluator, archs[:REFINED], settings['refine'], seed)
        refinement.run()
        archs, spent = refinement.finalists(archs[0], REFINED), refinement.seconds
        log(f'refined in {spent:.0f} s: best {refinement.candidates.best[1]:.2f} %')
    if settings.get('different') and finished:
        assert isinstance(running, CandidateSearch)
        archs = different(evaluator.net.space, running.finalists(len(running.scored)), REFINED)

    def open_optimizer(model: torch.nn.Module, epochs: int, updates: int) -> tuple[torch.optim.Optimizer, Any]:
        own = evaluator.optimizer.defaults
        peak = evaluator.scheduler.peak
        optimizer = torch.optim.AdamW(model.parameters(), lr=peak, weight_decay=own['weight_decay'])
        return optimizer, WarmCosine(optimizer, peak, epochs * updates, rising=0)

    candidates = [Candidate(choices, None) for choices in archs]
    final = Finals(evaluator, candidates, CALIBRATION, settings.get('finalist_epochs', 0), EPOCHS, open_optimizer)
    final.seconds = spent
    final.run()
    images = evaluator.train_loader.steps * evaluator.train_loader.batch * final.epochs
    evaluator.macs += sum(f.macs * (3 * images * f.rounds + f.images * (f.rounds + 1)) for f in final.finalists())
    return final


def settings_of(config: Any) -> dict[str, Any]:
    """The settings of a search as data."""
    return dict(vars(replace(config)))


def short(history: Iterable[dict[str, Any]]) -> Iterable[dict[str, Any]]:
    """The figures of each epoch; not the distribution."""
    for row in history:
        yield {k: round(v, 5) if isinstance(v, float) else v for k, v in row.items() if isinstance(v, (int, float))}
