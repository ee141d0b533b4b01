"""Makes the relative links and pictures of README.md absolute, for a package index, which has no other files.

    python .github/absolute_links.py https://github.com/ORG/NAME v1.2.3

Run by release.yml on its own checkout, before the package is built; `make package` alone leaves the README as it is.
"""
import re
import sys
from pathlib import Path

README = Path(__file__).parents[1] / 'README.md'


def absolute(text: str, repository: str, tag: str) -> str:
    """The text with absolute links: pictures at `raw/`, pages at `blob/`.

    >>> absolute('[a](docs/a.md#b) ![c](docs/c.png) [d](https://d.org) [e](#e)', 'https://x.org/y', 'v1')
    '[a](https://x.org/y/blob/v1/docs/a.md#b) ![c](https://x.org/y/raw/v1/docs/c.png) [d](https://d.org) [e](#e)'
    """
    def replaced(match: re.Match[str]) -> str:
        kind = 'raw' if match[1].startswith('!') else 'blob'
        return f'{match[1]}({repository}/{kind}/{tag}/{match[2]})'

    return re.sub(r'(!?\[[^\]]*\])\((?![a-z]+:|#)([^)\s]+)\)', replaced, text)


if __name__ == '__main__':
    README.write_text(absolute(README.read_text(encoding='utf-8'), *sys.argv[1:]), encoding='utf-8')
