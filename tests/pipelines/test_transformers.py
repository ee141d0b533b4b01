"""transformers: a local folder of ours as `TimmWrapperForImageClassification`."""
import json
from pathlib import Path

import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file

import fpnas_timm
from tests.pipelines.on_digits import ARCH, batches, top1

transformers = pytest.importorskip('transformers')


def test_same_logits_and_labels(model_folder: Path, digits: Path) -> None:
    model = timm.create_model(f'local-dir:{model_folder}', pretrained=True).eval()
    theirs = transformers.TimmWrapperForImageClassification.from_pretrained(model_folder).eval()
    assert list(theirs.config.id2label.values()) == [str(i) for i in range(10)]
    data = batches(digits, 'validation')
    with torch.no_grad():
        for x, _ in data[:2]:
            torch.testing.assert_close(theirs(x).logits, model(x))
    assert top1(lambda x: theirs(x).logits, data) == top1(model, data)


def test_pipeline_reads_an_image(model_folder: Path, digits: Path) -> None:
    processor = transformers.AutoImageProcessor.from_pretrained(model_folder)
    pipe = transformers.pipeline('image-classification', model=str(model_folder), image_processor=processor)
    files = sorted((digits / 'data' / 'validation' / '4').glob('*.png'))[:10]
    answers = [pipe(Image.open(f), top_k=1)[0]['label'] for f in files]
    assert answers.count('4') >= 8


def test_fine_tuning_with_other_labels(model_folder: Path, digits: Path) -> None:
    net = transformers.AutoModelForImageClassification.from_pretrained(
        model_folder, num_labels=3, ignore_mismatched_sizes=True
    )
    images, target = batches(digits, 'train')[0]
    loss = net(images, labels=target % 3).loss
    loss.backward()
    assert net.timm_model.classifier.weight.shape[0] == 3 and net.timm_model.stem.conv.weight.grad.abs().sum() > 0


def test_save_pretrained_and_back(model_folder: Path, tmp_path: Path) -> None:
    net = transformers.AutoModelForImageClassification.from_pretrained(model_folder).eval()
    net.save_pretrained(tmp_path)
    again = transformers.AutoModelForImageClassification.from_pretrained(tmp_path).eval()
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(net(x).logits, again(x).logits)


def test_backbone_saved_and_back(model_folder: Path, tmp_path: Path) -> None:
    """As docs/pipelines.md says, since its own `from_pretrained` takes every folder for the name of a timm model."""
    net = transformers.TimmBackbone.from_pretrained(f'local-dir:{model_folder}', out_indices=(0, 1)).eval()
    with torch.no_grad():
        for p in net.parameters():
            p.mul_(1.01)  # no longer what is in the folder
    net.save_pretrained(tmp_path / 'saved')
    again = transformers.TimmBackbone(transformers.TimmBackboneConfig.from_pretrained(tmp_path / 'saved')).eval()
    again.load_state_dict(load_file(tmp_path / 'saved' / 'model.safetensors'))
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        for ours, theirs in zip(again(x).feature_maps, net(x).feature_maps, strict=True):
            assert torch.equal(ours, theirs)
    theirs = transformers.TimmBackbone(transformers.TimmBackboneConfig(backbone='resnet18'))
    theirs.save_pretrained(tmp_path / 'theirs')
    with pytest.raises(ValueError, match='looks like a Hugging Face Hub repo id'):  # if it works: change the docs
        transformers.TimmBackbone.from_pretrained(str(tmp_path / 'theirs'))


def test_what_timm_saves_is_refused_by_the_peer(model_folder: Path, digits: Path, tmp_path: Path) -> None:
    """Why `fpnas hub push --dry-run -o` is there. If this fails, transformers or timm has fixed it: change the docs."""
    timm.models.save_for_hf(timm.create_model('resnet18', num_classes=3), tmp_path, safe_serialization=True)
    with pytest.raises(TypeError, match="multiple values for keyword argument 'num_classes'"):
        transformers.TimmWrapperForImageClassification.from_pretrained(tmp_path)
    assert 'num_classes' not in json.loads((digits / 'saved' / 'config.json').read_text())['model_args']


def test_backbone_is_saved_and_read_back(tmp_path: Path) -> None:
    """`TimmBackbone.from_pretrained` takes a name of timm's only, so what was saved is read as a config and weights."""
    fpnas_timm.register_arch('backbone_net', ARCH)
    config = transformers.TimmBackboneConfig(backbone='backbone_net', out_indices=[1, 2])
    backbone = transformers.TimmBackbone(config).eval()
    for buffer in backbone.buffers():
        if buffer.is_floating_point():
            buffer.uniform_(0.5, 1.5)
    backbone.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match='no source prefix'):  # of every model, timm's too
        transformers.TimmBackbone.from_pretrained(str(tmp_path))
    again = transformers.TimmBackbone(transformers.TimmBackboneConfig.from_pretrained(tmp_path)).eval()
    again.load_state_dict(load_file(tmp_path / 'model.safetensors'))
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        for found, want in zip(again(x).feature_maps, backbone(x).feature_maps, strict=True):
            assert torch.equal(found, want)


def test_backbone_from_a_trained_folder(digits: Path) -> None:
    """transformers resets the batch-norm statistics of every timm network; they are to be loaded once more."""
    name, options = f'local-dir:{digits}/saved', dict(out_indices=[0, 2])
    features = timm.create_model(name, pretrained=True, features_only=True, **options).eval()
    backbone = transformers.TimmBackbone.from_pretrained(name, **options).eval()
    lost = [k for k, v in backbone._backbone.state_dict().items() if not torch.equal(v, features.state_dict()[k])]
    assert lost and all('running_' in k or 'num_batches' in k for k in lost), 'mended? Then shorten docs/pipelines.md'
    backbone._backbone.load_state_dict(features.state_dict())
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        for found, want in zip(backbone(x).feature_maps, features(x), strict=True):
            assert torch.equal(found, want)
