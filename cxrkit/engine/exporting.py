"""Networks in formats that other programs run: written, compared with the original, and kept only if they agree."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from cxrkit.config import PreprocessConfig
from cxrkit.data.preprocess import preprocess_film, to_input
from cxrkit.data.samples import list_entries, read_sample
from cxrkit.engine.checkpoint import load_network, network_checksum
from cxrkit.engine.forward import apply_model, main_logits
from cxrkit.engine.runtimes import Description, declared, find_runtime, load_exported
from cxrkit.errors import ConfigError, CxrkitError, DataError
from cxrkit.files import write_bytes
from cxrkit.interfaces import BACKGROUND, Dataset, Model
from cxrkit.metrics.overlap import dice
from cxrkit.registry import Registry
from cxrkit.services import Deployable, Exporter

#: Dice of an exported network's masks with the original's, the lowest of its structures, below which it is refused.
LOWEST_DICE, LOWEST_DICE_INT8 = 0.995, 0.98
#: How many films are compared, and read in all where others of them calibrate.
_FILMS, _CALIBRATION = 16, 96


@dataclass(frozen=True)
class Agreement:
    """How near an exported network is to the original, over some films.

    Attributes:
        films: how many.
        dice: structure to the mean Dice coefficient of its masks with the original's.
        largest_difference: of any probability.
    """

    films: int
    dice: dict[str, float]
    largest_difference: float


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        files: the one asked for first.
        agreement: of a network in another format with the original; None for a copy of the weights.
    """

    files: tuple[Path, ...]
    agreement: Agreement | None = None


class Probabilities(nn.Module):
    """A network as it is exported: padding, the pass, the main output and the sigmoid in one."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Images `(B, 1, S, S)` to probabilities `(B, C, S, S)`."""
        channels, multiple = len(self.model.channels), self.model.size_multiple
        return main_logits(apply_model(self.model, images, size_multiple=multiple, channels=channels)).float().sigmoid()


def export_elsewhere(source: Path, target: Path, registry: Registry, dataset: Dataset, *, int8: bool) -> Exported:
    """Write the network of a weights file in the format of the target's suffix.

    Args:
        source: the weights.
        target: the new file.
        registry: where exporters, runtimes and the network come from.
        dataset: of its films the first few are compared, and with `int8` as many calibrate.
        int8: make 8-bit integers of its numbers.

    Raises:
        ConfigError: no installed exporter writes this format, or it makes no 8-bit integers.
        DataError: the network can't be exported, or the exported one gives other masks.
    """
    exporter = find_exporter(target.suffix, registry)
    if int8 and not exporter.can_int8:
        raise ConfigError(f"--int8: {target.suffix} files have no 8-bit integers here.", "Leave it out.")
    model, card = load_network(source, registry)
    if model.cannot_export:
        reason = model.cannot_export.strip().rstrip(".")
        raise DataError(f"The network {card.model.name} can't be exported: {reason}.", "Choose another one.")
    network = Probabilities(model.float()).eval()
    images = sample_images(dataset, card.preprocess, _CALIBRATION if int8 else 2 * _FILMS)
    kept = np.arange(len(images)) % max(2, len(images) // _FILMS) == 1
    calibration, judged = images[~kept], images[kept]
    description = Description.of(card, network_checksum(source)).model_dump_json(indent=1)
    try:
        files = exporter.files(Deployable(network, calibration, description, int8))
    except CxrkitError:
        raise
    except Exception as error:  # whatever a converter makes of an operator that it doesn't know
        reason = " ".join(str(error).split())[:300]
        raise DataError(
            f"The network {card.model.name} can't be exported as {target.suffix}: {type(error).__name__}: {reason}",
            "Choose another format: cxrkit list exporter.",
        ) from error
    with torch.no_grad():
        original = network(torch.from_numpy(judged)).numpy()
    with tempfile.TemporaryDirectory() as folder:
        trial = Path(folder) / f"network{target.suffix}"
        _write(trial, files)
        compute = load_exported(trial, find_runtime(trial, "auto", registry)[1])
        agreement = compare(compute(judged), original, card.channels)
    lowest = LOWEST_DICE_INT8 if int8 else LOWEST_DICE
    if min(agreement.dice.values()) < lowest:
        found = ", ".join(f"{name} {value:.4f}" for name, value in agreement.dice.items())
        raise DataError(
            f"{target}: the exported network gives other masks than the original (Dice {found} over "
            f"{agreement.films} films, at least {lowest} is needed); nothing was written.",
            "Give real films (--data PLACE)" + (", or leave out --int8." if int8 else ", or choose another format."),
        )
    return Exported(_write(target, files), agreement)


def find_exporter(suffix: str, registry: Registry) -> Exporter:
    """The exporter of a suffix.

    Raises:
        ConfigError: there is none, or its package is missing.
    """
    components = {written: component for component, written in declared(registry, "exporter", "suffix")}
    if suffix not in components:
        known = ", ".join([".safetensors", *sorted(components)])
        raise ConfigError(f"No exporter writes '{suffix}' files.", f"Give the file one of these suffixes: {known}.")
    exporter: Exporter = components[suffix].build()
    return exporter


def sample_images(dataset: Dataset, config: PreprocessConfig, count: int) -> np.ndarray:
    """Films of a dataset, evenly chosen, as a network sees them: float32 `(N, 1, S, S)` with 2 ≤ N ≤ count.

    Raises:
        DataError: it has a single film, or one that can't be read.
    """
    entries = list_entries(dataset)
    if len(entries) < 2:
        raise DataError("A single film is too few to compare networks on.", "Give a folder with more: --data PLACE.")
    chosen = np.linspace(0, len(entries) - 1, min(count, len(entries))).round().astype(int)
    images = []
    for index in chosen:
        sample = read_sample(dataset, entries[index], ())
        stored, placement = preprocess_film(sample.image, config, spacing=sample.spacing)
        images.append(to_input(stored, placement, standardise=config.standardise))
    return np.stack(images)


def compare(found: np.ndarray, original: np.ndarray, channels: Sequence[str]) -> Agreement:
    """How near probabilities `(N, C, S, S)` are to the original's."""
    scores = {
        name: float(np.mean([dice(a[index] > 0.5, b[index] > 0.5) for a, b in zip(found, original, strict=True)]))
        for index, name in enumerate(channels)
        if name != BACKGROUND
    }
    return Agreement(len(found), scores, float(np.abs(found - original).max()))


def _write(target: Path, files: Mapping[str, bytes]) -> tuple[Path, ...]:
    paths = [target.with_suffix(suffix) for suffix in files]
    for path in paths:
        if path.exists():
            raise ConfigError(f"{path} already exists.", "Choose another name.")
    # The file that users name comes last, so that it is never there without the others.
    for suffix in sorted(files, key=lambda suffix: suffix == target.suffix):
        write_bytes(target.with_suffix(suffix), files[suffix])
    return tuple(sorted(paths, key=lambda path: path != target))
