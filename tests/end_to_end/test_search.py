"""`search.py` as its users run it: the whole way, on two processes, and with the halves of an earlier version."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
import yaml

from fpnas_timm.arch import Arch
from fpnas_timm.arch.cost import cost
from fpnas_timm.cli.runs import search_main
from fpnas_timm.errors import RunError
from fpnas_timm.search.distribution import load_distribution
from fpnas_timm.search.evaluator import SuperNetEvaluator
from fpnas_timm.search.halves import Halves
from fpnas_timm.search.image_evaluator import fingerprint
from fpnas_timm.search.page import write_report
from fpnas_timm.search.work_split import WorkSplit
from fpnas_timm.weights.recorded import recorded_of

ROOT = Path(__file__).parents[2]


def test_what_it_leaves(whole: Path, tiny_images: Path, tmp_path: Path) -> None:
    arch = Arch.parse((whole / 'arch.txt').read_text())
    result = json.loads((whole / 'result.json').read_text())
    assert 54_000 <= cost(arch, num_classes=3).macs == result['macs'] <= 60_000
    history = [json.loads(line) for line in (whole / 'history.jsonl').read_text().splitlines()]
    assert [row['phase'] for row in history] == ['warmup', *['factorized'] * 2, *['joint'] * 3]
    assert all(0 < row['entropy'] <= 12 and row['k'] >= 2 and row['train_loss'] > 0 for row in history)
    halves = json.loads((whole / 'halves.json').read_text())
    assert sorted(halves['train'] + halves['val']) == list(range(36))
    assert halves['class_names'] == ['blue', 'green', 'red']
    assert yaml.safe_load((whole / 'args.yaml').read_text())['lam'] == 0.3
    for name in ('arch.png', 'course.png', 'distribution.png'):
        assert (whole / name).read_bytes().startswith(b'\x89PNG')
    model = timm.create_model(f'local-dir:{whole / "extract"}', pretrained=True)
    assert str(model.arch) == str(arch)
    assert model.num_classes == 3
    assert not any(torch.allclose(m.running_mean, torch.zeros(())) for m in model.modules()
                   if isinstance(m, torch.nn.BatchNorm2d))
    config = json.loads((whole / 'extract' / 'config.json').read_text())
    assert config['training']['search']['weights'].startswith('inherited')
    assert (config['label_names'], config['input_img_mode']) == (['blue', 'green', 'red'], 'RGB')
    assert recorded_of('fpnas', arch_file=str(whole / 'arch.txt')).search == config['training']['search']
    page = (whole / 'report.html').read_text()
    assert write_report(whole, tmp_path / 'again.html').read_text() == page  # from the files, as from the search
    for name in ('arch.txt', 'result.json'):  # without extract/
        shutil.copy(whole / name, tmp_path)
    beside = recorded_of('fpnas', arch_file=str(tmp_path / 'arch.txt')).search
    assert (beside['space'], beside['macs'], beside['date']) == (
        config['training']['search']['space'], result['macs'], result['date']
    )


@pytest.mark.parametrize('halves', [
    Halves([0, 1, 5, 6, 10, 11], [2, 3, 4, 7, 8, 9, 12, 13, 14], [0, 1, 2]),
    Halves([4, 5, 6, 8, 9, 10, 11, 12], [0, 1, 2, 3, 7, 13, 14], [0, 1, 2]),
])
def test_a_resumed_search_keeps_the_halves_of_its_record(
        halves: Halves, options: list[str], tiny_images: Path, same_result, tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Earlier versions made halves of 6 and 9 of three classes of 5: their searches resume, and end the same."""
    data = tmp_path / 'data'
    for name in ('red', 'green', 'blue'):
        (data / 'train' / name).mkdir(parents=True)
        for i in range(5):
            shutil.copy(tiny_images / 'train' / name / f'{i}.png', data / 'train' / name)
    args = [*options, '--data-dir', str(data), '--batch-size', '3', '--epochs', '2', '--joint-epoch', '1', '--output']
    before, out = tmp_path / 'before', tmp_path / 'out'
    with monkeypatch.context() as patch:
        patch.setattr('fpnas_timm.search.images.stratified_halves', lambda *_: halves)
        assert search_main([*args, str(before)]) == 0
    assert search_main([*args, str(tmp_path / 'now')]) == 0
    record = json.loads((tmp_path / 'now' / 'halves.json').read_text())
    assert (len(record['train']), len(record['val'])) == (7, 8)
    assert not same_result(before, tmp_path / 'now')
    out.mkdir()  # as a kill in the first epoch leaves it; the record by hand
    shutil.copy(before / 'args.yaml', out)
    (out / 'halves.json').write_text(json.dumps({**record, **vars(halves)}))
    assert search_main(['--resume', str(out)]) == 0
    assert same_result(out, before)


