"""torch.hub: `torch.hub.load('FOLDER_OF_THIS_REPO', 'fpnas_l0', source='local', num_classes=10)`."""
dependencies = ['torch', 'timm', 'safetensors', 'huggingface_hub']

from fpnas_timm.zoo import (  # noqa: E402, F401
    fpnas,
    fpnas_l0,
    fpnas_l1,
    fpnas_l2,
    fpnas_s1pp,
    fpnas_s2pp,
    fpnas_s3pp,
    fpnas_s4pp,
)
