"""The costs of timm's small networks, to compare with. Counted once by `benchmarks/peers.py`; data only."""
from typing import NamedTuple

__all__ = ['PEERS', 'Peer']


class Peer(NamedTuple):
    """A network of timm: its own input size, multiply-adds of convolutions and linear layers there, parameters."""

    img_size: int
    macs: int
    params: int


PEERS: dict[str, Peer] = {  # timm 1.0.31, 1000 classes
    'mobilenetv2_050': Peer(224, 97_131_840, 1_968_680),
    'mobilenetv2_100': Peer(224, 300_774_272, 3_504_872),
    'mobilenetv2_140': Peer(224, 582_195_824, 6_108_776),
    'mobilenetv3_small_050': Peer(224, 24_188_688, 1_593_224),
    'mobilenetv3_small_075': Peer(224, 43_399_344, 2_041_872),
    'mobilenetv3_small_100': Peer(224, 56_510_400, 2_542_856),
    'mobilenetv3_large_075': Peer(224, 154_560_624, 3_993_528),
    'mobilenetv3_large_100': Peer(224, 216_589_760, 5_483_032),
    'mobilenetv4_conv_small': Peer(224, 186_005_568, 3_774_024),
    'mobilenetv4_conv_medium': Peer(256, 1_080_244_224, 9_715_512),
    'mnasnet_small': Peer(224, 68_339_184, 2_030_264),
    'mnasnet_100': Peer(224, 314_415_872, 4_383_312),
    'semnasnet_075': Peer(224, 223_448_480, 2_912_278),
    'semnasnet_100': Peer(224, 311_579_072, 3_887_038),
    'spnasnet_100': Peer(224, 333_467_072, 4_421_616),
    'fbnetc_100': Peer(224, 384_960_160, 5_572_200),
    'fbnetv3_b': Peer(224, 407_508_576, 8_598_464),
    'fbnetv3_d': Peer(224, 501_971_056, 10_306_272),
    'hardcorenas_a': Peer(224, 224_227_936, 5_260_232),
    'hardcorenas_f': Peer(224, 341_905_696, 8_199_688),
    'tinynet_a': Peer(192, 336_867_712, 6_187_972),
    'tinynet_b': Peer(188, 200_709_360, 3_730_562),
    'tinynet_c': Peer(184, 99_536_432, 2_457_234),
    'tinynet_d': Peer(152, 51_580_656, 2_338_446),
    'tinynet_e': Peer(106, 24_356_848, 2_042_972),
    'efficientnet_lite0': Peer(224, 385_187_552, 4_652_008),
    'efficientnet_lite1': Peer(240, 600_185_232, 5_416_680),
    'efficientnet_lite2': Peer(260, 859_736_272, 6_092_072),
    'efficientnet_b0': Peer(224, 385_814_752, 5_288_548),
    'efficientnet_b1': Peer(240, 686_802_832, 7_794_184),
    'efficientnet_b2': Peer(256, 859_853_760, 9_109_994),
    'mixnet_s': Peer(224, 239_173_360, 4_134_606),
    'mixnet_m': Peer(224, 339_172_672, 5_014_382),
    'mixnet_l': Peer(224, 555_251_792, 7_329_252),
    'lcnet_050': Peer(224, 44_731_008, 1_880_856),
    'lcnet_100': Peer(224, 155_700_480, 2_953_800),
    'ghostnet_100': Peer(224, 141_150_512, 5_182_508),
    'ghostnetv2_100': Peer(224, 167_048_288, 6_156_908),
    'rexnet_100': Peer(224, 398_370_392, 4_796_873),
    'regnety_004': Peer(224, 401_842_848, 4_344_144),
    'regnety_008': Peer(224, 797_176_832, 6_263_168),
    'mobileone_s0': Peer(224, 1_051_935_232, 5_293_272),
    'convnext_atto': Peer(224, 547_332_480, 3_695_520),
    'resnet18': Peer(224, 1_814_073_344, 11_689_512),
    'repvit_m0_9': Peer(224, 817_280_832, 5_489_328),
    'fastvit_t8': Peer(256, 690_149_376, 4_026_232),
}
