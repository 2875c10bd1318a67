"""A trained network at work, from Python: `load` it, `predict` films, `export` it to share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cxrkit.engine.ensemble import Weights, load_weights, report_weights
from cxrkit.engine.observer import Observer, Silent
from cxrkit.engine.outcomes import Predictions
from cxrkit.engine.postprocessing import Choice
from cxrkit.engine.predict import Segmenter
from cxrkit.engine.predictions import find_films, predict_films
from cxrkit.engine.run import RunDirectory
from cxrkit.engine.weights import find_weights
from cxrkit.engine.writing import build_writers
from cxrkit.errors import ConfigError
from cxrkit.plugins import registry
from cxrkit.services import Writer

if TYPE_CHECKING:
    from cxrkit.engine.exporting import Exported


def load(
    weights: Weights = None,
    *,
    device: str = "auto",
    runtime: str = "auto",
    keep_spots: bool = False,
    postprocess: Choice = None,
    keep_borders: bool = False,
    window: int | None = 1,
    tta: bool = False,
    quality: bool = True,
) -> Segmenter:
    """Load a network, ready to segment films, or several, whose probabilities are averaged.

    Args:
        weights: a run's folder, a weights file or an exported network, the name of weights that a package provides
            (`cxrkit list weights`), a list of such, or None for the default ones. Of a list, the masks are of the
            structures that all have.
        device: as in training.
        runtime: what computes an exported network (`cxrkit list runtime`); `auto` is the fastest that is installed.
        keep_spots: whether masks keep holes, and parts that are separate from the structure.
        postprocess: what is done to masks, by name, or as a mapping with parameters; None: the weights' own or default.
        keep_borders: whether a black or white border around a film is kept, so that the network sees it too.
        window: the n-th of a DICOM file's VOI look-up tables and windows, in this order, from 1; None for none of them.
        tta: whether each network's probabilities are the mean over eight views of the film: small shifts, scales, turns
            and another contrast, never flips. It takes eight passes of the network instead of one.
        quality: whether the Dice coefficient of each mask is estimated, where the weights are calibrated for it. It
            takes four passes instead of one.

    Raises:
        CxrkitError: there are no usable weights, their plugin isn't installed, or they have no structure in common.
    """
    predictor = load_weights(weights, registry(), device=device, runtime=runtime, tta=tta)
    kept = {"keep_spots": keep_spots, "keep_borders": keep_borders, "quality": quality}
    return Segmenter(predictor, postprocess=postprocess, window=window, **kept)


def predict(
    films: Sequence[Path | str],
    weights: Weights,
    out: Path | str,
    *,
    writers: Sequence[str | Mapping[str, Any] | Writer] | None = None,
    probabilities: bool = False,
    keep_spots: bool = False,
    postprocess: Choice = None,
    keep_borders: bool = False,
    window: int | None = 1,
    device: str = "auto",
    runtime: str = "auto",
    tta: bool = False,
    quality: bool = True,
    workers: int | None = 1,
    resume: bool = False,
    observer: Observer | None = None,
) -> Predictions:
    """Segment films and write masks at their own size, overlays, and a table.

    Each film gets a folder with the writers' files, by default a PNG per structure and `overlay.png`. Below
    `out` it lies as the film does below the folder that was given, or that all given films and folders lie in:
    `archive/study/IM0001` of `archive` goes to `out/study/IM0001`. A film keeps that folder in later calls, and where
    it is another film's, a hash of the film's path is added to its name.

    `predictions.csv` grows film by film; `predictions.json` has the same and more in the end, also after an error or
    Ctrl-C. A film that can't be used doesn't stop the others; the table has its error. The table is of the last call
    only. What earlier calls wrote for the same films is replaced, and removed where a film fails.

    Args:
        films: files, and folders whose films are all taken, except those below `out`.
        weights, keep_spots, postprocess, keep_borders, window, tta, quality: as in `load`.
        out: where to write.
        writers: what to write for each film: names (`cxrkit list writer`), mappings of a `name` and parameters, or
            writers. By default masks and overlay.
        probabilities: also write what the writer `probabilities` does.
        device: as in training.
        workers: how many films are segmented side by side; None: one per core, at most 8. The results don't depend on
            it. On a CPU under Linux they are forked processes that compute with one thread each, elsewhere threads. An
            exported network computes one film at a time.
        resume: leave films alone whose content is the same as when the same weights, settings, writers and version of
            cxrkit segmented them.
        observer: is informed of the progress, and of the weights that are used.

    Raises:
        CxrkitError: no such weights or writer, no films at all, or a folder that can't be written to.
    """
    listener = observer or Silent()
    # The films first: a wrong path is reported before a network is loaded.
    chosen, missing = find_films(films, Path(out))
    named = registry().defaults("writer") if writers is None else writers
    built = build_writers([*named, *(["probabilities"] if probabilities else [])], registry())
    kept = {"keep_spots": keep_spots, "keep_borders": keep_borders, "tta": tta, "quality": quality}
    segmenter = load(weights, device=device, runtime=runtime, postprocess=postprocess, window=window, **kept)
    report_weights(segmenter.predictor, registry(), listener)
    return predict_films(
        chosen, segmenter, built, Path(out), missing=missing, observer=listener, workers=workers, resume=resume
    )


def export(
    run: Path | str,
    file: Path | str,
    *,
    checkpoint: Literal["auto", "best", "last"] = "auto",
    half: bool = True,
    int8: bool = False,
    data: str | None = None,
) -> Exported:
    """Write a run's network as a file to share, which `load` and `predict` can read.

    The suffix chooses the format: `.safetensors`, cxrkit's own, or that of an exporter (`cxrkit list exporter`), whose
    network is compared with the original on some films; how well they agree is returned.

    Args:
        run: the run's folder, a weights file, or the name of weights that a package provides.
        file: the new file.
        checkpoint: of a run: `best`, `last`, or `auto`: the best, if there is one.
        half: for `.safetensors`: store 16-bit floats, which halves the size; single pixels of masks can change.
        int8: use 8-bit integers, if the format has them; `data` calibrates them.
        data: films to compare and calibrate on, as for `--data`; by default those of the default dataset.

    Raises:
        CxrkitError: there are no such weights, `checkpoint` is given for something that isn't a run, `half` is False
            for a file of 16-bit floats, no exporter has the suffix, the exported network gives other masks, or the
            file can't be written.
    """
    # Here, because networks that were exported are loaded without torch.
    from cxrkit.config import make_config, resolve
    from cxrkit.data.sources import parse_source
    from cxrkit.engine.checkpoint import export_network
    from cxrkit.engine.exporting import Exported, export_elsewhere
    from cxrkit.engine.films import build_dataset

    (source, _), target = find_weights(run, registry()), Path(file)
    if source.is_dir():
        source = RunDirectory.open(source).weights(checkpoint)
    elif checkpoint != "auto":
        raise ConfigError(
            f"--checkpoint {checkpoint}: {run} isn't the folder of a run, and only a run has several.", "Leave it out."
        )
    if target.exists():
        raise ConfigError(f"{target} already exists.", "Choose another name.")
    if target.suffix == ".safetensors":
        if int8 or data:
            raise ConfigError(f"{target}: --int8 and --data are for other formats.", "Leave them out.")
        export_network(source, target, half=half)
        return Exported((target,))
    if int8 and data is None:
        raise ConfigError("--int8 needs films to calibrate with.", "Give some like yours: --data PLACE.")
    chosen = make_config({} if data is None else {"data": parse_source(data, registry().components("dataset"))})
    dataset = build_dataset(resolve(chosen, registry()), registry())
    return export_elsewhere(source, target, registry(), dataset, int8=int8)