@pytest.mark.parametrize('change', [{'train': [0, 1]}, {'classes': [0, 1]}, {'val': None}])
def test_a_record_that_does_not_fit_is_refused(
        change: dict, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    shutil.copytree(whole, tmp_path / 'out')
    record = tmp_path / 'out' / 'halves.json'
    record.write_text(json.dumps({**json.loads(record.read_text()), **change}))
    assert search_main(['--resume', str(tmp_path / 'out')]) == 2
    assert 'the halves of the data changed since it started' in capsys.readouterr().err


def two_processes(*args: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2', str(ROOT / 'search.py'),
         *args],
        cwd=ROOT, env={**os.environ, 'PYTHONPATH': str(ROOT)}, capture_output=True, text=True, timeout=300, check=False,
    )


@pytest.mark.timeout(400)
def test_two_processes_are_one_with_accumulation(options: list[str], tmp_path: Path) -> None:
    """The data are split: alpha goes the same way, within what the order of sums changes."""
    weights = ['--weight-archs', 'sandwich', '--weight-draws', 'uniform', '--distill', '0.5', '--weight-ema', '0.9']
    args = [*options, *weights, '--batch-size', '3', '--epochs', '3', '--joint-epoch', '2', '--output']
    assert search_main([*args, str(tmp_path / 'one'), '--grad-accum-steps', '2']) == 0
    run = two_processes(*args, str(tmp_path / 'two'))
    assert run.returncode == 0, run.stderr
    one, two = ([json.loads(line) for line in (tmp_path / n / 'history.jsonl').read_text().splitlines()]
                for n in ('one', 'two'))
    for a, b in zip(one, two, strict=True):
        for key in ('train_loss', 'entropy', 'k', 'cost'):
            assert a[key] == pytest.approx(b[key], rel=1e-4), key
        if 'log_likelihood' in a:
            assert a['log_likelihood'] == pytest.approx(b['log_likelihood'], rel=1e-4)
    alphas = [load_distribution(tmp_path / n / 'distribution.safetensors').alpha for n in ('one', 'two')]
    torch.testing.assert_close(*alphas, rtol=0, atol=1e-5)
    assert alphas[0].abs().max() > 0.05
    ones, twos = ({f['arch']: f for f in json.loads((tmp_path / n / 'result.json').read_text())['finalists']}
                  for n in ('one', 'two'))
    assert len(set(ones) & set(twos)) > 4  # equally probable ones may differ
    for arch in set(ones) & set(twos):
        a, b = ones[arch], twos[arch]
        assert a['images'] == b['images'] == 18  # shared, each of them once
        assert a['log_likelihood'] == pytest.approx(b['log_likelihood'], rel=1e-3)
        assert a['log_likelihood_se'] == pytest.approx(b['log_likelihood_se'], rel=1e-2)
        assert a['top1'] == pytest.approx(b['top1'], abs=100 / 18 + 1e-6)


def test_an_unreadable_image_of_one_of_two_processes(options: list[str], tiny_images: Path, tmp_path: Path) -> None:
    """The other process says that it is not to blame, instead of where it was when its peer had gone."""
    data = tmp_path / 'data'
    shutil.copytree(tiny_images, data)
    bad = data / 'train' / 'green' / '5.png'
    bad.write_bytes(bad.read_bytes()[:60])
    run = two_processes(*options, '--batch-size', '3', '--data-dir', str(data), '--output', str(tmp_path / 'out'))
    assert run.returncode == 1
    errors = {line for line in run.stderr.splitlines() if line.startswith('error: ')}
    assert any(str(bad) in line and 'fix it' in line for line in errors), run.stderr
    assert 'search/run.py' not in run.stderr, run.stderr  # no traceback of ours; torchrun writes one of its own


def test_processes_that_disagree_are_found_out() -> None:
    alpha = torch.randn(50, dtype=torch.float64)
    swapped = alpha[[1, 0, *range(2, 50)]]
    prints = {fingerprint(a) for a in (alpha, -alpha, 2 * alpha, swapped)}
    for bit in range(64):
        other = alpha.clone()
        other.view(torch.int64)[7] ^= torch.tensor(-(2**63) if bit == 63 else 1 << bit)
        prints.add(fingerprint(other))
    assert len(prints) == 4 + 64
    assert all(p == int(float(p)) for p in prints)

    class Two(WorkSplit):
        def gathered(self, values: torch.Tensor) -> torch.Tensor:
            return torch.stack([values, values + 1])

    class Other(SuperNetEvaluator):
        device = torch.device('cpu')

        def __init__(self) -> None:
            """Another process, with another alpha."""

            self.split = Two()

    with pytest.raises(RunError, match='no longer hold the same'):
        Other().check_in_sync(alpha)
