"""The explorer: a page in the browser to look at networks, spaces and searches. Only `cli` imports it.

* `launch`: `serve`, from a port to a page that is open
* `server`: `create_app`: what is answered at which address
* `guard`: who may ask for what: hosts, keys, sizes, headers
* `network`: what the page shows of one architecture or two
* `find`: spaces: what sliders reach, random networks, and the decode within budgets
* `folders`: the folder of a search, epoch by epoch, and of a trained model
* `classify`: an image and a trained model
* `worker`: a process of its own for what takes long or needs torch
* `page.html`, `page.css`, `page.js`: the page; it has no logic beyond asking and showing
"""
from typing import TYPE_CHECKING

from .._lazy import lazy_names

if TYPE_CHECKING:
    from .server import create_app

__all__ = ['create_app']

__getattr__, __dir__ = lazy_names(__name__, {'create_app': 'server'})
