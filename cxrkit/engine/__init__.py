"""Training, evaluation and prediction.

* `films`, `unlabelled`: dataset, store and split of a run; films without masks.
* `run`, `provenance`: the folder that a run leaves behind, and its record of origins.
* `checkpoint`, `card`, `weights`: networks and training states as safetensors; what files say of themselves; where
  weights come from.
* `hardware`, `threads`: devices, precision, threads.
* `forward`, `objective`: one pass through a network; the loss of a batch.
* `batches`, `sampling`, `schedule`, `capture`, `interrupts`, `loggers`: what the training loop uses.
* `predictor`, `torch_predictor`, `runtimes`: who computes a network. What predicts imports torch only for its own ones.
* `measures`, `scores`, `writing`, `predictions`: from a film to masks, scores and files.
* `train`, `evaluate`, `predict`: the three verbs; `rehearsal` measures what they cost.
"""
