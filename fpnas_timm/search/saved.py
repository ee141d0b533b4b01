"""The options of a search that is continued: read from its folder, checked, and compared with those given now.

Places (where the images or the space file are) may change, things (images, settings) may not.
"""
import argparse
import json
from collections.abc import Callable, Mapping, Set
from pathlib import Path
from typing import Any

from ..arch.checks import ArchError, load_json
from ..errors import UsageError, one_line
from ..runs.parser import default_workers, load_yaml, set_options
from ..spaces import MBConvSpace, get_space
from .names import ARGS_FILE, CHECKPOINT, PREVIOUS, SPACE_FILE
from .strategy_options import without_use

__all__ = [
    'AUTO', 'CHANGEABLE_ON_RESUME', 'PLACES', 'changed_settings', 'fixed_settings', 'folder_to_resume',
    'has_checkpoint', 'read_object', 'resumed', 'saved_space',
]

RESTORE = 'restore it, or start a new search in another --output'
AUTO = 'auto'  # --resume auto: start, or go on with what is in --output

# Options that may change on resume, since the result does not depend on them.
CHANGEABLE_ON_RESUME = frozenset(
    'resume config preset output workers pin_mem log_interval log_tensorboard log_wandb wandb_project wandb_tags '
    'wandb_resume_id'.split()
)
# Options that say where something is: what is there is compared instead. The space is read from the folder.
PLACES = frozenset(('data_dir', 'class_map'))


def folder_to_resume(resume: str | None, output: str | None) -> str | None:
    """The folder of the search to continue; None if there is none to continue and one is to be started.

    With `auto`, a search that has not finished its first epoch, and so has no checkpoint, is started anew.

    Raises:
        UsageError: `auto` without an output folder.
    """
    if resume != AUTO:
        return resume
    if not output:
        raise UsageError('--resume auto needs --output OUT, the folder to start or to continue a search in')
    folder = Path(output)
    return output if (folder / ARGS_FILE).exists() and has_checkpoint(folder) else None


def has_checkpoint(folder: Path) -> bool:
    """Whether the folder of a search has a checkpoint: none before the end of the first epoch."""
    return any((folder / name).exists() for name in (CHECKPOINT, PREVIOUS))


def resumed(
        args: argparse.Namespace,
        given: Mapping[str, Any],
        not_meant: Set[str],
        parser: argparse.ArgumentParser,
        check: Callable[[argparse.Namespace], None],
) -> argparse.Namespace:
    """The options of the search in the folder `args.resume`, which are those that it was started with.

    Args:
        args: the options given now; those that are not given have their defaults.
        given: the names of those that were given.
        not_meant: the names of those that only a preset gave, or a file with the default; what the search has no use
            for was left out at its start.
        parser: a new parser of the search.
        check: raises UsageError for values that contradict each other.

    Raises:
        UsageError: there is no search, its `args.yaml` has unknown or invalid options, or other settings were given.
    """
    folder = Path(args.resume)
    saved = _saved_options(folder, parser, check)
    left_out = without_use(saved) & not_meant
    differing = [
        f'--{k.replace("_", "-")} is {_shown(getattr(saved, k))} there, {_shown(getattr(args, k))} here'
        for k in given
        if k not in CHANGEABLE_ON_RESUME | PLACES | left_out | {'space'} and getattr(args, k) != getattr(saved, k)
        and (k, args.device) != ('device', 'auto')
    ]
    if args.output is not None and Path(args.output).resolve() != folder.resolve():
        differing.append(f'--output is {args.resume!r} there, {args.output!r} here')
    if differing:
        raise UsageError(
            f'--resume {args.resume}: settings differ from those of that search ({"; ".join(differing)}): leave them '
            'out to continue it, or start a new search in another --output'
        )
    if 'space' in given and args.space != saved.space:
        _check_space(args.space, folder / SPACE_FILE, saved.img_size is None)
    if saved.workers is None:  # a line that was taken out
        saved.workers = default_workers(2)
    kept = {k: v for k, v in vars(args).items() if k in CHANGEABLE_ON_RESUME | PLACES and k in given}
    return argparse.Namespace(**{**vars(saved), **kept, 'output': args.resume, 'resume': args.resume, 'anew': False})


