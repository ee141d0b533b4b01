"""The architecture strings of the named models: **reconstructions**, not the paper's encodings.

`fpnas reconstruct NAME` derives each of them again with `reconstruct.py`.
"""


__all__ = ['ARCHS']

# Reconstructions, see the module's docstring.
ARCHS = {
    'fpnas_s1pp': (
        'i128-cn_r1_k3_s2_c16_nsw-ir_r1_k3_s1_e1_c12_nre-ir_r1_k3_s2_e1.5_c16_nre-ir_r2_k3_s1_e2.25_c20_nre-'
        'ir_r1_k3_s2_e2.25_c24_nre-ir_r2_k3_s1_e3_c32_nre_sp1-ir_r1_k5_s2_e2.25_c64_nsw_sp1-'
        'ir_r2_k5_s1_e3_c72_nsw_sp1-ir_r3_k5_s1_e3.75_c112_nsw_sp2-ir_r1_k5_s2_e3_c176_nsw_sp2-'
        'ir_r3_k5_s1_e3.75_c176_nsw_sp4-cn_r1_k1_s1_c1984_nsw'
    ),
    'fpnas_s2pp': (
        'i160-cn_r1_k3_s2_c16_nsw-ir_r1_k3_s1_e1_c12_nre-ir_r1_k3_s2_e1.5_c16_nre-ir_r2_k3_s1_e2.25_c20_nre-'
        'ir_r1_k3_s2_e1.5_c24_nre-ir_r2_k3_s1_e2.25_c32_nre_sp1-ir_r1_k5_s2_e2.25_c64_nsw_sp1-'
        'ir_r2_k5_s1_e3_c72_nsw_sp1-ir_r3_k5_s1_e3.75_c112_nsw_sp2-ir_r1_k5_s2_e3_c168_nsw_sp2-'
        'ir_r3_k5_s1_e3.75_c176_nsw_sp4-cn_r1_k1_s1_c1984_nsw'
    ),
    'fpnas_s3pp': (
        'i192-cn_r1_k3_s2_c16_nsw-ir_r1_k3_s1_e1_c12_nre-ir_r1_k3_s2_e2.25_c16_nre-ir_r2_k3_s1_e3_c20_nre-'
        'ir_r1_k3_s2_e2.25_c24_nre-ir_r2_k3_s1_e2.25_c32_nre_sp1-ir_r1_k5_s2_e2.25_c72_nsw_sp1-'
        'ir_r2_k5_s1_e3_c80_nsw_sp1-ir_r3_k5_s1_e3.75_c112_nsw_sp2-ir_r1_k5_s2_e3_c160_nsw_sp2-'
        'ir_r3_k5_s1_e3.75_c176_nsw_sp4-cn_r1_k1_s1_c1984_nsw'
    ),
    'fpnas_s4pp': (
        'i224-cn_r1_k3_s2_c16_nsw-ir_r1_k3_s1_e1_c12_nre-ir_r1_k3_s2_e3_c20_nre-ir_r2_k3_s1_e4.5_c24_nre-'
        'ir_r1_k3_s2_e3_c32_nre-ir_r2_k5_s1_e4.5_c40_nre_sp1-ir_r1_k5_s2_e3_c72_nsw_sp1-'
        'ir_r2_k5_s1_e4.5_c80_nsw_sp1-ir_r3_k5_s1_e4.5_c112_nsw_sp2-ir_r1_k5_s2_e3_c168_nsw_sp2-'
        'ir_r3_k5_s1_e3.75_c184_nsw_sp4-cn_r1_k1_s1_c1984_nsw'
    ),
    'fpnas_l0': (
        'i224-cn_r1_k3_s2_c16_nsw-ir_r1_k3_s1_e2.25_c8_nre-ir_r2_k3_s2_e2.25_c16_nre-ir_r2_k3_s1_e3_c24_nre-'
        'ir_r2_k3_s2_e3_c32_nre-ir_r2_k3_s1_e3_c32_nre-ir_r4_k5_s2_e3_c80_nre_sp1-ir_r3_k5_s1_e3.75_c80_nsw_sp1-'
        'ir_r3_k5_s1_e4.5_c136_nsw_sp1-ir_r2_k5_s2_e3.75_c192_nsw_sp2-ir_r2_k5_s1_e3.75_c208_nsw_sp2-'
        'ir_r2_k5_s1_e4.5_c280_nsw_sp4-cn_r1_k1_s1_c1984_nsw'
    ),
    'fpnas_l1': (
        'i240-cn_r1_k3_s2_c24_nsw-ir_r1_k3_s1_e2.25_c16_nre-ir_r2_k3_s2_e2.25_c24_nre-ir_r2_k3_s1_e2.25_c24_nre-'
        'ir_r3_k3_s2_e3_c40_nre-ir_r2_k3_s1_e3_c40_nre-ir_r3_k3_s2_e3_c80_nre_sp1-ir_r3_k5_s1_e3_c96_nre_sp1-'
        'ir_r3_k5_s1_e3_c136_nsw_sp1-ir_r3_k5_s1_e3.75_c136_nsw_sp1-ir_r2_k5_s2_e3.75_c216_nsw_sp2-'
        'ir_r2_k5_s1_e3.75_c232_nsw_sp2-ir_r2_k5_s1_e3.75_c304_nsw_sp2-ir_r2_k5_s1_e3.75_c320_nsw_sp4-'
        'cn_r1_k1_s1_c1984_nsw'
    ),
    'fpnas_l2': (
        'i256-cn_r1_k3_s2_c24_nsw-ir_r1_k3_s1_e3_c16_nre-ir_r2_k3_s2_e3_c24_nre-ir_r2_k3_s1_e3_c24_nre-'
        'ir_r3_k3_s2_e3_c40_nre-ir_r2_k3_s1_e3_c40_nre-ir_r3_k3_s2_e3_c96_nre_sp1-ir_r3_k5_s1_e3_c96_nre_sp1-'
        'ir_r3_k5_s1_e3.75_c152_nsw_sp1-ir_r3_k5_s1_e4.5_c152_nsw_sp1-ir_r2_k5_s2_e3.75_c232_nsw_sp2-'
        'ir_r2_k5_s1_e3.75_c248_nsw_sp2-ir_r2_k5_s1_e3.75_c336_nsw_sp2-ir_r2_k5_s1_e4.5_c336_nsw_sp4-'
        'cn_r1_k1_s1_c1984_nsw'
    ),
}
