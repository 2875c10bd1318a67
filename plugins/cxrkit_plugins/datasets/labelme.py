"""Films with polygons drawn in LabelMe: a JSON file a film."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from PIL import Image, ImageDraw
from pydantic import Field

from cxrkit import ConfigError, DataError
from cxrkit.data.images import FILM_SUFFIXES
from cxrkit.data.limits import refuse_huge
from cxrkit_plugins.datasets.annotated import Annotated as AnnotatedFilm
from cxrkit_plugins.datasets.annotated import AnnotatedDataset, film_id, read_json, side_lengths, warn_of_orphans
from cxrkit_plugins.datasets.listing import contents, inside

Points = Sequence[tuple[float, float]]


class LabelMeDataset(AnnotatedDataset):
    """LabelMe's JSON files and the films that they name, below one folder.

    The labels name the structures; several shapes of one label on a film are one mask. Polygons and rectangles are
    drawn as LabelMe draws them, with their outlines. A structure that a film has no shape of is unknown, not empty.

    Raises:
        ConfigError: no root is given.
        DataError: there are no such files, one isn't LabelMe's, or a structure isn't one of the labels.
    """

    def __init__(
        self,
        root: Path | None,
        *,
        annotations: Annotated[str, Field(description="folder of the JSON files, below the root")] = ".",
        structures: Annotated[list[str] | None, Field(description="labels to use, in this order (null: all)")] = None,
        spacing: Annotated[
            float | None, Field(gt=0, description="millimetres a pixel, of all films (null: as the films say)")
        ] = None,
    ) -> None:
        if root is None:
            raise ConfigError("The dataset 'labelme' needs to know where the data is.", "Name it: --data labelme:DIR.")
        root = Path(root)
        if not root.is_dir():
            raise DataError(f"{root}: there is no such folder.", "Check the path: --data labelme:DIR.")
        folder = inside(root, annotations, "data.annotations")
        files = [path for path in contents(folder) if path.suffix.lower() == ".json"]
        if not files:
            raise DataError(f"{folder}: there are no JSON files in it.", "Set data.annotations to their folder.")
        super().__init__(root, _read(root, files), structures, spacing)

    @classmethod
    def recognises(cls, root: Path) -> bool:
        """A folder in which a film and a JSON file have the same name."""
        if not root.is_dir():
            return False
        try:
            names = {path.name for path in root.iterdir()}
        except OSError:
            return False
        stems = {name[:-5] for name in names if name.endswith(".json")}
        return any(Path(name).suffix.lower() in FILM_SUFFIXES and Path(name).stem in stems for name in names)


def _read(root: Path, files: Sequence[Path]) -> dict[str, AnnotatedFilm]:
    films: dict[str, AnnotatedFilm] = {}
    for file in files:
        content = read_json(file)
        shapes = content.get("shapes") if isinstance(content, dict) else None
        if not isinstance(shapes, list) or not isinstance(content.get("imagePath"), str):
            raise DataError(f"{file}: isn't a LabelMe file: it has no shapes or no imagePath.", "Move it elsewhere.")
        beside = file.parent.relative_to(root) / content["imagePath"].replace("\\", "/")
        film = inside(root, beside.as_posix(), f"{file}, imagePath")
        name = film_id(film.relative_to(root).as_posix(), str(file))
        if name in films:
            raise DataError(f"{file}: the film {film} is also described by {films[name].source}.", "Keep one of them.")
        size = side_lengths(content.get("imageHeight"), content.get("imageWidth"), str(file))
        refuse_huge(file, *size)
        outlines: dict[str, list[Points]] = {}
        for shape in shapes:
            label, points = _outline(shape, file)
            outlines.setdefault(label, []).append(points)
        masks = {label: _drawing(found, size) for label, found in outlines.items()}
        films[name] = AnnotatedFilm(film, file, size, masks)
    orphans = [name for name, film in films.items() if not film.film.is_file()]
    warn_of_orphans(root, orphans)
    return {name: film for name, film in films.items() if name not in orphans}


def _outline(shape: Any, file: Path) -> tuple[str, Points]:
    """A shape's label and the corners of its polygon."""
    if not isinstance(shape, dict) or not isinstance(shape.get("label"), str):
        raise DataError(f"{file}: one of its shapes has no label.", "Give it one, or remove it.")
    label, kind, points = shape["label"], shape.get("shape_type", "polygon"), shape.get("points")
    least = {"polygon": 3, "rectangle": 2}.get(kind if isinstance(kind, str) else "")
    if least is None:
        raise DataError(
            f"{file}: '{label}' is a shape of the kind {str(kind)[:40]!r}; polygons and rectangles are read.",
            "Draw its outline as a polygon.",
        )
    try:
        corners = [(float(x), float(y)) for x, y in points]  # type: ignore[union-attr]
    except (TypeError, ValueError, OverflowError):
        corners = []
    if len(corners) < least or not np.isfinite(corners).all() or np.abs(corners).max() > 1e6:
        raise DataError(f"{file}: '{label}' isn't a {kind} of {least} or more points in pixels.", "Draw it again.")
    if kind == "rectangle":
        (left, top), (right, bottom) = corners[:2]
        corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    return label, corners


def _drawing(outlines: Sequence[Points], size: tuple[int, int]) -> Callable[[], np.ndarray]:
    def draw() -> np.ndarray:
        canvas = Image.new("1", (size[1], size[0]))
        for points in outlines:
            ImageDraw.Draw(canvas).polygon(list(points), outline=1, fill=1)
        return np.array(canvas, dtype=bool)

    return draw
