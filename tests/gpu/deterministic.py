"""Deterministic algorithms of torch: for `--device-modules tests.gpu.deterministic`, or `python -m .. search ARGS`."""
import sys

import torch

torch.use_deterministic_algorithms(True)
torch.backends.cudnn.allow_tf32 = False  # as in the tests' own process, with which results are compared bit by bit

if __name__ == '__main__':
    from fpnas_timm.cli import main

    sys.exit(main())
