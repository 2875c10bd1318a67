"""How far the estimate of a mask's Dice coefficient can be trusted, and which bad masks are warned of.

    python examples/quality.py lungs-heart --data WINGSPAN --data MONTGOMERY \\
        --split examples/splits/wingspan-all.json --out quality.json

Segments the test films of a split (all films of a folder that has none of them) as they are and changed in several
ways. Prints and writes, beside the JSON, as .md: the rank correlation of estimate and Dice coefficient, the area under
the ROC curve of finding masks below 0.90, and the share of bad and of good masks that are warned of; and as .png the
estimates against what the masks had. What is in the JSON already isn't computed again.
"""

from __future__ import annotations

import argparse
import json
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import matplotlib as mpl
import numpy as np

import cxrkit
from cxrkit.data.preprocess import film_levels, resize_film, resize_mask
from cxrkit.data.splits import Split
from cxrkit.errors import CxrkitError
from cxrkit.files import atomic_path, write_text
from cxrkit.metrics.overlap import dice
from cxrkit.metrics.quality import LEAST_QUALITY, ranking
from cxrkit.plugins import registry

mpl.use("Agg")
from matplotlib import pyplot as plt

#: Pixels of the longer side that films are reduced to.
LARGEST = 1024


class Film(NamedTuple):
    """A film, float32 `(H, W)` in [0, 1], and its masks, bool `(H, W)`."""

    levels: np.ndarray
    masks: Mapping[str, np.ndarray]

    def moved(self, function: Callable[[np.ndarray], np.ndarray]) -> Film:
        """The film and its masks after a function of either."""
        masks = {name: function(mask.astype(np.uint8)) > 0 for name, mask in self.masks.items()}
        return Film(np.ascontiguousarray(function(self.levels)), masks)


def noisy(film: Film, deviation: float, random: np.random.Generator) -> Film:
    """Gaussian noise of so many of 255 grey values."""
    return film._replace(levels=np.clip(film.levels + random.normal(0, deviation / 255, film.levels.shape), 0, 1))


def compressed(film: Film, quality: int) -> Film:
    """After JPEG of that quality."""
    _, stream = cv2.imencode(".jpg", np.rint(255 * film.levels).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return film._replace(levels=cv2.imdecode(stream, cv2.IMREAD_GRAYSCALE) / 255)


def turned(film: Film, degrees: float) -> Film:
    """Turned about its centre; black comes in at the corners."""
    height, width = film.levels.shape
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1)
    return film.moved(lambda plane: cv2.warpAffine(plane, matrix, (width, height), flags=cv2.INTER_NEAREST))


def with_opaque_base(film: Film, lung: str) -> Film:
    """The lower 45 % of a lung as bright as the tissue around it, with a soft edge."""
    mask = film.masks[lung]
    rows = np.flatnonzero(mask.any(axis=1))
    veil = cv2.dilate(mask.astype(np.float32), np.ones((15, 15)))
    veil[: rows[0] + round(0.55 * len(rows))] = 0
    veil = 0.9 * cv2.GaussianBlur(veil, (0, 0), max(mask.shape) / 100)
    return film._replace(levels=film.levels * (1 - veil) + np.quantile(film.levels, 0.85) * veil)


CHANGES: dict[str, Callable[[Film, np.random.Generator], Film]] = {
    "clean": lambda film, _: film,
    "noise sd 10": lambda film, random: noisy(film, 10, random),
    "noise sd 25": lambda film, random: noisy(film, 25, random),
    "JPEG quality 10": lambda film, _: compressed(film, 10),
    "gamma 2": lambda film, _: film._replace(levels=film.levels**2),
    "turned by 10°": lambda film, _: turned(film, 10),
    "opaque left base": lambda film, _: with_opaque_base(film, "left_lung"),
    "opaque right base": lambda film, _: with_opaque_base(film, "right_lung"),
    "mirrored": lambda film, _: film.moved(np.fliplr),
    "upside down": lambda film, _: film.moved(np.flipud),
}


def films_of(root: Path, split: Path | None, limit: int | None) -> Iterator[tuple[str, Film]]:
    """The films of a folder that a split tests on, or all if it has none of them; at most `limit`."""
    dataset, hospital = registry().get("dataset", "folder").build(root.resolve()), root.resolve().name
    test = set(Split.load(split).test) if split else set()
    entries = list(dataset.entries())
    kept = [one for one in entries if {one.id, f"{hospital}+{one.id}"} & test] or entries
    for entry in kept[:limit]:
        sample = dataset.read(entry)
        scale = min(1.0, LARGEST / max(sample.image.shape))
        shape = (round(scale * sample.image.shape[0]), round(scale * sample.image.shape[1]))
        masks = {name: resize_mask(mask, shape) for name, mask in sample.masks.items()}
        yield entry.id, Film(resize_film(film_levels(sample.image), shape), masks)


