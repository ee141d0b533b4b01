"""Search a network for your images and your budget: `python search.py --help`; the work is in `fpnas_timm/search/`."""
import sys

from fpnas_timm.cli.runs import search_main

if __name__ == '__main__':
    sys.exit(search_main(prog='search.py'))
