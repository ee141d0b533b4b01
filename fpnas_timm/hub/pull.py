"""Downloads a model from the Hub, verifies it, and copies it to a folder."""
import shutil
from dataclasses import replace
from pathlib import Path

from ..errors import UsageError
from ..weights.folder import CARD_FILE, CONFIG_FILE, PICTURE, WEIGHTS_FILE
from ..zoo.models import known_weights
from .fetch import fetch, is_repo
from .stage import check_free, filling
from .verify import Verified, verify, verify_entry

__all__ = ['pull']


def pull(source: str, output: str | Path | None = None, force: bool = False) -> tuple[Path, Verified]:
    """Download a model from the Hub to the cache, verify it, and optionally copy it to a folder.

    Args:
        source: `ORG/NAME[@REVISION]`, or `name.tag` of a manifest.
        output: folder to copy the files to; must be empty or not exist. If None, they are only in the cache. It holds
            the whole, verified model afterwards, or nothing after an error.
        force: download the files even if they are in the cache.

    Returns:
        The folder, ready for `local-dir:`, and the report of `verify`.

    Raises:
        UsageError: an invalid argument.
        RunError: the download failed, or the weights do not match hash, string or config.

    Example:
        ```python
        import timm
        from fpnas_timm.hub import pull

        folder, report = pull('ORG/NAME', 'model')
        model = timm.create_model(f'local-dir:{folder}', pretrained=True)
        ```
    """
    entry = next((e for e in known_weights() if e.model == source), None)
    where = source if entry is None else entry.source
    if entry is not None and not entry.repo_id:
        raise UsageError(f'{source} is in {entry.folder} already')
    if not is_repo(where):
        raise UsageError(f'{source!r}: expected ORG/NAME, ORG/NAME@REVISION or a name.tag that `fpnas hub list` shows')
    if output is not None:
        check_free(output)
    folder = fetch(where, force, extras=True)
    if entry is not None:
        verify_entry(entry)
    if output is None:
        return folder, verify(folder, entry.sha256 if entry else None)
    with filling(output) as stage:
        for file in (WEIGHTS_FILE, CARD_FILE, PICTURE, CONFIG_FILE):
            if (folder / file).exists():
                shutil.copyfile(folder / file, stage / file)
        report = verify(stage, entry.sha256 if entry else None)  # the copy: it is what will be used
    return Path(output), replace(report, source=source)
