"""A reader of the pages of reports: their tree, what must hold for every page, and parts of them."""
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

VOID = {'meta', 'input', 'br', 'img', 'link', 'hr'}
URL = re.compile(r'\w+://[^"\s]+')


class Element:
    """An element of a page: its name, attributes, children and own text."""

    def __init__(self, name: str, attributes: dict[str, str]) -> None:
        self.name, self.attributes, self.children, self.text = name, attributes, [], ''

    def all(self, name: str, **attributes: str) -> 'list[Element]':
        """The elements below of this name whose attributes (`kind`: class) contain these words."""
        wanted = {{'kind': 'class'}.get(k, k.replace('_', '-')): v for k, v in attributes.items()}
        found = []
        for child in self.children:
            if child.name == name and all(v in (child.attributes.get(k) or '').split() for k, v in wanted.items()):
                found.append(child)
            found += child.all(name, **attributes)
        return found

    @property
    def content(self) -> str:
        return self.text + ''.join(child.content for child in self.children)


class Page(HTMLParser):
    """The tree of a page; ValueError if an element is closed that is not open, or one stays open."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.root = Element('', {})
        self.open = [self.root]
        self.feed(text)
        self.close()
        if len(self.open) > 1:
            raise ValueError(f'not closed: {[e.name for e in self.open]}')

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {k: v or '' for k, v in attrs})
        self.open[-1].children.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open[-1].children.append(Element(tag, {k: v or '' for k, v in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if self.open[-1].name != tag:
            raise ValueError(f'</{tag}> in <{self.open[-1].name}>')
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.open[-1].text += data


def rows(table: Element) -> list[list[str]]:
    return [[cell.content for cell in row.children] for row in table.all('tr')]


def section(page: Page, name: str) -> Element:
    [found] = page.root.all('section', id=name)
    return found


def data(page: Page, name: str) -> dict:
    [found] = page.root.all('script', id=name)
    return json.loads(found.text)


def files(folder: Path) -> tuple[list[dict], dict]:
    history = [json.loads(line) for line in (folder / 'history.jsonl').read_text().splitlines()]
    return history, json.loads((folder / 'result.json').read_text())


def check_file(text: str) -> Page:
    """What holds for every page: well-formed, complete for those who do not see it, nothing from elsewhere."""
    assert set(URL.findall(text)) == {'http://www.w3.org/2000/svg'}
    pictures = re.findall(r'<svg.*?</svg>', text, re.DOTALL)
    for picture in pictures:
        root = ElementTree.fromstring(picture)
        assert root.get('aria-hidden') == 'true' or (root.get('role') == 'img' and root.get('aria-label'))
        numbers = [float(n) for e in root.iter() for k in ('x', 'y', 'cx', 'cy') if (n := e.get(k))]
        assert all(-100 < n < 5000 for n in numbers)
    page = Page(text)
    ids = [e.attributes['id'] for name in ('section', 'script', 'input', 'pattern') for e in page.root.all(name)
           if 'id' in e.attributes]
    assert len(set(ids)) == len(ids)
    assert not {e.name for e in page.root.all('img') + page.root.all('link') + page.root.all('iframe')}
    links = [a.attributes['href'] for a in page.root.all('a')]
    assert links and {link.removeprefix('#') for link in links} <= set(ids)
    assert all(e.attributes.get('aria-label') for e in page.root.all('div', kind='scroll'))
    assert [e.name for e in page.root.all('h1')] == ['h1'] and page.root.all('html')[0].attributes['lang'] == 'en'
    return page
