"""Names that only timm and torch know (optimizer, augmentation, compiler), checked before anything is written."""
import importlib
import re
from collections.abc import Sequence
from typing import Any

from timm.data.auto_augment import augment_and_mix_transform, auto_augment_transform, rand_augment_transform
from timm.optim import create_optimizer_v2, list_optimizers
from torch import nn
from torch.optim import Optimizer

from ..errors import UsageError, did_you_mean, one_line

__all__ = ['check_backend', 'check_optimizer', 'check_policy', 'import_modules', 'make_optimizer']


def import_modules(names: Sequence[str] | None) -> None:
    """Import the modules of `--device-modules`; UsageError if one fails."""
    for name in names or ():
        try:
            importlib.import_module(name)
        except Exception as e:  # a module of the user's: anything can go wrong in it
            raise UsageError(f'--device-modules {name}: cannot be imported ({one_line(e)})') from None


def check_optimizer(name: str) -> None:
    """Raise UsageError unless timm has this optimizer; `lookahead_NAME` wraps it, as in timm."""
    known = [str(name) for name in list_optimizers()]
    if name.lower().removeprefix('lookahead_') not in known:
        raise UsageError(f'--opt {name!r}: timm has no such optimizer{did_you_mean(name.lower(), known)}')


def make_optimizer(module: nn.Module, name: str, **kwargs: Any) -> Optimizer:
    """timm's optimizer for a module.

    Raises:
        UsageError: timm has no such optimizer, it is not installed, or it does not take these arguments.
    """
    check_optimizer(name)
    try:
        return create_optimizer_v2(module, opt=name, **kwargs)
    except (AssertionError, ImportError, KeyError, NameError, TypeError, ValueError) as e:
        raise UsageError(f'--opt {name}: cannot be made with these options: {one_line(e)}') from None


def check_policy(policy: str | None) -> None:
    """Raise UsageError unless timm has this policy of `--aa`."""
    if not policy:
        return
    try:
        if policy.startswith('rand'):
            rand_augment_transform(policy, {})
        elif policy.startswith('augmix'):
            augment_and_mix_transform(policy, {})
        else:
            auto_augment_transform(policy, {})
        ignored = [s for s in policy.split('-')[1:] if not re.search(r'\d', s)]  # by timm, without a word
        if [s for s in ignored if not (policy.startswith('rand') and s.startswith('t'))]:
            raise ValueError
    except (AssertionError, IndexError, KeyError, TypeError, ValueError):
        raise UsageError(
            f"--aa {policy!r}: timm has no such policy: expected 'original', 'v0', '3a', 'rand-m9-mstd0.5', "
            "'augmix-m3' or the like"
        ) from None


def check_backend(name: str | None) -> None:
    """Raise UsageError unless torch.compile has this backend."""
    if not name:
        return
    import torch._dynamo

    known = torch._dynamo.list_backends(exclude_tags=None)
    if name not in known:
        raise UsageError(
            f'--torchcompile {name!r}: torch has no such backend: expected one of {", ".join(known)}'
            f'{did_you_mean(name, known)}'
        )
