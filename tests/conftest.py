import os

os.environ.setdefault('HF_HUB_OFFLINE', '1')  # nothing in the tests may reach a hub
os.environ.setdefault('OMP_NUM_THREADS', '1')  # pytest-xdist brings the parallelism

import torch

torch.set_num_threads(1)
