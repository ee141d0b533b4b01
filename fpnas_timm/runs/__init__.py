"""Code shared by searches and training runs.

* `options`, `parser`, `values`: options; names and values are checked alike on the command line, in YAML and in Python
* `image_options`: options about images that contradict each other
* `timm_checks`: names that only timm and torch know
* `datasets`: images and their classes
* `splits`, `image_folder`, `tar`: the folder of a split, and what is in it; a `.tar` instead
* `images`: image files as 8-bit images of one mode
* `holdout`: part of the training images, held out for validation
* `content`: digests of image files
* `copies`: images that two datasets have in common
* `imbalance`: class weights and balanced sampling
* `device`: device and precision
* `processes`: signals and distributed processes
* `files`, `checkpoints`: atomic writes
* `folder`: the lock of an output folder
* `progress`: progress bars, in a terminal and in a notebook
* `tracking`: history, TensorBoard and Weights & Biases
"""
