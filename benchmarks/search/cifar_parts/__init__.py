"""The parts of `cifar.py`.

* `problem`: the space, the target, the architectures that are compared, the recipe, and the file of results
* `data`: CIFAR-10 as tensors on the device, and its batches
* `training`: networks trained on their own, several at once, each step one CUDA graph
* `ranking`: supernets under several settings, and whether their scores agree with trained accuracies
* `searches`: the product's searches on these images
* `driver`, `smoke`: what runs when; a minute that shows whether everything runs, and how fast
* `report`: tables and a picture from the file of results
"""
