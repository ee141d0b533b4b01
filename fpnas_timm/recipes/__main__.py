"""`python -m fpnas_timm.recipes`: write the YAML files again from `table.py`."""
from pathlib import Path

from .table import write_files

write_files(Path(__file__).parent)
