"""Do suggested films teach more than random ones? Ten of each, three splits, the preset `small-data`.

    python examples/suggest-pays.py FOLDER OUT             # films and masks, as `cxrkit train --data` takes them
    python examples/suggest-pays.py FOLDER OUT --updates 2000 --size 256

For each seed a quarter of the films tests, and ten of the others train: those that `cxrkit suggest` chooses by what
`--weights` see, and as many at random. The weights must not have been trained on these films. The runs go to OUT, where
the script continues if it was stopped; OUT/results.md has the table.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

import cxrkit
from cxrkit.data.splits import Split
from cxrkit.engine.scores import Evaluation
from cxrkit.files import write_text
from cxrkit.metrics.statistics import compare
from cxrkit.presets import read_preset
from cxrkit_clinic.looks import look_at
from cxrkit_clinic.suggest import choose

ARMS = ("suggested", "random")


def main() -> None:
    """Train and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--updates", type=int, default=300)
    parser.add_argument("--channels", type=int, default=8)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--weights")
    asked = parser.parse_args()
    films = {path.stem: path for path in sorted((asked.folder / "images").iterdir())}
    looks, failures = look_at([*films.values()], cxrkit.load(asked.weights), "difference")
    if failures:
        raise SystemExit(f"{failures[0][0]}: {failures[0][1]}")
    lines = ["| seed | " + " | ".join(f"{arm}, Dice %" for arm in ARMS) + " |", "| ---: | ---: | ---: |"]
    both: dict[str, list[float]] = {arm: [] for arm in ARMS}
    for seed in range(asked.seeds):
        random = np.random.default_rng(seed)
        order = [list(films)[place] for place in random.permutation(len(films))]
        test, pool = order[: len(order) // 4], sorted(order[len(order) // 4 :])
        chosen = choose([look for look in looks if look.film.stem in pool], asked.count, "difference")
        trained = {
            "suggested": [Path(one.film).stem for one in chosen],
            "random": [pool[place] for place in random.permutation(len(pool))[: asked.count]],
        }
        means = []
        for arm in ARMS:
            split = Split(train=tuple(trained[arm]), validation=(), test=tuple(test), seed=seed)
            scores = score(asked, asked.out / f"{arm}-{seed}", split, seed)
            both[arm] += scores
            means.append(f"{100 * np.mean(scores):.2f}")
        lines.append(f"| {seed} | {' | '.join(means)} |")
    found = compare(both["suggested"], both["random"])
    spread = "" if found.interval is None else f" ({100 * found.interval.low:+.2f} to {100 * found.interval.high:+.2f})"
    lines.append(f"| all | {' | '.join(f'{100 * np.mean(both[arm]):.2f}' for arm in ARMS)} |")
    lines += [
        "",
        f"Suggested minus random: {100 * found.difference:+.2f}{spread} Dice %, 95 % interval over {found.items} test "
        f"films; {found.above} of {found.differing} are better.",
        f"Worst film: {', '.join(f'{arm} {100 * min(both[arm]):.1f}' for arm in ARMS)}.",
        f"{asked.count} films, {asked.size} × {asked.size}, {asked.channels} channels, {asked.updates} updates of "
        f"{asked.batch} films.",
    ]
    write_text(asked.out / "results.md", "\n".join(lines) + "\n")
    print("\n".join(lines))


def score(asked: argparse.Namespace, run: Path, split: Split, seed: int) -> list[float]:
    """Each test film's mean Dice over structures, of a run that is trained unless it is there already."""
    done = run / "evaluation" / "test-last.json"
    if not done.is_file():
        if (run / "checkpoints" / "state.safetensors").is_file():
            cxrkit.train(resume=run)
        else:
            cxrkit.train(settings(asked, split, run, seed), data=asked.folder, out=run)
    films = Evaluation.model_validate_json(done.read_text(encoding="utf-8")).films
    dice = [[one.measures["dice"] for name, one in film.structures.items() if name != "lungs"] for film in films]
    return [float(np.mean(values)) for values in dice]


def settings(asked: argparse.Namespace, split: Split, run: Path, seed: int) -> dict[str, Any]:
    """The preset, shortened."""
    file = asked.out / f"{run.name}.split.json"
    split.save(file)
    preset = read_preset("small-data")
    return {
        **preset,
        "seed": seed,
        "model": {**preset["model"], "base_channels": asked.channels},
        "preprocess": {**preset["preprocess"], "size": asked.size},
        "split": {"file": str(file.resolve())},
        "train": {**preset["train"], "steps": asked.updates, "batch_size": asked.batch, "device": "cpu"},
    }


if __name__ == "__main__":
    main()
