"""How weights hold on films that are worse than, or other than, those that they were trained on.

    python examples/perturbations.py lungs-heart --data WINGSPAN --data MONTGOMERY \\
        --split examples/splits/lungs-heart-2.json --out perturbations.json

Segments the test films of a split, or all films without one, as they are and once for each perturbation, as `cxrkit
predict` does. Prints and writes (beside the JSON, as .md) a table for each hospital: the Dice coefficient of both lungs
together and of the heart, how many of them are below 0.90, and how many of those films had a warning. What is in the
JSON already isn't computed again. Several weights are averaged, where this cxrkit can do that.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

import cxrkit
from cxrkit.data.splits import Split
from cxrkit.errors import CxrkitError
from cxrkit.files import write_text
from cxrkit.metrics.overlap import dice
from cxrkit.plugins import registry

GOOD = 0.90
FULL = 255
#: Films fill so much of the range below a label or a saturated pixel at its end, as 12 bits do in a file of 16.
FILLED = 1 / 16


class Film(NamedTuple):
    """A film, uint8 or uint16 `(H, W)`, and its masks, bool `(H, W)`."""

    pixels: np.ndarray
    masks: Mapping[str, np.ndarray]

    def moved(self, function: Callable[[np.ndarray], np.ndarray]) -> Film:
        """The film and its masks after a function of either."""
        masks = {name: function(mask.astype(np.uint8)) > 0 for name, mask in self.masks.items()}
        return Film(np.ascontiguousarray(function(self.pixels)), masks)


def darkened(film: Film) -> np.ndarray:
    """Its grey values, uint16, in the lower part of the range; the rest is free."""
    return np.rint(film.pixels * (257 * FILLED)).astype(np.uint16)


def labelled(film: Film, height: float, width: float) -> Film:
    """A white label in a grey frame at the upper left, whose sides are these shares of the film's."""
    pixels = darkened(film)
    rows, columns = (round(share * side) for share, side in zip((height, width), pixels.shape, strict=True))
    top, left = (round(0.03 * side) for side in pixels.shape)
    label = np.full((rows, columns), FULL, np.uint8)
    cv2.putText(label, "R", (rows // 4, 3 * rows // 4), cv2.FONT_HERSHEY_SIMPLEX, rows / 40, 0, 2)
    cv2.rectangle(label, (0, 0), (columns - 1, rows - 1), FULL // 2, thickness=rows // 8)
    pixels[top : top + rows, left : left + columns] = label * np.uint16(257)
    return film._replace(pixels=pixels)


def saturated(film: Film, random: np.random.Generator) -> Film:
    """One pixel at full scale, as dead detector elements and dust leave them."""
    pixels = darkened(film)
    pixels[tuple(random.integers(0, pixels.shape))] = 257 * FULL
    return film._replace(pixels=pixels)


def noisy(film: Film, deviation: float, random: np.random.Generator) -> Film:
    """Gaussian noise of so many grey values."""
    changed = film.pixels + random.normal(0, deviation, film.pixels.shape)
    return film._replace(pixels=np.clip(np.rint(changed), 0, FULL).astype(np.uint8))


def compressed(film: Film, quality: int) -> Film:
    """After JPEG of that quality."""
    _, stream = cv2.imencode(".jpg", film.pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return film._replace(pixels=cv2.imdecode(stream, cv2.IMREAD_GRAYSCALE))


def with_gamma(film: Film, gamma: float) -> Film:
    """Grey values to this power."""
    return film._replace(pixels=np.rint(FULL * (film.pixels / FULL) ** gamma).astype(np.uint8))


def rotated(film: Film, degrees: float) -> Film:
    """Turned anticlockwise about its centre; black comes in at the corners."""
    height, width = film.pixels.shape
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1)
    return film.moved(lambda plane: cv2.warpAffine(plane, matrix, (width, height), flags=cv2.INTER_NEAREST))


def cropped(film: Film, share: float) -> Film:
    """Without this share of its height and width, half of it at either side."""
    rows, columns = (round(share / 2 * side) for side in film.pixels.shape)
    return film.moved(lambda plane: plane[rows : plane.shape[0] - rows, columns : plane.shape[1] - columns])


def padded(film: Film, share: float) -> Film:
    """In a black frame of this share of each side."""
    rows, columns = (round(share * side) for side in film.pixels.shape)
    return film.moved(lambda plane: np.pad(plane, ((rows, rows), (columns, columns))))


PERTURBATIONS: dict[str, Callable[[Film, np.random.Generator], Film]] = {
    "clean": lambda film, _: film,
    "label": lambda film, _: labelled(film, 0.06, 0.16),
    "large label": lambda film, _: labelled(film, 0.12, 0.25),
    "saturated pixel": saturated,
    "noise sd 10": lambda film, random: noisy(film, 10, random),
    "noise sd 25": lambda film, random: noisy(film, 25, random),
    "JPEG quality 30": lambda film, _: compressed(film, 30),
    "JPEG quality 10": lambda film, _: compressed(film, 10),
    "gamma 0.5": lambda film, _: with_gamma(film, 0.5),
    "gamma 2": lambda film, _: with_gamma(film, 2),
    "inverted polarity": lambda film, _: film._replace(pixels=FULL - film.pixels),
    "rotated 15°": lambda film, _: rotated(film, 15),
    "rotated -15°": lambda film, _: rotated(film, -15),
    "rotated 30°": lambda film, _: rotated(film, 30),
    "rotated -30°": lambda film, _: rotated(film, -30),
    "cropped by 10 %": lambda film, _: cropped(film, 0.1),
    "padded by 20 %": lambda film, _: padded(film, 0.2),
    "turned 90°": lambda film, _: film.moved(np.rot90),
    "turned 180°": lambda film, _: film.moved(lambda plane: np.rot90(plane, 2)),
}


def as_bytes(pixels: np.ndarray) -> np.ndarray:
    """A film in 8 bits: as it is, or between its darkest and its brightest grey value."""
    if pixels.dtype == np.uint8:
        return pixels
    low, high = float(pixels.min()), float(pixels.max())
    return np.rint((pixels.astype(np.float64) - low) * (FULL / max(high - low, 1e-9))).astype(np.uint8)


def scores_of(segmenter: Any, film: Film) -> dict[str, Any]:
    """Dice coefficients of what the film has masks of, and the warnings."""
    found = segmenter(film.pixels)
    lungs = ("left_lung", "right_lung")
    measured: dict[str, float] = {}
    if all(name in film.masks and name in found.masks for name in lungs):
        left, right = ([masks[name] for masks in (found.masks, film.masks)] for name in lungs)
        measured["lungs"] = dice(*map(np.logical_or, left, right))
    others = [name for name in film.masks if name not in lungs and name in found.masks]
    measured |= {name: dice(found.masks[name], film.masks[name]) for name in others}
    return {"dice": {name: round(value, 5) for name, value in measured.items()}, "warnings": list(found.warnings)}


def tables(results: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """The results as Markdown, a table a hospital."""
    parts: list[str] = []
    for hospital, rows in results.items():
        clean = rows.get("clean", {})
        structures = list(dict.fromkeys(name for film in clean.values() for name in film["dice"]))
        columns = ("Dice", "change", f"below {GOOD:.2f}", "of them warned")
        heads = [f"{name}: {column}" for name in structures for column in columns]
        parts.append(f"### {hospital}, {len(clean)} films\n\n| films | {' | '.join(heads)} | good films warned |")
        parts.append("| --- " + "| ---: " * (len(heads) + 1) + "|")
        for kind, films in rows.items():
            cells = [kind]
            for name in structures:
                scored = {film: one for film, one in films.items() if name in one["dice"]}
                mean = np.mean([one["dice"][name] for one in scored.values()])
                before = np.mean([clean[film]["dice"][name] for film in scored])
                bad = [one for one in scored.values() if one["dice"][name] < GOOD]
                change = "" if kind == "clean" else f"{mean - before:+.4f}"
                cells += [f"{mean:.4f}", change, str(len(bad)), str(sum(bool(one["warnings"]) for one in bad))]
            good = [one for one in films.values() if min(one["dice"].values(), default=1) >= GOOD]
            cells.append(f"{sum(bool(one['warnings']) for one in good)} of {len(good)}")
            parts.append("| " + " | ".join(cells) + " |")
        parts.append("")
    return "\n".join(parts)


def measure(options: argparse.Namespace) -> None:
    """Compute what is missing in the JSON, and write it after each perturbation of a hospital."""
    weights = options.weights[0] if len(options.weights) == 1 else options.weights
    segmenter = cxrkit.load(weights, device=options.device)
    if options.levels:
        changed = segmenter.predictor.preprocess.model_copy(update={"levels": options.levels})
        segmenter.predictor.preprocess = changed
    source = segmenter.weights
    test = set(Split.load(options.split).test) if options.split else None
    identity = {
        "weights": options.weights,
        "sha256": getattr(source, "sha256", None),
        "levels": options.levels or "the weights' own",
        "films": hashlib.sha256(json.dumps(sorted(test) if test is not None else None).encode()).hexdigest()[:16],
        "limit": options.limit,
    }
    before = json.loads(options.out.read_text(encoding="utf-8")) if options.out.is_file() else {}
    if before and before["of"] != identity:
        raise CxrkitError(f"{options.out}: holds results of other weights or films.", "Choose another --out.")
    results = before.get("results", {})
    for root in options.data:
        dataset, hospital = registry().get("dataset", "folder").build(root.resolve()), root.resolve().name
        entries = [one for one in dataset.entries() if test is None or {one.id, f"{hospital}+{one.id}"} & test]
        entries = entries[: options.limit]
        rows = results.setdefault(hospital, {})
        for kind in options.only or PERTURBATIONS:
            if kind in rows:
                continue
            films = {}
            for entry in entries:
                sample = dataset.read(entry)
                random = np.random.default_rng(zlib.crc32(f"{kind}/{entry.id}".encode()))
                film = PERTURBATIONS[kind](Film(as_bytes(sample.image), sample.masks), random)
                films[entry.id] = scores_of(segmenter, film)
            rows[kind] = films
            write_text(options.out, json.dumps({"of": identity, "results": results}, indent=1) + "\n")
            print(f"{hospital}: {kind}", file=sys.stderr, flush=True)
    text = tables(results)
    write_text(options.out.with_suffix(".md"), text)
    print(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", nargs="+", help="a name, file or run")
    parser.add_argument("--data", type=Path, action="append", required=True, help="a folder of films; may be repeated")
    parser.add_argument("--split", type=Path, help="measure only the test films of this split.json")
    parser.add_argument("--out", type=Path, default=Path("perturbations.json"))
    parser.add_argument("--only", action="append", choices=list(PERTURBATIONS), help="may be repeated")
    parser.add_argument("--levels", choices=["range", "robust"], help="instead of the weights' own preprocess.levels")
    parser.add_argument("--limit", type=int, help="measure only so many films of each folder")
    parser.add_argument("--device", default="auto")
    try:
        measure(parser.parse_args())
    except CxrkitError as error:
        sys.exit(f"{error.what} {error.remedy}")


if __name__ == "__main__":
    main()
