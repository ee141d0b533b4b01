"""Lightning: a module around a model of ours, trained by its Trainer, checkpointed and loaded back."""
from pathlib import Path

import pytest
import timm
import timm.optim
import torch
import torch.nn.functional as F

import fpnas_timm  # noqa: F401
from tests.pipelines.on_digits import ARCH, batches, top1

L = pytest.importorskip('lightning')


class Classifier(L.LightningModule):
    def __init__(self, arch: str, num_classes: int, lr: float = 3e-3) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = timm.create_model('fpnas', arch=arch, num_classes=num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x)

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], index: int) -> torch.Tensor:
        x, y = batch
        loss = F.cross_entropy(self(x), y)
        self.log('train_loss', loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return timm.optim.create_optimizer_v2(self, 'adamw', lr=self.hparams.lr)


def test_trainer_learns_the_digits(digits: Path, tmp_path: Path) -> None:
    L.seed_everything(0)
    data = batches(digits, 'train')
    net = Classifier(ARCH, 10)
    trainer = L.Trainer(
        max_epochs=3, accelerator='cpu', default_root_dir=tmp_path, logger=False, enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(net, torch.utils.data.DataLoader(data, batch_size=None, shuffle=True))
    held_out = batches(digits, 'validation')
    accuracy = top1(net.eval(), held_out)
    assert accuracy > 85
    trainer.save_checkpoint(tmp_path / 'last.ckpt')
    # the hyperparameters hold the string, so that the checkpoint is enough
    again = Classifier.load_from_checkpoint(tmp_path / 'last.ckpt', weights_only=True).eval()
    assert str(again.net.arch) == ARCH and top1(again, held_out) == accuracy
