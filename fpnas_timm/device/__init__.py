"""Networks on the device that they are for: how long they take there, and files that run there.

Latency:

* `work`: what a network has to do, by kind of operation
* `latency_fit`: how long each kind takes, from the times of whole networks
* `latency_table`: `LatencyTable`, a file that says so; its additive cost for the decode and the search
* `runtimes`: the runtimes that times are measured in
* `latency_rounds`: times of networks that take turns
* `latency_measure`: `measure_latency`, `check_table`, `measure_network`: from networks to a table, and back

Files:

* `export`: a network as a file for another runtime, checked
* `formats`: the file formats, written and read
* `int8`: static quantisation
* `preprocessing`: resize, crop and normalisation in the graph
* `metadata`: what a file says of itself
* `export_checks`: outputs and latencies compared with PyTorch's
* `opened`: the network that is exported: a name, a string, a folder
* `programs`: an exported file, opened
* `image_files`: images to predict or to calibrate with
* `predict`: the most probable classes of images
"""
from typing import TYPE_CHECKING

from .._lazy import lazy_names

if TYPE_CHECKING:
    from .latency_measure import check_table, measure_latency, measure_network
    from .latency_table import LatencyTable

__all__ = ['LatencyTable', 'check_table', 'measure_latency', 'measure_network']

__getattr__, __dir__ = lazy_names(__name__, {
    'LatencyTable': 'latency_table',
    **dict.fromkeys(('check_table', 'measure_latency', 'measure_network'), 'latency_measure'),
})
