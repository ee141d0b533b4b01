"""A network made smaller by Torch-Pruning (https://github.com/VainF/Torch-Pruning, `pip install torch-pruning`)."""
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from fpnas_timm.model.supernet import recalibrate


def pruned(
        model: nn.Module, images: torch.Tensor, target: float, importance: str, num_classes: int
) -> tuple[nn.Module, int]:
    """The network, pruned globally until it meets the target, and its multiply-adds.

    Args:
        model: a timm network with its weights, whose classifier is `classifier`, on the device of the images; changed.
        images: normalised images (B, C, H, W) that importances and batch-norm statistics come from.
        target: multiply-adds with the new classifier, at the images' size.
        importance: 'norm' for group norms, 'taylor' for the group Taylor importance.
        num_classes: of the new classifier, which is random.
    """
    import torch_pruning as tp

    example = images[:2]
    chosen = {'norm': tp.importance.GroupMagnitudeImportance, 'taylor': tp.importance.GroupTaylorImportance}
    pruner = tp.pruner.MetaPruner(
        model, example, importance=chosen[importance](), global_pruning=True, iterative_steps=400, pruning_ratio=0.97,
        max_pruning_ratio=0.9, ignored_layers=[model.classifier],
    )
    counted = 0
    for step in range(400):
        if importance == 'taylor' and step % 10 == 0:
            model.zero_grad()
            for x in images[:256].split(64):
                logits = model(x)
                F.cross_entropy(logits, logits.argmax(1)).backward()  # its own predictions are the labels
        pruner.step()
        counted = count_macs(model, example, num_classes)
        if counted <= target:
            break
    model = recalibrate(model, images.split(64))
    model.classifier = nn.Linear(model.classifier.in_features, num_classes)  # type: ignore[arg-type]
    return model.to(images.device), counted


def count_macs(model: nn.Module, example: torch.Tensor, num_classes: int) -> int:
    """Multiply-adds of convolutions and a classifier of so many classes, as the strings are counted."""
    total = 0

    def add(layer: nn.Module, _: Any, out: torch.Tensor) -> None:
        nonlocal total
        if isinstance(layer, nn.Conv2d):
            total += layer.weight[0].numel() * out[0].numel()
        elif isinstance(layer, nn.Linear):
            total += layer.in_features * num_classes

    hooks = [layer.register_forward_hook(add) for layer in model.modules()]
    training = model.training
    with torch.no_grad():
        model.eval()(example[:1])
    model.train(training)
    for hook in hooks:
        hook.remove()
    return total
