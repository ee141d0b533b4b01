"""`--split archs`: two processes divide the architectures of a step, and are one process with the whole batch."""
import json
from pathlib import Path

import pytest
import torch

from fpnas_timm.cli.runs import search_main
from fpnas_timm.search.distribution import load_distribution

from .test_search_distributed import run_pairs

OPTIONS = ['--epochs', '3', '--joint-epoch', '2', '--batch-size', '6', '--lam', '0.5', '--split', 'archs']
CASES = {
    'all': [],
    'half of them idle': ['--weight-samples', '1'],
    'teacher': ['--weight-archs', 'sandwich', '--distill', '0.5', '--weight-ema', '0.9', '--grad-accum-steps', '2'],
    'scaled': ['--amp', '--amp-dtype', 'float16', '--weight-samples', '1'],
}


@pytest.fixture(scope='module')
def two(options: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The searches of two processes, one folder a case."""
    root = tmp_path_factory.mktemp('two')
    runs = [[*options, *OPTIONS, *case, '--output', str(root / name)] for name, case in CASES.items()]
    statuses, errors = run_pairs(*((args, args) for args in runs))
    assert (statuses, errors) == (['0 0'] * len(CASES), [])
    return root


def rows(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / 'history.jsonl').read_text().splitlines()]


@pytest.mark.parametrize('name', CASES)
def test_two_processes_are_one(name: str, two: Path, options: list[str], tmp_path: Path) -> None:
    out = tmp_path / 'one'
    assert search_main([*options, *OPTIONS, *CASES[name], '--output', str(out)]) == 0
    rel = 2e-2 if name == 'scaled' else 1e-4
    for one, other in zip(rows(out), rows(two / name), strict=True):
        for key in ('train_loss', 'entropy', 'k', 'cost', *(['log_likelihood'] if 'log_likelihood' in one else [])):
            assert one[key] == pytest.approx(other[key], rel=rel), key
    alphas = [load_distribution(folder / 'distribution.safetensors').alpha for folder in (out, two / name)]
    torch.testing.assert_close(*alphas, rtol=0, atol=1e-5 if name != 'scaled' else 5e-2)
    assert alphas[0].abs().max() > 0.05


def test_resumed(two: Path, same_result, tmp_path: Path) -> None:
    """From the last epoch but one, by two processes to the same end; not with the data divided instead."""
    out = tmp_path / 'out'
    out.mkdir()
    for file in (two / 'all').iterdir():
        if file.is_file() and file.name not in ('result.json', 'last.pt'):
            (out / file.name).write_bytes(file.read_bytes())
    (out / 'last.previous.pt').rename(out / 'last.pt')
    args = ['--resume', str(out)]
    other = [*args, '--split', 'data']
    statuses, errors = run_pairs((other, other), (args, args))
    assert statuses == ['2 2', '0 0']
    assert "--split is 'archs' there, 'data' here" in errors[0]
    assert same_result(out, two / 'all')


def test_a_loss_that_is_not_finite(options: list[str], tmp_path: Path) -> None:
    """Both processes end with the sentence that names the architecture, whichever of them ran it."""
    args = [*options, *OPTIONS, '--lr', '1e30', '--clip-grad', '0', '--output', str(tmp_path / 'out')]
    statuses, errors = run_pairs((args, args))
    assert statuses == ['1 1']
    assert any('the training loss is ' in e and ' for i16-cn' in e for e in errors), errors
    assert len({e.partition(': start again')[0] for e in errors}) == 1
