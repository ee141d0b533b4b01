"""How fast the explorer is: answers to edits, and the decode of each of the paper's spaces, over HTTP.

    python benchmarks/app.py              # Markdown
    python benchmarks/app.py --browser    # also from a key to the picture, in Chromium (needs Playwright)
"""
import argparse
import http.client
import json
import os
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import time
from typing import Any

from fpnas_timm.paper import TABLE_B1
from fpnas_timm.spaces import get_space, list_spaces

EDITS = 200  # per space
BUDGETS = (0.7, 1.0, 1.4)  # of the multiply-adds of Table B.1, or of the middle of the slider


class Server:
    """`fpnas app` and a connection to it."""

    def __enter__(self) -> 'Server':
        command = [sys.executable, '-m', 'fpnas_timm', 'app', '--port', '0', '--no-browser']
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        found = re.search(r'http://127\.0\.0\.1:(\d+)/\S*', self.process.stdout.readline())
        assert found is not None
        self.url, port = found[0], int(found[1])
        self.connection = http.client.HTTPConnection('127.0.0.1', port, timeout=300)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGINT)
        self.process.wait()

    def ask(self, name: str, **asked: Any) -> tuple[dict[str, Any], float]:
        """The answer, and the seconds that it took."""
        start = time.perf_counter()
        self.connection.request('POST', f'/api/{name}', json.dumps(asked), {'content-type': 'application/json'})
        found = json.loads(self.connection.getresponse().read())
        return found, time.perf_counter() - start


def edits(server: Server, space: str) -> list[float]:
    """Milliseconds of answers to changes of one group in random networks of a space."""
    own, rng, times = get_space(space), random.Random(0), []
    server.ask('network', a=own.describe(own.sample(rng)), space=space)  # the random networks of the scatter
    for _ in range(EDITS):
        group = rng.randrange(len(own.rows))
        edit = {'group': group, 'changes': {'channels': rng.choice(own.rows[group].channels)}}
        answer, seconds = server.ask('network', a=own.describe(own.sample(rng)), space=space, edit=edit)
        assert 'figure' in answer['a'], answer
        times.append(1000 * seconds)
    return times


def decodes(space: str) -> tuple[float, list[float]]:
    """Seconds of the first decode of a space by a new server, and of later ones."""
    with Server() as server:
        row = TABLE_B1.get(space)
        start = time.perf_counter()  # the page asks for the space, which starts the preparation; then for the decode
        found, _ = server.ask('space', space=space)
        middle = row.macs * 1e6 if row else found['stops']['macs'][len(found['stops']['macs']) // 2]
        times = []
        for share in (*BUDGETS, *BUDGETS):
            both = {'params': row.params * 1e6} if row and share == 1 and len(times) > len(BUDGETS) else {}
            answer, seconds = server.ask('decode', space=space, macs=share * middle, **both)
            assert 'arch' in answer, answer
            times.append(seconds if times else time.perf_counter() - start)
    return times[0], times[1:]


def browser(url: str) -> list[float]:
    """Milliseconds from a change of the string until its network is on the page."""
    from playwright.sync_api import sync_playwright

    script = """strings => (async () => {
        const [box, cards] = [document.getElementById('a'), document.getElementById('a-cards')];
        const times = [];
        for (const string of strings) {
            const before = cards.textContent;
            const start = performance.now();
            box.value = string;
            box.dispatchEvent(new Event('input'));
            while (cards.textContent === before) await new Promise(requestAnimationFrame);
            times.push(performance.now() - start);
        }
        return times;
    })()"""
    rng, space = random.Random(0), get_space('fpnas_l0')
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=shutil.which('chromium'), args=['--headless', '--no-sandbox', '--disable-gpu'],
        )
        page = chromium.new_page()
        page.goto(url)
        page.wait_for_selector('#a-figure svg')
        times = page.evaluate(script, [space.describe(space.sample(rng)) for _ in range(EDITS)])
        chromium.close()
    return times


def shown(times: list[float]) -> str:
    return f'{statistics.median(times):.0f} | {statistics.quantiles(times, n=20)[-1]:.0f}'


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument('--browser', action='store_true')
    args = parser.parse_args()
    print(f'load {os.getloadavg()[0]:.1f} at the start, {os.cpu_count()} cores\n')
    print('| space | edit, ms: median | 95 % | decode, s: first | later: median | longest |\n|---|---|---|---|---|---|')
    with Server() as server:
        answers = {space: edits(server, space) for space in list_spaces()}
        seen = browser(server.url) if args.browser else []
    for space, times in answers.items():
        first, later = decodes(space)
        median, longest = statistics.median(later), max(later)
        print(f'| {space} | {shown(times)} | {first:.1f} | {median:.1f} | {longest:.1f} |', flush=True)
    if seen:
        print(f'\nin the browser, fpnas_l0, from a key to the picture: {shown(seen)} ms')
    print(f'\nload {os.getloadavg()[0]:.1f} at the end')


if __name__ == '__main__':
    main()
