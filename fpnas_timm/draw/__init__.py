"""Pictures and reports. matplotlib is only imported here, and only when a picture file is drawn.

* `arch`: an architecture, as Figure B.1
* `search`: the course of a search
* `candidates`: that of one that scores candidates
* `scatter`: costs of networks against each other
* `finalists`: the networks that were compared at its end
* `family`: networks for many budgets from one search
* `training`: losses, accuracies and learning rate
* `report`, `compare`: the web page about a search, and about several; of these
  * `searched`: what is known about a search
  * `charts`, `clouds`, `svg`: charts as SVG
  * `boxes`: Figure B.1 as SVG, also of averages
  * `heatmap`: the distribution
  * `markup`, `page.css`, `page.js`: the frame, style and script of the page
"""
from .arch import draw_arch

__all__ = ['draw_arch']
