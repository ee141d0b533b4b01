"""fastai's `vision_learner`: a trained folder as it is, a string by its name, without pretrained weights."""
from pathlib import Path

import pytest
import timm
import torch

from fpnas_timm import register_arch
from fpnas_timm.errors import RunError
from tests.pipelines.on_digits import ARCH

vision = pytest.importorskip('fastai.vision.all')


@pytest.fixture(scope='module')
def images(digits: Path) -> object:
    return vision.ImageDataLoaders.from_folder(
        digits / 'data', train='train', valid='validation', bs=64, num_workers=0, device='cpu', seed=0
    )


def test_trained_folder_is_fine_tuned(images: object, digits: Path, tmp_path: Path) -> None:
    """The default `pretrained=True` takes the weights of the folder."""
    name = f'local-dir:{digits}/saved'
    learner = vision.vision_learner(images, name, metrics=vision.accuracy, path=tmp_path)
    body = learner.model[0].model
    weights = timm.create_model(name, pretrained=True).state_dict()
    assert all(torch.equal(v, weights[k]) for k, v in body.state_dict().items())
    assert images.after_batch.fs[-1].mean.flatten().tolist() == pytest.approx(body.pretrained_cfg['mean'])
    with learner.no_bar(), learner.no_logging():
        learner.fine_tune(1, 3e-3)
    assert learner.validate()[1] > 0.9


def test_string_by_its_name(images: object, tmp_path: Path) -> None:
    register_arch('fastai_net', ARCH)
    with pytest.raises(RunError, match='pretrained=False'):  # fastai's default asks for weights
        vision.vision_learner(images, 'fastai_net')
    learner = vision.vision_learner(images, 'fastai_net', pretrained=False, path=tmp_path)
    assert str(learner.model[0].model.arch) == ARCH
    with learner.no_bar(), learner.no_logging():
        learner.fit_one_cycle(1, 1e-3)
    assert learner.recorder.losses[-1] < learner.recorder.losses[0]
