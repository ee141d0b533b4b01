"""Uploads a model to the Hub (weights, config, card and picture) and makes the manifest entry for it."""
import contextlib
import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from huggingface_hub import HfApi

from ..arch import Arch
from ..draw.arch import draw_arch
from ..errors import RunError, UsageError, one_line
from ..runs.files import write_text
from ..weights.config_checks import is_finite_number, network_args
from ..weights.folder import (
    CARD_FILE,
    CONFIG_FILE,
    PICTURE,
    WEIGHTS_FILE,
    drop_doubled_num_classes,
    initial_weights,
    model_folder,
    read_config,
)
from ..weights.manifest import INPUT_KEYS, ManifestEntry, parse_entry
from ..weights.recorded import is_multilabel
from ..zoo.strings import ARCHS
from .card import metrics_of, model_card, origin_of, recipe_of
from .stage import check_free, filling
from .verify import verify

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
    """Upload a model to a repository on the Hub: weights, `config.json`, model card and picture.

    Needs a token with write access: `hf auth login` or HF_TOKEN. `config.json` always contains `fpnas` and the string,
    since other users may not know the model's name, and the architecture of a named model may change.

    Args:
        run_or_dir: folder of a training run or of a search, or a `local-dir:` folder.
        repo_id: `ORG/NAME`; created if it does not exist.
        private: create a private repository.
        dry_run: prepare all files in a folder, which is kept, without uploading them.
        output: folder in which to keep the prepared files; must be empty or not exist. If None, a temporary folder.
        model: `name.tag` for the manifest entry; made from the repository's name if None.
        origin: a sentence for the card that says where the architecture comes from; if None, from `config.json`.
        license: license of the weights; if None, that of the weights that they started from, or that in the config.

    Returns:
        The manifest entry (after a dry run its revision is all zeros), and the folder of the prepared files if it was
        kept, else None.

    Raises:
        UsageError: an invalid argument, or matplotlib is missing; nothing was uploaded.
        RunError: the weights are damaged, or the upload failed.

    Example:
        ```python
        from fpnas_timm.hub import push

        entry, folder = push('output/train/RUN', 'ORG/NAME', dry_run=True)
        print(entry.sha256, sorted(file.name for file in folder.iterdir()))
        ```
    """
    folder = model_folder(run_or_dir)
    if output:
        check_free(output)
    if not re.fullmatch(r'[\w.-]+/[\w.-]+', repo_id):
        raise UsageError(f'{repo_id!r}: expected ORG/NAME')
    report = verify(folder)
    config, arch = read_config(folder), Arch.parse(report.arch)
    config['architecture'] = 'fpnas'
    config['model_args'] = {**config.get('model_args', {}), 'arch': report.arch}
    config = drop_doubled_num_classes(config)
    before = initial_weights(config)  # their license, also if it is not recorded, is that of all that comes after
    license = license or (before or config['pretrained_cfg']).get('license') or 'other'
    config['pretrained_cfg']['license'] = license
    cfg = {**config['pretrained_cfg'], 'num_classes': config['num_classes'], 'label_names': config.get('label_names')}
    entry = ManifestEntry(
        model=model or _manifest_name(report.arch, repo_id),
        sha256=report.sha256,
        metrics={k: v for k, v in metrics_of(config).items() if is_finite_number(v)},
        recipe=recipe_of(config) or 'not recorded',
        license=license,
        repo_id=repo_id,
        revision='0' * 40,
        arch=report.arch,
        pretrained_cfg={k: cfg[k] for k in INPUT_KEYS if cfg.get(k) is not None},
        model_args=network_args(config['model_args']),
        multilabel=is_multilabel(config),
    )
    parse_entry(entry.to_dict(), f'the manifest entry of {folder}', folder)  # so that it can be used as it is printed
    with filling(output) if output else _temporary_folder(keep=dry_run) as stage:
        shutil.copyfile(folder / WEIGHTS_FILE, stage / WEIGHTS_FILE)
        write_text(stage / CONFIG_FILE, json.dumps(config, indent=2) + '\n')
        write_text(stage / CARD_FILE, model_card(config, arch, repo_id, origin or origin_of(config, arch), license))
        _draw(arch, stage / PICTURE, repo_id)
        if not dry_run:
            entry = replace(entry, revision=_upload(stage, repo_id, private))
    return entry, (Path(output) if output else stage) if dry_run or output else None


@contextlib.contextmanager
def _temporary_folder(keep: bool) -> Iterator[Path]:
    """A new folder of the system's temporary files; kept on request, if there is no error."""
    folder = Path(tempfile.mkdtemp(prefix='fpnas-hub-'))
    try:
        yield folder
    except BaseException:
        keep = False
        raise
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


def _draw(arch: Arch, path: Path, title: str) -> None:
    try:
        draw_arch(arch, path, title=title)
    except ImportError as e:
        raise UsageError(str(e)) from None


def _manifest_name(arch: str, repo_id: str) -> str:
    """`name.v1`, with the name of the model if the string is that of a named model, else that of the repository."""
    named = next((name for name, string in ARCHS.items() if string == arch), None)
    own = re.sub('[^a-z0-9]+', '_', repo_id.partition('/')[2].lower()).strip('_')
    return f'{named or (own if own[:1].isalpha() else f"net_{own}")}.v1'


def _upload(folder: Path, repo_id: str, private: bool) -> str:
    """Upload a folder; returns the commit, 40 hexadecimal digits."""
    api = HfApi(library_name='fpnas_timm')
    try:
        api.create_repo(repo_id, private=private, exist_ok=True)
        return api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message='Add the model').oid
    except Exception as e:  # error types depend on the client's version
        status = getattr(getattr(e, 'response', None), 'status_code', None)
        if status in (401, 403):
            reason = 'no token that may write there: log in with `hf auth login` or set HF_TOKEN'
        else:
            reason = f'{one_line(e)}: push again, files that have arrived are not sent twice'
        raise RunError(f'{repo_id}: not published: {reason}') from None
