"""Scores networks of a finished search as its finalists were scored: with its supernet, on its images."""
import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import UsageError
from ..spaces.ranked import Ranked
from .finalists import Candidate, Finals
from .folder import check_same, check_stamp, read_record
from .learned import Learned
from .options import search_options
from .run import given_images
from .setup import set_up
from .state import load_state

__all__ = ['Scorer']


class Scorer:
    """The supernet and the images of a finished search, in one process, on the device that is there.

    Attributes:
        data_config: timm's data config of the extracted networks.
        class_names: names of the classes.
        training: what an extracted network records of its weights.
    """

    def __init__(self, learned: Learned, given: Mapping[str, Any]) -> None:
        """
        Args:
            learned: the finished search.
            given: `dataset`, `alpha_dataset`, `data_dir` and `workers` of `decode_family`.

        Raises:
            UsageError: the images are not there or not those of the search, or the search has no checkpoint.
        """
        folder = learned.folder
        if learned.state is None:
            raise UsageError(
                f'{folder}: no weights there (last.pt does not exist), so networks can be decoded, but not scored'
            )
        options = {k: given[k] for k in ('data_dir', 'workers') if given.get(k) is not None}
        args = search_options({**options, 'resume': str(folder)})
        then, args.device = args.device, 'auto'
        setup = set_up(args, None, given_images(given.get('dataset'), given.get('alpha_dataset')))
        record = {**setup.record, 'processes': read_record(folder).get('processes')}
        check_same(folder, record, {**setup.settings, 'device': then})
        check_stamp(folder, learned.state, record, {**setup.settings, 'device': then})
        load_state(setup.search, learned.state, folder)
        self.setup = setup
        self.data_config, self.class_names = setup.data_config, setup.class_names
        self.training: dict[str, Any] = {
            'search': {'weights': 'inherited from the supernet, not trained on their own', 'space': setup.space.name}
        }
        if init_from := setup.record.get('init_from'):
            self.training['init_from'] = dict(init_from)
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> 'Scorer':
        self._stack.callback(self.setup.evaluator.close)
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def final(self, decoded: Sequence[Ranked]) -> Finals:
        """A final of these networks, at its end."""
        setup = self.setup
        final = Finals(
            setup.evaluator, [Candidate(network.choices, network.log_prob) for network in decoded],
            setup.calibration_batches, 0, setup.search.num_epochs, setup.open_optimizer, shows_bar=True,
        )
        final.run()
        return final
