"""How certain a run's network is: the Dice coefficient of each channel of its test films, soft and thresholded.

    python examples/ablations/channels.py RUN...

A mean over films each, in %, of the last weights. Where the soft one is lower, probabilities far from 0 and 1 cost the
paper's DSC points though the masks are as good.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from cxrkit import CxrkitError
from cxrkit.config import SplitConfig
from cxrkit.engine.films import prepare_films
from cxrkit.engine.observer import Silent
from cxrkit.engine.predictor import load_predictor
from cxrkit.engine.run import RunDirectory
from cxrkit.plugins import registry


def dice(predicted: np.ndarray, truth: np.ndarray) -> list[float]:
    """`(N, C, H, W)` twice to C means over films, in %."""
    shared, both = (predicted * truth).sum((2, 3)), (predicted + truth).sum((2, 3))
    return [round(100 * float(value), 1) for value in (2 * shared / both).mean(0)]


def test_films(path: Path) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """What a run's last weights make of its test films, and their masks: `(N, C, H, W)` each; the names of the C."""
    run = RunDirectory.open(path)
    config = run.config().model_copy(update={"split": SplitConfig(file=run.split_file)})
    films = prepare_films(config, registry(), Silent())
    predictor = load_predictor(run.weights("last"), registry(), device="cpu")
    batch = films.store.batch(
        films.indices(films.split.test), background=config.background, standardise=config.preprocess.standardise
    )
    parts = np.array_split(batch.images.numpy(), -(-len(batch.images) // 8))
    return np.concatenate([predictor(part) for part in parts]), batch.targets.numpy(), predictor.channels


def measure(path: Path) -> None:
    predicted, truth, channels = test_films(path)
    print(path, ", ".join(channels))
    print("  soft       ", *dice(predicted, truth))
    print("  thresholded", *dice((predicted > 0.5).astype(np.float32), truth), flush=True)


def measure_each(measure: Callable[[Path], None]) -> None:
    """Measure the runs that the command line names."""
    try:
        for name in sys.argv[1:]:
            measure(Path(name))
    except CxrkitError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    measure_each(measure)