def measured(segmenter: Any, film: Film) -> dict[str, dict[str, Any]]:
    """Of each structure that the film has a mask of: the true Dice coefficient, its estimate, and the warnings."""
    found = segmenter(film.levels.astype(np.float32))
    names = [name.replace("_", " ") for name in found.masks]
    rows = {}
    for name in film.masks.keys() & found.masks.keys():
        others = tuple(f"{one}:" for one in names if one != name.replace("_", " "))
        warnings = [text for text in found.warnings if not text.startswith(others)]
        overlap = dice(found.masks[name], film.masks[name])
        rows[name] = {"dice": round(overlap, 4), "estimate": found.quality.get(name), "warnings": warnings}
    return rows


def text_of(results: Mapping[str, Mapping[str, Mapping[str, Mapping[str, Any]]]]) -> str:
    """Two tables as Markdown: by structure, and by change."""
    masks = [
        (hospital, kind, name, row)
        for hospital, kinds in results.items()
        for kind, films in kinds.items()
        for film in films.values()
        for name, row in film.items()
    ]
    head = "masks | below 0.90 | rank correlation | AUC | mean error | bad ones warned | good ones warned |"
    parts = []
    for title, key in (("structure", lambda one: f"{one[2]}, {one[0]}"), ("films", lambda one: one[1])):
        parts.append(f"| {title} | {head}\n| --- |" + " ---: |" * 7)
        groups: dict[str, list[Any]] = {}
        for one in masks:
            groups.setdefault(key(one), []).append(one[3])
        groups["all"] = [one[3] for one in masks]
        parts += [f"| {group} | {' | '.join(numbers(rows))} |" for group, rows in groups.items()]
        parts.append("")
    return "\n".join(parts)


def numbers(rows: list[dict[str, Any]]) -> list[str]:
    """The cells of a group of masks."""
    estimated = [row for row in rows if row["estimate"] is not None]
    estimates, truth = ([row[key] for row in estimated] for key in ("estimate", "dice"))
    correlation, area = ranking(estimates, truth) if estimated else (None, None)
    error = float(np.mean(np.abs(np.subtract(estimates, truth)))) if estimated else None
    bad, good = ([row for row in rows if (row["dice"] < LEAST_QUALITY) == wanted] for wanted in (True, False))
    warned = [f"{sum(bool(row['warnings']) for row in part)} of {len(part)}" for part in (bad, good)]
    return [
        str(len(rows)),
        str(len(bad)),
        *("–" if v is None else f"{v:.3f}" for v in (correlation, area, error)),
        *warned,
    ]


def plot(results: Mapping[str, Mapping[str, Mapping[str, Mapping[str, Any]]]], file: Path) -> None:
    """Estimate against truth, one point a mask, and the mean truth of tenths of the masks, ordered by estimate."""
    rows = [
        row
        for kinds in results.values()
        for films in kinds.values()
        for film in films.values()
        for row in film.values()
    ]
    pairs = np.array(sorted((row["estimate"], row["dice"]) for row in rows if row["estimate"] is not None))
    if not len(pairs):
        return
    figure, axes = plt.subplots(figsize=(5, 5), layout="constrained")
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    axes.plot(pairs[:, 0], pairs[:, 1], ".", markersize=3, alpha=0.4, label="a mask")
    means = np.array([part.mean(axis=0) for part in np.array_split(pairs, min(10, len(pairs)))])
    axes.plot(means[:, 0], means[:, 1], "o-", color="C1", label="means of tenths")
    axes.set(xlabel="estimated Dice coefficient", ylabel="Dice coefficient", xlim=(0, 1), ylim=(0, 1))
    axes.legend()
    with atomic_path(file) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", nargs="+", help="names, files or runs; the mean of several")
    parser.add_argument("--data", type=Path, action="append", required=True, help="a folder of films; may be repeated")
    parser.add_argument("--split", type=Path, help="measure only the test films of this split.json")
    parser.add_argument("--limit", type=int, help="measure only so many films of each folder")
    parser.add_argument("--only", action="append", choices=list(CHANGES), help="may be repeated")
    parser.add_argument("--out", type=Path, default=Path("quality.json"))
    options = parser.parse_args()
    try:
        segmenter = cxrkit.load(options.weights[0] if len(options.weights) == 1 else options.weights, device="cpu")
        of = {"weights": getattr(segmenter.weights, "sha256", None), "limit": options.limit}
        before = json.loads(options.out.read_text(encoding="utf-8")) if options.out.is_file() else {}
        if before and before["of"] != of:
            sys.exit(f"{options.out}: holds results of other weights or films. Choose another --out.")
        results = before.get("results", {})
        for root in options.data:
            for film, whole in films_of(root, options.split, options.limit):
                for kind in options.only or CHANGES:
                    done = results.setdefault(root.resolve().name, {}).setdefault(kind, {})
                    if film not in done:
                        random = np.random.default_rng(zlib.crc32(f"{kind}/{film}".encode()))
                        done[film] = measured(segmenter, CHANGES[kind](whole, random))
                write_text(options.out, json.dumps({"of": of, "results": results}, indent=1) + "\n")
                print(f"{root.name}: {film}", file=sys.stderr, flush=True)
    except CxrkitError as error:
        sys.exit(f"{error.what} {error.remedy}")
    text = text_of(results)
    write_text(options.out.with_suffix(".md"), text)
    plot(results, options.out.with_suffix(".png"))
    print(text)


if __name__ == "__main__":
    main()
