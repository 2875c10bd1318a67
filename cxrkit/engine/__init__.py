"""Training, evaluation and prediction.

* `films`: dataset, store and split of a run.
* `run`, `provenance`: the folder that a run leaves behind, and its record of origins.
* `checkpoint`: networks and training states as safetensors.
* `hardware`: devices, precision, threads.
* `forward`: padding, the network, the loss of a batch.
* `sampling`: which films each step sees; seeds.
* `batches`, `schedule`, `interrupts`: what the training loop leans on.
* `train`, `evaluate`, `predict`: the three verbs.
"""
