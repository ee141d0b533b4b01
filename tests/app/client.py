"""A client of the explorer as its page is one."""
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip('starlette')
from starlette.testclient import TestClient

from fpnas_timm.app.guard import cookie_name
from fpnas_timm.app.server import create_app

PORT, KEY = 7860, 'secret'
TINY = 'i64-cn_k3_s2_c16_nsw-ir_r3_k3_s2_e3_c24_nre-ir_k5_s2_e3_c40_nsw_sp2-cn_k1_c256_nsw'


class Page:
    """`ask` is what the page does; `client` for everything else."""

    def __init__(self, client: TestClient) -> None:
        self.client = client

    def ask(self, name: str, **asked: Any) -> dict[str, Any]:
        answer = self.client.post(f'/api/{name}', json=asked)
        assert answer.status_code == 200
        found = answer.json()
        assert 'Traceback' not in answer.text
        return found


def opened(key: str | None = KEY, cookie: str | None = KEY) -> Iterator[Page]:
    """The page of a server with this key, in a browser with this cookie."""
    app = create_app(key, PORT if key else 0)
    cookies = {cookie_name(PORT): cookie} if cookie else {}
    with TestClient(app, base_url=f'http://127.0.0.1:{PORT}', cookies=cookies) as client:
        yield Page(client)


@pytest.fixture
def page() -> Iterator[Page]:
    yield from opened()
