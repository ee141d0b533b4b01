"""What each test function of timm's `test_models.py` means for our models: run for every one, or the reason why not.

A function of timm's file that neither table names fails the suite, so that a new version of timm has to be looked at.
"""

# By timm's own `list_models`, which the plugin restricts to our models.
LISTED = frozenset({
    'test_model_forward', 'test_model_backward', 'test_model_default_cfgs', 'test_model_forward_torchscript',
    'test_model_forward_features', 'test_model_forward_intermediates_features', 'test_model_forward_intermediates',
    'test_prune_intermediate_layers_contract', 'test_model_forward_fx', 'test_model_backward_fx',
    'test_model_forward_fx_torchscript',
})

# timm runs these on a few models that it names, but their bodies hold for any convolutional network.
POINTED = frozenset({
    'test_reset_classifier_keeps_pool', 'test_features_only_grad_checkpointing_backward',
    'test_model_features_output_stride', 'test_feature_getter_stage_ends_torchscript',
    'test_prune_intermediate_layers_params_used', 'test_head_hidden_size',
    'test_model_forward_torchscript_with_features_fx', 'test_features_only_feature_cls_class',
    'test_forward_after_prune_intermediate_layers', 'test_forward_intermediates_stop_early_final_norm',
    'test_prune_to_stem_feature',
})

NOT_OURS = {
    'test_model_inference': "downloads weights and timm's reference outputs; no weights of ours are published",
    'test_model_load_pretrained': 'no weights are published; tests/weights covers loading',
    'test_model_features_pretrained': 'no weights are published; tests/weights covers loading',
    'test_model_default_cfgs_non_std': 'the variant for transformers; ours run test_model_default_cfgs',
    'test_model_features_space2depth_reduction': 'EfficientNet-H and -X start with space-to-depth; ours do not',
    'test_catavgmax_unsupported': 'demands a refusal; our models do take concatenated pooling',
    'test_prune_extra_blocks_stem_width': "`extra_blocks` is an argument of EfficientNet's pruning only",
    'test_prune_intermediate_layers_last_feature': "expects EfficientNet's or GhostNet's layers after the last map",
    'test_pruned_efficientnet_in_chans': 'conv_stem by name',
    'test_prune_class_token_avg_pool': 'class tokens',
    'test_pruned_features_torchscript': 'img_size is an argument of transformers',
    'test_model_init_weights_after_to_empty': '`init_weights` without arguments; asserts widths of its four models',
    # tests that build one family of timm by name, because of something that only this family has
    'test_gcvit_*': 'global queries of GCViT',
    'test_convit_*': 'the position cache of ConViT',
    'test_feature_hook_net_*': 'Xception with features by hooks; ours are wrapped by FeatureGetterNet',
    'test_inception_v3_*': 'the auxiliary classifier of Inception v3',
    'test_eva_*': 'attention pooling of EVA',
    'test_samvit_*': 'the neck of SAM',
    'test_resnet_pruned_*': 'ResNet by name; test_forward_after_prune_intermediate_layers covers ours',
    'test_resnetv2_*': 'stems of ResNet v2',
    'test_nfnet_*': 'stems of NFNet',
    'test_mobilenetv5_*': 'multi-scale fusion of MobileNet v5',
    'test_naflexvit_*': 'NaFlexViT',
    'test_radio_*': 'checkpoints of RADIO',
    'test_gemma4_*': 'Gemma 4',
    'test_vit_classifier_*': 'vision transformers as encoders',
    'test_efficientvim_*': 'EfficientViM',
    'test_mobile_model_*': 'branches fused for mobile devices: EfficientViM, iFormer',
    'test_swin_family_*': 'windows of Swin',
    'test_hybrid_vit_*': 'hybrid ViT',
    'test_headless_checkpoint_*': 'checkpoints of Swin and others without a head',
    'test_relpos_*': 'relative positions',
    'test_eval_*attention*': 'attention caches',
    'test_attention_bias_cache_*': 'attention caches',
}

# The other files: what of them can not be pointed at our models or not be run, as parts of a test's name.
FILES = (
    'test_checkpoint_loading.py', 'test_checkpoint_saver.py', 'test_factory.py', 'test_hub.py', 'test_multilabel.py',
    'test_prune.py', 'test_task.py',
)
LEFT_OUT = {
    'test_train_pretrained_cfg_overlay': "imports timm's train.py, which its archive does not hold",
    'test_train_cli_': "imports timm's train.py, which its archive does not hold",
    'test_multilabel_train_': "imports timm's train.py, which its archive does not hold",
    'test_class_weights_script': "runs a script of timm's repository, which its archive does not hold",
    'test_distributed_metrics_exclude_padding': 'no model in it: 40 s of starting processes; `make test-timm` runs it',
}
