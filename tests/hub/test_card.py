"""The card says where a network comes from, and what was measured."""
import json
from pathlib import Path

import pytest
import timm
from huggingface_hub import ModelCard
from timm.models import save_for_hf

import fpnas_timm  # noqa: F401
from fpnas_timm.cli.hub import main
from fpnas_timm.errors import UsageError
from fpnas_timm.weights.manifest import parse_entry, read_manifest
from fpnas_timm.weights.recorded import recorded_of
from tests.hub.clients import ARCH


def test_reconstruction_says_so_and_loses_its_name(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    save_for_hf(timm.create_model('fpnas_s1pp', num_classes=3), tmp_path / 'extract', safe_serialization=True)
    assert main(['push', str(tmp_path), 'me/s1', '--dry-run']) == 0
    out, err = capsys.readouterr()
    folder = Path(err.splitlines()[1].split()[0]).parent
    assert 'fpnas_s1pp, a reconstruction from Table B.1' in (folder / 'README.md').read_text()
    assert json.loads((folder / 'config.json').read_text())['architecture'] == 'fpnas'
    assert json.loads(out)['model'] == 'fpnas_s1pp.v1'
    (tmp_path / 'zoo.json').write_text(json.dumps({'weights': [json.loads(out)]}))
    [entry] = read_manifest(tmp_path / 'zoo.json')  # what is printed is a manifest entry, without metrics too
    assert entry.metrics == {} and entry.recipe == 'not recorded'


def test_several_labels_per_image(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    model = timm.create_model('fpnas', arch=ARCH, num_classes=4)
    config = {'training': {'task': 'multilabel'}}
    save_for_hf(model, tmp_path / 'export', model_config=config, safe_serialization=True)
    assert main(['push', str(tmp_path), 'me/x', '--dry-run', '-o', str(tmp_path / 'out')]) == 0
    assert 'the probability of each is the sigmoid of its logit' in (tmp_path / 'out' / 'README.md').read_text()
    assert recorded_of(f'local-dir:{tmp_path}/out').multilabel  # also for those who download it
    entry = json.loads(capsys.readouterr().out)
    assert entry['multilabel'] is True
    with pytest.raises(UsageError, match=r'multilabel is 1: expected true or false'):
        parse_entry({**entry, 'multilabel': 1}, 'x', tmp_path)


@pytest.mark.parametrize('under', ['search', 'training'])
def test_cards_of_runs(under: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """What `fpnas train` and `fpnas search` write beside the model."""
    search = {'space': 'digits', 'target_macs': 3e6, 'samples': 480, 'weights': 'inherited', 'most_probable': 'x' * 99}
    config = {'search': search} if under == 'search' else {
        'training': {'recipe': None, 'epoch': 3, 'epochs': 9, 'seed': 0, 'top1': 88.5, 'ema': True, 'search': search,
                     'dataset': 'digits', 'val_fraction': 0.2}
    }
    model = timm.create_model('fpnas', arch=ARCH, num_classes=4)
    save_for_hf(model, tmp_path / 'extract', model_config=config, safe_serialization=True)
    assert main(['push', str(tmp_path), 'me/x', '--dry-run', '-o', str(tmp_path / 'out')]) == 0
    entry = json.loads(capsys.readouterr().out)
    assert entry['metrics'] == ({} if under == 'search' else {'top1': 88.5}) and entry['recipe'] == 'not recorded'
    card = (tmp_path / 'out' / 'README.md').read_text()
    results = ModelCard(card).data.eval_results or []
    assert [(r.metric_name, r.metric_type, r.metric_value, r.dataset_name) for r in results] == (
        [] if under == 'search' else [('top1', 'accuracy', 88.5, 'digits')]
    )
    assert 'found by a search with fpnas_timm (space: digits; target macs: 3000000.0; samples: 480; weights: ' in card
