"""Training, evaluation and prediction.

* `run`: the folder that a run leaves behind.
* `checkpoint`: networks and training states as safetensors.
* `hardware`: devices, precision, threads.
* `forward`: padding, the network, the loss of a batch.
* `sampling`: which films each step sees; seeds.
* `train`, `evaluate`, `predict`: the three verbs.
"""
