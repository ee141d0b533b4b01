"""Train a network on images: `python train.py --help`; the work is in `fpnas_timm/train.py`."""
import sys

from fpnas_timm.train import main

if __name__ == '__main__':
    sys.exit(main())
