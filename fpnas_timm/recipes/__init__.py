"""The paper's training recipes (supplement, section C): YAML files that timm's own `train.py -c FILE` reads unchanged.

* `table`: every option with its source; the YAML files and their comments are generated from it
"""
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UsageError, did_you_mean
from ..runs.parser import load_yaml
from .table import ALIASES, FILES

__all__ = ['Recipe', 'find_recipe', 'recipe_names', 'recipe_table']


@dataclass(frozen=True)
class Recipe:
    """A recipe: the name it was looked up by, its file, and the options in the file."""

    name: str
    path: Path
    options: dict[str, Any]


def recipe_names() -> list[str]:
    """All names, including aliases."""
    return sorted([*FILES, *ALIASES])


def find_recipe(name: str) -> Recipe:
    """Look up a recipe by name.

    Raises:
        UsageError: there is no such recipe; the message suggests a similar name.
    """
    if name not in FILES and name not in ALIASES:
        hint = did_you_mean(name, recipe_names())
        raise UsageError(f'unknown recipe {name!r}{hint} (--list-recipes shows all; a file of your own: -c FILE)')
    path = Path(__file__).parent / f'{ALIASES.get(name, name)}.yaml'
    return Recipe(name, path, load_yaml(path))


def recipe_table() -> str:
    """A table of all recipes, one line each, with the paper's accuracy."""
    rows = [('recipe', 'model', 'toggles', 'paper top-1 (%)', 'source')]
    for name in recipe_names():
        file = FILES[ALIASES.get(name, name)]
        toggles = file.toggles.upper().replace('+', ' ') + (' + distillation' if file.distilled else '')
        table = 'Table B.1' if name in ALIASES and file.top1 else file.table
        rows.append((name, file.model or 'any', toggles, str(file.top1 or '-'), table))
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    lines = ['  '.join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    note = (
        "The accuracies are the paper's, of its networks on ImageNet-1K. Ours are reconstructions, and have not been "
        'trained there.'
    )
    return '\n'.join([*lines, '', note])
