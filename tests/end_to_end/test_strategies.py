"""`--strategy evolution` killed while it scores, and random search by two processes: the same candidates."""
import json
import signal
from pathlib import Path

import pytest

from fpnas_timm.cli.runs import search_main
from tests.end_to_end.test_search_distributed import run_pairs
from tests.end_to_end.test_search_kill import wait_for


@pytest.fixture(scope='module')
def short(space_file: Path, tiny_images: Path) -> list[str]:
    return ['--space', str(space_file), '--data-dir', str(tiny_images), '--epochs', '2', '--target-macs', '60K',
            '--tolerance', '0.1', '--workers', '0', '--calibration-batches', '2', '--device', 'cpu']


def candidates(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / 'candidates.jsonl').read_text().splitlines()]


def test_killed_while_it_scores(short: list[str], start, tmp_path: Path) -> None:
    args = [*short, '--batch-size', '4', '--strategy', 'evolution', '--evaluations', '130', '--population', '20']
    assert search_main([*args, '--output', str(tmp_path / 'whole')]) == 0
    out = tmp_path / 'out'
    process = start(*args, '--output', str(out), '--log-interval', '1', '--resume', 'auto')
    wait_for(process, 'epoch 4 step 7/50')
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL and len(candidates(out)) == 50
    assert search_main([*args, '--output', str(out), '--log-interval', '1', '--resume', 'auto']) == 0
    assert candidates(out) == candidates(tmp_path / 'whole') and len(candidates(out)) == 130
    assert (out / 'arch.txt').read_text() == (tmp_path / 'whole' / 'arch.txt').read_text()


def test_two_processes_score_as_one_does_with_twice_the_batches(short: list[str], tmp_path: Path) -> None:
    args = [*short, '--batch-size', '3', '--strategy', 'random', '--evaluations', '10', '--score-batches', '2']
    pair = [*args, '--output', str(tmp_path / 'pair')]
    assert run_pairs((pair, pair)) == (['0 0'], [])
    assert search_main([*args, '--grad-accum-steps', '2', '--output', str(tmp_path / 'one')]) == 0
    first, second = candidates(tmp_path / 'pair'), candidates(tmp_path / 'one')
    assert len(first) == 10 and [c['arch'] for c in first] == [c['arch'] for c in second]
    assert [c['score'] for c in first] == pytest.approx([c['score'] for c in second], rel=1e-4)
