"""Publish a model in a repo of the Hub: weights, config, card and picture; and the manifest entry for it."""
import json
import re
import shutil
import tempfile
from pathlib import Path

from huggingface_hub import HfApi

from ..arch import Arch
from ..draw.arch import draw_arch
from ..errors import RunError, UsageError, one_line
from ..runs.files import write_text
from ..weights.folder import (
    CARD_FILE,
    CONFIG_FILE,
    PICTURE,
    WEIGHTS_FILE,
    check_empty,
    drop_doubled_num_classes,
    model_folder,
    read_config,
)
from ..weights.manifest import INPUT_KEYS, ManifestEntry
from ..zoo.strings import ARCHS
from .card import metrics_of, model_card, origin_of, recipe_of
from .pull import verify

__all__ = ['push']


def push(
        run_or_dir: str | Path,
        repo_id: str,
        private: bool = False,
        dry_run: bool = False,
        output: str | Path | None = None,
        model: str | None = None,
        origin: str | None = None,
        license: str | None = None,
) -> tuple[ManifestEntry, Path | None]:
    """Publish a model: weights, `config.json`, a card and a picture in a repo of the Hub.

    A token that may write there is needed: `hf auth login` or HF_TOKEN. `config.json` always says `fpnas` and the
    string, since a name may be known nowhere else and the architecture behind it may change.

    Args:
        run_or_dir: folder of a training run or of a search, or a `local-dir:` folder.
        repo_id: `ORG/NAME`; created if it does not exist.
        private: create a private repo.
        dry_run: prepare all files in a folder that is kept, and send nothing.
        output: keep the prepared files there; must not exist or be empty. If None, a temporary folder.
        model: `name.tag` for the manifest entry; made from the repo's name if None.
        origin: a sentence for the card: where the architecture comes from. If None, what `config.json` records.
        license: of the weights; the config's if None.

    Returns:
        The manifest entry (after a dry run with a revision of zeros), and the folder of the prepared files if it was
        kept, else None.

    Raises:
        UsageError: an argument is wrong, or matplotlib is missing; nothing was sent.
        RunError: the weights are damaged, or the Hub did not take the files.

    Example:
        ```python
        from fpnas_timm.hub import push

        entry, folder = push('output/train/RUN', 'ORG/NAME', dry_run=True)
        print(entry.sha256, sorted(file.name for file in folder.iterdir()))
        ```
    """
    folder = model_folder(run_or_dir)
    if not re.fullmatch(r'[\w.-]+/[\w.-]+', repo_id):
        raise UsageError(f'{repo_id!r}: expected ORG/NAME')
    report = verify(folder)
    config, arch = read_config(folder), Arch.parse(report.arch)
    config['architecture'] = 'fpnas'
    config['model_args'] = {**config.get('model_args', {}), 'arch': report.arch}
    config = drop_doubled_num_classes(config)
    license = license or config['pretrained_cfg'].get('license') or 'other'
    config['pretrained_cfg']['license'] = license
    stage = check_empty(output or tempfile.mkdtemp(prefix='fpnas-hub-'))
    stage.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copyfile(folder / WEIGHTS_FILE, stage / WEIGHTS_FILE)
        write_text(stage / CONFIG_FILE, json.dumps(config, indent=2) + '\n')
        write_text(stage / CARD_FILE, model_card(config, arch, repo_id, origin or origin_of(config, arch), license))
        _draw(arch, stage / PICTURE, repo_id)
        revision = '0' * 40 if dry_run else _upload(stage, repo_id, private)
    except BaseException:
        shutil.rmtree(stage, ignore_errors=True)
        raise
    if not (dry_run or output):
        shutil.rmtree(stage)
    cfg = {**config['pretrained_cfg'], 'num_classes': config['num_classes'], 'label_names': config.get('label_names')}
    entry = ManifestEntry(
        model=model or _manifest_name(report.arch, repo_id),
        sha256=report.sha256,
        metrics=metrics_of(config),
        recipe=recipe_of(config) or 'not recorded',
        license=license,
        repo_id=repo_id,
        revision=revision,
        arch=report.arch,
        pretrained_cfg={k: cfg[k] for k in INPUT_KEYS if cfg.get(k) is not None},
    )
    return entry, stage if dry_run or output else None


def _draw(arch: Arch, path: Path, title: str) -> None:
    try:
        draw_arch(arch, path, title=title)
    except ImportError as e:
        raise UsageError(str(e)) from None


def _manifest_name(arch: str, repo_id: str) -> str:
    """`name.v1`: the model's name if the string is a named model's, or else the repo's."""
    named = next((name for name, string in ARCHS.items() if string == arch), None)
    return f'{named or re.sub("[^a-z0-9]+", "_", repo_id.partition("/")[2].lower())}.v1'


def _upload(folder: Path, repo_id: str, private: bool) -> str:
    """Send a folder; returns the commit, 40 hexadecimal digits."""
    api = HfApi(library_name='fpnas_timm')
    try:
        api.create_repo(repo_id, private=private, exist_ok=True)
        return api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message='Add the model').oid
    except Exception as e:  # the client's network library, and so its errors, differ between its versions
        status = getattr(getattr(e, 'response', None), 'status_code', None)
        if status in (401, 403):
            reason = 'no token that may write there: log in with `hf auth login` or set HF_TOKEN'
        else:
            reason = f'{one_line(e)}: push again, files that have arrived are not sent twice'
        raise RunError(f'{repo_id}: not published: {reason}') from None
