"""Code shared by searches and training runs.

* `options`: command-line options and YAML files
* `datasets`: images and their classes
* `device`: device and precision
* `processes`: signals and distributed processes
* `files`, `checkpoints`: atomic writes
* `tracking`: progress bars, history, TensorBoard and Weights & Biases
"""