def _saved_options(
        folder: Path, parser: argparse.ArgumentParser, check: Callable[[argparse.Namespace], None]
) -> argparse.Namespace:
    """The options in the folder's `args.yaml`, checked as if they were given on the command line."""
    path = folder / ARGS_FILE
    if not path.exists():
        raise UsageError(
            f'--resume {folder}: no search there ({path} does not exist): to start one, give --output {folder}, with '
            '--resume auto to start or continue by the same command'
        )
    try:
        loaded = load_yaml(path)
    except UsageError as e:
        reason, _, _ = str(e).removeprefix(f'{path}: ').partition(': while ')  # without the position in the text
        raise UsageError(f'{path}: {reason}: {RESTORE}') from None
    if 'data_dir' not in loaded:  # it is None if the images were given in Python
        raise UsageError(f'{path}: {"has no line data_dir" if loaded else "is empty"}: {RESTORE}')
    if 'recipe' in loaded:
        raise UsageError(f'--resume {folder}: a training run, not a search: fpnas train --resume continues it')
    set_options(parser, loaded, str(path))
    saved = parser.parse_args([])
    try:
        check(saved)
    except UsageError as e:
        raise UsageError(f'{path}: {e}') from None
    return saved


def _check_space(name: str, path: Path, with_size: bool) -> None:
    """Raise UsageError unless the space `name` is the one at `path`; their image sizes count only if `with_size`."""
    own = saved_space(path).to_dict()
    try:
        given = get_space(name).to_dict()
    except (OSError, ValueError) as e:
        raise UsageError(f'--space {name}: {one_line(e)}') from None
    if {**given, 'img_size': given['img_size'] if with_size else own['img_size']} != own:
        raise UsageError(
            f'--resume {path.parent}: the search space changed since it started ({name} is not {path}): leave --space '
            'out, or start a new search'
        )


def saved_space(path: Path) -> MBConvSpace:
    """The space in the folder of a search; UsageError if its file is damaged."""
    try:
        return get_space(str(path))
    except (OSError, ValueError) as e:
        raise UsageError(f'{path}: is damaged ({one_line(e).removeprefix(f"{path}: ")}): {RESTORE}') from None


def fixed_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that the result depends on, as JSON has them."""
    kept = {k: v for k, v in settings.items() if k not in CHANGEABLE_ON_RESUME | PLACES}
    return json.loads(json.dumps(kept))


def changed_settings(then: Mapping[str, Any], now: Mapping[str, Any], defaults: Mapping[str, Any]) -> list[str]:
    """What differs between two results of `fixed_settings`, such as 'lam was 0.3, is 0.5'.

    Args:
        then: recorded when the search started.
        now: as they are now.
        defaults: of options that the version which recorded the others did not have.
    """
    return [
        f'{name} was {_shown(then.get(name, defaults.get(name)))}, is {_shown(now.get(name))}'
        for name in sorted({*then, *now})
        if then.get(name, defaults.get(name)) != now.get(name, defaults.get(name))
    ]


def _shown(value: Any) -> str:
    return repr(value)[:80]


def read_object(path: Path, advice: str) -> dict[str, Any]:
    """The object in a JSON file; a UsageError that ends in `advice` if there is none."""
    try:
        found = load_json(path.read_text(encoding='utf-8'))
    except (ArchError, OSError, UnicodeDecodeError) as e:
        raise UsageError(f'{path}: cannot be read ({one_line(e)}): {advice}') from None
    if not isinstance(found, dict):
        raise UsageError(f'{path}: expected a JSON object: {advice}')
    return found
