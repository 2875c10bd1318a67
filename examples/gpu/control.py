"""The control stage: nnU-Net v2 (2-D) on the same films and split, as long as the time allows, scored as ours are.

    python control.py --data FOLDER --split FILE --seconds 360 --work FOLDER --out FOLDER

nnU-Net gets the films as cxrkit prepares them, squares of one size, but without CLAHE and in 16 bits; it plans,
normalises and augments by itself. Structures that share pixels are trained as regions (a sigmoid each). Two things
differ from its defaults: nothing is mirrored, because left and right lung are different structures, and the learning
rate falls over the time that is given instead of over 1000 epochs. The last weights are judged.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import statistics
import tarfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

NAME = "Dataset501_Films"


def main() -> None:
    started = time.monotonic()
    options = parse()
    options.out.mkdir(parents=True, exist_ok=True)
    for kind in ("raw", "preprocessed", "results"):  # nnU-Net reads them when it is imported
        folder = options.work / f"nnUNet_{kind}"
        folder.mkdir(parents=True, exist_ok=True)
        os.environ[f"nnUNet_{kind}"] = str(folder)
    os.environ.setdefault("nnUNet_compile", "f")  # compiling takes a minute of the few there are
    os.environ.setdefault("nnUNet_n_proc_DA", str(max(1, min(10, (os.cpu_count() or 1) - 4))))

    films = load_films(options)
    raw, preprocessed = (Path(os.environ[f"nnUNet_{kind}"]) / NAME for kind in ("raw", "preprocessed"))
    dataset = write_dataset(films, raw)
    plan(raw, preprocessed, films, processes=min(4, os.cpu_count() or 1))
    print(f"Prepared after {time.monotonic() - started:.0f} s", flush=True)
    trainer, facts = train(preprocessed, dataset, started + options.seconds - options.reserve, options)
    evaluation, masks = judge(trainer, films, facts["iterations"])
    facts |= {"seconds_in_all": round(time.monotonic() - started, 1), "summary": summary(evaluation)}
    write_masks(options.out / "control-masks.tar.gz", masks, options.work)
    (options.out / "control.csv").write_text(evaluation.to_csv(), encoding="utf-8")
    content = facts | {"evaluation": evaluation.model_dump()}
    (options.out / "control.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(facts, indent=1))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="as `cxrkit train --data` takes it")
    parser.add_argument("--split", type=Path, help="a split.json; without it the configuration's default split")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--seconds", type=float, default=360, help="for everything")
    parser.add_argument("--reserve", type=float, default=45, help="of these, for predicting and scoring")
    parser.add_argument("--iterations", type=int, default=50, help="updates an epoch; nnU-Net's are 250")
    parser.add_argument("--epochs", type=int, default=10_000, help="end after so many at the latest")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


def load_films(options: argparse.Namespace) -> Any:
    """Films and split, prepared by cxrkit without CLAHE."""
    from cxrkit.config import make_config, resolve
    from cxrkit.data.sources import parse_source
    from cxrkit.engine.films import prepare_films
    from cxrkit.engine.observer import Silent
    from cxrkit.plugins import registry

    settings: dict[str, Any] = {
        "data": parse_source(options.data, registry().components("dataset")),
        "preprocess": {"size": options.size, "clahe": None},
        "background": False,
    }
    if options.split:
        settings["split"] = {"file": options.split}
    return prepare_films(resolve(make_config(settings), registry()), registry(), Silent())


def write_dataset(films: Any, raw: Path) -> dict[str, Any]:
    """The films of the split's training and validation parts in nnU-Net's layout; returns its dataset.json.

    Each combination of structures that a pixel can belong to becomes a label, and a structure the region of all
    labels that it is part of.
    """
    store, split = films.store, films.split
    ids = [*split.train, *split.validation]
    coded = {}
    for film in ids:
        _, masks = store.load([store.ids.index(film)])
        coded[film] = sum(masks[0, k].astype(np.uint16) << k for k in range(len(store.structures)))
    codes = sorted({int(code) for codes in coded.values() for code in np.unique(codes) if code})
    codes.sort(key=lambda code: (code.bit_count(), code))  # single structures first
    overlap = any(code.bit_count() > 1 for code in codes)
    table = np.zeros(2 ** len(store.structures), np.uint8)
    table[codes] = np.arange(1, len(codes) + 1)
    labels: dict[str, Any] = {"background": 0}
    for k, name in enumerate(store.structures):
        parts = [int(table[code]) for code in codes if code >> k & 1]
        labels[name] = parts if overlap else parts[0]
    dataset: dict[str, Any] = {
        "channel_names": {"0": "radiograph"},
        "labels": labels,
        "numTraining": len(ids),
        "file_ending": ".png",
        "overwrite_image_reader_writer": "NaturalImage2DIO",
    }
    if overlap:
        dataset["regions_class_order"] = list(range(1, len(store.structures) + 1))
    for folder in ("imagesTr", "labelsTr"):
        (raw / folder).mkdir(parents=True, exist_ok=True)
    for film in ids:
        image, _ = store.load([store.ids.index(film)])
        cv2.imwrite(str(raw / "imagesTr" / f"{film}_0000.png"), image[0])
        cv2.imwrite(str(raw / "labelsTr" / f"{film}.png"), table[coded[film]])
    (raw / "dataset.json").write_text(json.dumps(dataset, indent=1), encoding="utf-8")
    return dataset


def plan(raw: Path, preprocessed: Path, films: Any, *, processes: int) -> None:
    """Fingerprint, plan and preprocess, unless an earlier call has, and fix the split."""
    from nnunetv2.experiment_planning.plan_and_preprocess_api import (
        extract_fingerprints,
        plan_experiments,
        preprocess,
    )

    done = preprocessed / "prepared"
    if not done.is_file():
        extract_fingerprints([501], num_processes=processes, check_dataset_integrity=False)
        plan_experiments([501])
        preprocess([501], configurations=("2d",), num_processes=(processes,))
        done.touch()
    train = list(films.split.train)
    validation = list(films.split.validation) or train[: max(1, len(train) // 10)]  # looked at, never chosen by
    split = [{"train": train, "val": validation}]
    (preprocessed / "splits_final.json").write_text(json.dumps(split), encoding="utf-8")


def train(
    preprocessed: Path, dataset: dict[str, Any], deadline: float, options: argparse.Namespace
) -> tuple[Any, dict[str, Any]]:
    """Train until the deadline, a time of `time.monotonic()`; returns the trainer and what it did."""
    import torch
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    class TimedTrainer(nnUNetTrainer):  # type: ignore[misc]
        began = time.monotonic()

        def configure_rotation_dummyDA_mirroring_and_inital_patch_size(self) -> Any:  # noqa: N802
            rotation, dummy, patch, _ = super().configure_rotation_dummyDA_mirroring_and_inital_patch_size()
            self.inference_allowed_mirroring_axes = None
            return rotation, dummy, patch, None

        def on_train_epoch_start(self) -> None:
            super().on_train_epoch_start()
            if self.current_epoch == 0:
                TimedTrainer.began = time.monotonic()
            past = (time.monotonic() - self.began) / max(1.0, deadline - self.began)
            for group in self.optimizer.param_groups:  # nnU-Net's own fall, over time
                group["lr"] = self.initial_lr * max(1e-3, 1 - past) ** 0.9

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    plans = json.loads((preprocessed / "nnUNetPlans.json").read_text(encoding="utf-8"))
    plans["continue_training"] = False  # which nnU-Net's own command adds, from version 2.7 on
    trainer = TimedTrainer(plans, "2d", 0, dataset, device)
    trainer.num_iterations_per_epoch = options.iterations
    trainer.num_val_iterations_per_epoch = 2
    trainer.disable_checkpointing = True
    trainer.on_train_start()
    seconds: list[float] = []
    losses: list[float] = []
    for _ in range(options.epochs):
        began = time.monotonic()
        trainer.on_epoch_start()
        trainer.on_train_epoch_start()
        outputs = [trainer.train_step(next(trainer.dataloader_train)) for _ in range(trainer.num_iterations_per_epoch)]
        losses.append(float(np.mean([output["loss"] for output in outputs])))
        trainer.current_epoch += 1
        seconds.append(time.monotonic() - began)
        print(f"epoch {trainer.current_epoch}: loss {losses[-1]:.4f}, {seconds[-1]:.1f} s", flush=True)
        if time.monotonic() + seconds[-1] > deadline:
            break
    iterations = trainer.current_epoch * trainer.num_iterations_per_epoch
    configuration = plans["configurations"]["2d"]
    stop_loaders(trainer)
    facts = {
        "network": "nnU-Net v2, 2d",
        "versions": {name: importlib.metadata.version(name) for name in ("nnunetv2", "torch")},
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "epochs_of_250_updates": round(iterations / 250, 2),
        "iterations": iterations,
        "batch_size": configuration["batch_size"],
        "patch_size": configuration["patch_size"],
        "labels": dataset["labels"],
        "seconds_of_training": round(sum(seconds), 1),
        "median_seconds_of_an_update": round(statistics.median(seconds) / trainer.num_iterations_per_epoch, 4),
        "losses": [round(loss, 4) for loss in losses],
    }
    return trainer, facts


def stop_loaders(trainer: Any) -> None:
    """End the processes that augment."""
    for loader in (trainer.dataloader_train, trainer.dataloader_val):
        if hasattr(loader, "_finish"):
            loader._finish()


def judge(trainer: Any, films: Any, iterations: int) -> tuple[Any, dict[str, np.ndarray]]:
    """Predict the test films and score them with cxrkit's own functions; returns scores and masks `(K, H, W)`."""
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from torch._dynamo import OptimizedModule

    from cxrkit.engine.scores import Evaluation, score_film

    trainer.set_deep_supervision_enabled(False)
    network = trainer.network._orig_mod if isinstance(trainer.network, OptimizedModule) else trainer.network
    on_device = trainer.device.type == "cuda"
    predictor = nnUNetPredictor(
        use_mirroring=False, perform_everything_on_device=on_device, device=trainer.device, allow_tqdm=False
    )
    predictor.manual_initialization(
        network.eval(),
        trainer.plans_manager,
        trainer.configuration_manager,
        [network.state_dict()],
        trainer.dataset_json,
        type(trainer).__name__,
        None,
    )
    store, scores, masks = films.store, [], {}
    for film in films.split.test:
        place = store.ids.index(film)
        image, truth = store.load([place])
        pixels = image[:, None].astype(np.float32)  # (1, 1, H, W): channel, and a depth of one
        _, predicted = predictor.predict_single_npy_array(pixels, {"spacing": (999, 1, 1)}, None, None, True)
        probabilities = np.asarray(predicted, np.float32)[-len(store.structures) :, 0]
        shared = None if store.groups[place] == film else store.groups[place]
        scores.append(
            score_film(film, store.structures, probabilities, truth[0].astype(np.float32), store.spacing(place), shared)
        )
        masks[film] = probabilities > 0.5
    evaluation = Evaluation(
        part="test", weights="nnunet-last", step=iterations, selected_on="nothing", films=tuple(scores)
    )
    return evaluation, masks


def summary(evaluation: Any) -> dict[str, Any]:
    """Means over films."""
    found: dict[str, Any] = {
        name: {m: round(float(np.nanmean(evaluation.values(name, m))), 4) for m in ("dice", "iou", "hd95", "assd")}
        for name in evaluation.structures
    }
    errors = evaluation.ctr_errors()
    return found | {
        "ratio_error": round(float(errors.mean()), 4) if len(errors) else None,
        "ratios_missing": evaluation.ctr_missing(),
        "unit": evaluation.films[0].unit,
        "films": len(evaluation.films),
    }


def write_masks(archive: Path, masks: dict[str, np.ndarray], work: Path) -> None:
    """A PNG of one bit a pixel for each film, its structures one below the other."""
    folder = work / "masks"
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, "w:gz") as tar:
        for film, planes in masks.items():
            file = folder / f"{film}.png"
            stacked = np.concatenate(list(planes)).astype(np.uint8) * 255
            cv2.imwrite(str(file), stacked, [cv2.IMWRITE_PNG_BILEVEL, 1])
            tar.add(file, file.name)


if __name__ == "__main__":
    main()
