"""What a search and a training run share.

* `options`: options of the command lines, YAML files
* `datasets`: images and their classes
* `device`: device and precision
* `processes`: signals, several processes
* `files`, `checkpoints`: whole files or none
* `tracking`: progress bars, history, TensorBoard and Weights & Biases
"""
