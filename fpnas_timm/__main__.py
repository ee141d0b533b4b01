"""`python -m fpnas_timm COMMAND` is `fpnas COMMAND`; also for `torchrun -m fpnas_timm train ..`."""
import sys

from .cli import main

sys.exit(main())
