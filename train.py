"""Train a network on images: `python train.py --help`; the work is in `fpnas_timm/train/`."""
import sys

from fpnas_timm.cli.runs import train_main

if __name__ == '__main__':
    sys.exit(train_main(prog='train.py'))
