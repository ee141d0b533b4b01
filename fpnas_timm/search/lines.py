"""What is said and written about a search, whatever its strategy: log lines, and its part of the result."""
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..runs.files import write_jsonl
from ..spaces import Choices
from ..spaces.budgets import shown_ms
from .image_evaluator import ImageEvaluator
from .names import CANDIDATES, HISTORY
from .strategies import AnySearch

__all__ = ['epoch_text', 'result_figures', 'state_files', 'step_texts', 'write_state']

DISTRIBUTION = 'distribution.safetensors'
BETA = 'multiplier_'  # these columns of the history are of a search with a budget that the multiplier meets
PARAMS, LATENCY = 'expected_params', 'expected_latency'


def step_texts(figures: Mapping[str, float]) -> dict[str, str]:
    """The figures of a step for the progress bar: name -> text."""
    shown = {
        'loss': ('train_loss', '{:.3f}', 1),
        'K': ('k', '{:.0f}', 1),
        'H': ('entropy', '{:.1f}', 1),
        'score': ('score', '{:.4f}', 1),
        'MACs': ('cost', '{:.2f}M', 1e-6),
    }
    return {name: text.format(figures[key] * unit) for name, (key, text, unit) in shown.items() if key in figures}


def epoch_text(row: Mapping[str, Any]) -> str:
    """A row of the history in words."""
    cost = f'{row["cost"] / 1e6:.2f}M multiply-adds'
    if 'score' in row:
        shown = [
            f'{row["num_samples"]:,} scored', f'best {row["best_score"]:.4f} nats per image',
            f'mean {row["score"]:.4f}', f'{cost} on average',
        ]
    else:
        entropy = [f'entropy {row["entropy"]:.2f} nats'] if 'entropy' in row else []
        betas = [f'{row[key]:.2f} ({key.removeprefix(BETA)})' for key in row if key.startswith(BETA)]
        loss = [f'loss {row["train_loss"]:.3f}'] if 'train_loss' in row else []
        if PARAMS in row:
            cost += f' and {row[PARAMS] / 1e6:.3f}M parameters'
        if LATENCY in row:
            cost += f' and {shown_ms(row[LATENCY])}'
        shown = [*loss, f'K {row["k"]:.1f}', *entropy, f'{cost} expected']
        shown += [f'multiplier {", ".join(betas)}'] if betas else []
    return '  '.join([*shown, f'{row["seconds"]:.0f} s'])


def state_files(search: AnySearch) -> list[str]:
    """The names of the files that `write_state` writes."""
    return [HISTORY, CANDIDATES if search.distribution is None else DISTRIBUTION]


def write_state(folder: Path, search: AnySearch) -> None:
    """Write what the search has learned so far: the history, and the distribution or the candidates."""
    write_jsonl(folder / HISTORY, search.history)
    if search.distribution is not None:
        search.distribution.save(folder / DISTRIBUTION)
        return
    cost, describe = search.evaluator.cost, search.space.describe
    rows = ({'arch': describe(arch), 'macs': cost(arch), 'score': score} for arch, score in search.scored)
    write_jsonl(folder / CANDIDATES, rows)


def result_figures(search: AnySearch, evaluator: ImageEvaluator, choices: Choices) -> dict[str, Any]:
    """What `result.json` says of the search, beside its result `choices`."""
    if search.distribution is None:
        return {
            'strategy': search.strategy.name,
            'score': dict(search.scored)[choices],
            'samples': search.num_samples,
        }
    mode = search.distribution.most_probable()
    spent = evaluator.full_cost(evaluator.space.to_arch(mode))
    return {
        'strategy': 'fp-nas',
        'log_prob': float(search.distribution.log_prob([choices]).detach()),
        'entropy': float(search.distribution.entropy().detach()),
        'most_probable': search.space.describe(mode),
        'most_probable_macs': spent.macs,
        'most_probable_params': spent.params,
        'samples': search.num_samples,
    }
