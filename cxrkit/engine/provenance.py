"""What a run writes down about where its numbers come from."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from cxrkit.config import ComponentConfig, RunConfig
from cxrkit.engine.films import Films
from cxrkit.engine.hardware import choose_precision, describe_hardware
from cxrkit.engine.run import Provenance, RunDirectory
from cxrkit.engine.starting import Start
from cxrkit.engine.unlabelled import Unlabelled
from cxrkit.errors import DataError, PluginError
from cxrkit.registry import Registry
from cxrkit.version import __version__

PACKAGES = ("torch", "numpy", "opencv-python-headless", "lightning-fabric", "kornia", "segmentation-models-pytorch")
_LABELS = {"name": "processor"}
_OF_THE_MACHINE = ("device", "devices", "num_nodes", "strategy", "compile", "precision", "checkpoint_every")
_ELSEWHERE = (*_OF_THE_MACHINE, "init")  # what is identified by its content


def collect_provenance(
    config: RunConfig,
    registry: Registry,
    films: Films,
    unlabelled: Unlabelled | None,
    start: Start | None,
    device: torch.device,
) -> Provenance:
    """The record of a run that begins now."""
    components = [registry.get(kind, item.name) for kind, item in _components(config)]
    return Provenance(
        cxrkit=__version__,
        python=platform.python_version(),
        packages={name: found for name in PACKAGES if (found := _version(name))},
        plugins={component.distribution: component.version for component in components},
        hardware=describe_hardware(device),
        precision=choose_precision(config.train.precision, device),
        channels=films.channels,
        data=" + ".join(item.alias or item.name for item in config.datasets),
        fingerprint=films.store.content_hash,
        unlabelled=None if unlabelled is None else unlabelled.fingerprint,
        init=None if start is None else start.source,
        started=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def note_changes(run: RunDirectory, now: Provenance) -> list[str]:
    """Add to a run's record what is different now that it continues, and return it: `torch 2.11.0, was 2.13.0`."""
    then = run.provenance()
    pairs = [("cxrkit", now.cxrkit, then.cxrkit), ("Python", now.python, then.python)]
    pairs += [("precision", now.precision, then.precision)]
    for a, b in ((now.packages, then.packages), (now.plugins, then.plugins), (now.hardware, then.hardware)):
        pairs += [(_LABELS.get(k, k), str(a.get(k, "missing")), str(b.get(k, "missing"))) for k in {**b, **a}]
    changed = list(dict.fromkeys(f"{name} {new}, was {old}" for name, new, old in pairs if new != old))
    if added := [change for change in changed if change not in then.continued]:
        run.save_provenance(then.model_copy(update={"continued": (*then.continued, *added)}))
    return changed


def check_plugins(
    run: RunDirectory,
    config: RunConfig,
    registry: Registry,
    kinds: Sequence[str] = ("model", "dataset", "loss", "augment"),
) -> None:
    """Make sure that a run's components of these kinds are installed.

    Raises:
        PluginError: one isn't; names the packages that the run used and that aren't installed.
    """
    try:
        for kind, item in _components(config):
            if kind in kinds:
                registry.get(kind, item.name)
    except PluginError as error:
        if not (run.path / "provenance.json").is_file():
            raise
        missing = [f"{name}=={v}" for name, v in run.provenance().plugins.items() if _version(name) is None]
        if not missing:
            raise
        raise PluginError(
            f"{run.path}: this run needs what isn't installed. {error.what}", f"Run: pip install {' '.join(missing)}"
        ) from error


def _components(config: RunConfig) -> list[tuple[str, ComponentConfig]]:
    used: list[tuple[str, ComponentConfig]] = [("model", config.model)]
    used += [("dataset", item) for item in config.datasets]
    return used + [("loss", item) for item in config.loss] + [("augment", item) for item in config.augment]


def check_fingerprint(run: RunDirectory, films: Films) -> None:
    """Make sure that a run is continued or judged with the films that it began with.

    Raises:
        DataError: the films, masks or their preprocessing have changed.
    """
    _must_agree(run, "films", films.store.content_hash, run.provenance().fingerprint)


def check_unlabelled(run: RunDirectory, unlabelled: str | None) -> None:
    """Make sure that a run continues with the films without masks, by their fingerprint, that it began with.

    Raises:
        DataError: they or their preprocessing have changed.
    """
    _must_agree(run, "films without masks", unlabelled, run.provenance().unlabelled)


def check_start(run: RunDirectory, start: Start) -> None:
    """Make sure that a run which had saved nothing yet begins again with the same weights.

    Raises:
        DataError: they have changed.
    """
    begun = run.provenance().init
    then = None if begun is None else begun.sha256
    _must_agree(run, f"weights of --init {start.given}", start.source.sha256, then)


def identity_of(run: RunDirectory, config: RunConfig) -> dict[str, Any]:
    """What a training state belongs to: the settings that decide its numbers, the films, and the code it began with.

    The films are identified by their content; where they are and which machine computes is no part of it.
    """
    settings = config.model_dump(
        mode="json", exclude={"logger": True, "data": True, "split": {"file"}, "unlabelled": {"films"}}
    )
    if len(weights := [item.weight for item in config.datasets]) > 1:
        settings["data"] = {"weights": weights}
    settings["train"] = {key: value for key, value in settings["train"].items() if key not in _ELSEWHERE}
    record = run.provenance()
    films = {"fingerprint": record.fingerprint, "unlabelled": record.unlabelled}
    split = hashlib.sha256(run.split_file.read_bytes()).hexdigest()
    code = {"cxrkit": record.cxrkit, **record.plugins, "precision": record.precision}
    start = {"weights": None if record.init is None else record.init.sha256}
    return {"settings": settings, "films": films | {"split": split}, "code": code, "start": start}


def _must_agree(run: RunDirectory, what: str, now: str | None, then: str | None) -> None:
    if now != then:
        raise DataError(
            f"{run.path}: the {what} have changed since this run began (fingerprint {(now or 'none')[:12]}, was "
            f"{(then or 'none')[:12]}).",
            "Put them back as they were, or start a new run in another folder.",
        )


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
