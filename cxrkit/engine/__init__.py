"""Training, evaluation and prediction.

* `films`, `unlabelled`: dataset, store and split of a run; films without masks.
* `run`, `provenance`: the folder that a run leaves behind, and its record of origins.
* `checkpoint`, `weights`: networks and training states as safetensors; where weights come from.
* `hardware`: devices, precision, threads.
* `forward`, `objective`: one pass through a network; the loss of a batch.
* `batches`, `sampling`, `schedule`, `capture`, `interrupts`, `loggers`: what the training loop uses.
* `predictor`, `measures`, `scores`, `writing`, `predictions`: from a film to masks, scores and files.
* `train`, `evaluate`, `predict`: the three verbs; `rehearsal` measures what they cost.
"""
