"""torch.hub: `torch.hub.load('FOLDER_OF_THIS_REPO', 'fpnas_l0', source='local', num_classes=10)`."""
dependencies = ['torch', 'timm', 'safetensors', 'huggingface_hub']

