"""The costs of timm's small networks, as data for `fpnas_timm/zoo/peers.py`: builds each without weights and counts.

    python benchmarks/peers.py    # prints the lines of the table, in a minute
"""
import logging

import timm

from fpnas_timm.zoo.report import count

# Mobile networks that come from timm's EfficientNet builder or are usual baselines of them, up to 1.2 G multiply-adds.
NAMES = (
    'mobilenetv2_050', 'mobilenetv2_100', 'mobilenetv2_140', 'mobilenetv3_small_050', 'mobilenetv3_small_075',
    'mobilenetv3_small_100', 'mobilenetv3_large_075', 'mobilenetv3_large_100', 'mobilenetv4_conv_small',
    'mobilenetv4_conv_medium', 'mnasnet_small', 'mnasnet_100', 'semnasnet_075', 'semnasnet_100', 'spnasnet_100',
    'fbnetc_100', 'fbnetv3_b', 'fbnetv3_d', 'hardcorenas_a', 'hardcorenas_f', 'tinynet_a', 'tinynet_b', 'tinynet_c',
    'tinynet_d', 'tinynet_e', 'efficientnet_lite0', 'efficientnet_lite1', 'efficientnet_lite2', 'efficientnet_b0',
    'efficientnet_b1', 'efficientnet_b2', 'mixnet_s', 'mixnet_m', 'mixnet_l', 'lcnet_050', 'lcnet_100', 'ghostnet_100',
    'ghostnetv2_100', 'rexnet_100', 'regnety_004', 'regnety_008', 'mobileone_s0', 'convnext_atto', 'resnet18',
    'repvit_m0_9', 'fastvit_t8',
)


def main() -> None:
    logging.getLogger('fvcore').setLevel(logging.ERROR)
    for name in NAMES:
        model = timm.create_model(name).eval()
        channels, *size = model.default_cfg['input_size']
        if channels != 3 or size[0] != size[1]:
            raise ValueError(f'{name}: input {channels, *size}: expected a square of three channels')
        counted = count(model, size[0])
        params = sum(p.numel() for p in model.parameters())
        print(f'    {name!r}: Peer({size[0]}, {counted.macs:_}, {params:_}),', flush=True)


if __name__ == '__main__':
    main()
