"""Films with COCO polygons or run lengths, as annotation tools such as CVAT, Label Studio and Roboflow write them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from cxrkit import ConfigError, DataError
from cxrkit.data.limits import refuse_huge
from cxrkit.errors import nearest
from cxrkit_plugins.datasets.annotated import Annotated as AnnotatedFilm
from cxrkit_plugins.datasets.annotated import AnnotatedDataset, film_id, read_json, side_lengths, warn_of_orphans
from cxrkit_plugins.datasets.listing import inside

#: A point this many pixels away from its film is none.
_FAR = 1e6
_FILES = ("annotations.json", "_annotations.coco.json", "instances_default.json", "annotations/instances_default.json")


class CocoDataset(AnnotatedDataset):
    """A COCO file (`annotations.json`, `instances_default.json`, ...) and its films, below one folder.

    The categories name the structures; several annotations of one category on a film are one mask. A structure that a
    film has no annotation of is unknown, not empty. Needs pycocotools: `pip install 'cxrkit[coco]'`.

    Raises:
        ConfigError: no root is given, or pycocotools is missing.
        DataError: the file isn't COCO's, or a structure isn't one of its categories; says what was found.
    """

    def __init__(
        self,
        root: Path | None,
        *,
        annotations: Annotated[
            str | None, Field(description="the COCO file, below the root (null: the usual names)")
        ] = None,
        images: Annotated[
            str | None, Field(description="folder of the films, below the root (null: images/, or beside the file)")
        ] = None,
        structures: Annotated[
            list[str] | None, Field(description="categories to use, in this order (null: all)")
        ] = None,
        spacing: Annotated[
            float | None, Field(gt=0, description="millimetres a pixel, of all films (null: as the films say)")
        ] = None,
    ) -> None:
        if root is None:
            raise ConfigError("The dataset 'coco' needs to know where the data is.", "Name it: --data coco:DIR.")
        root = Path(root)
        file = root if root.is_file() else _find(root, annotations)
        base = file.parent if root.is_file() else root
        if images is None:
            images = "images" if (base / "images").is_dir() else str(file.parent.relative_to(base))
        films = _read(file, inside(base, images, "data.images"), structures)
        super().__init__(root, films, structures, spacing)

    @classmethod
    def recognises(cls, root: Path) -> bool:
        """A folder that holds one of the usual COCO files, and neither a manifest nor `masks`."""
        if (root / "manifest.csv").exists() or (root / "masks").exists():
            return False
        return any((root / name).is_file() for name in _FILES)


def _find(root: Path, name: str | None) -> Path:
    if not root.is_dir():
        raise DataError(f"{root}: there is no such folder or file.", "Check the path: --data coco:DIR.")
    for usual in _FILES if name is None else (name,):
        if (file := inside(root, usual, "data.annotations")).is_file():
            return file
    raise DataError(
        f"{root}: there is no {name or ' or '.join(_FILES)} in it.", "Name the COCO file: --set data.annotations=FILE."
    )


def _read(file: Path, folder: Path, asked: Sequence[str] | None) -> dict[str, AnnotatedFilm]:
    content = read_json(file)
    lists = [content.get(key) if isinstance(content, dict) else None for key in ("images", "annotations", "categories")]
    if not all(isinstance(items, list) and all(isinstance(item, dict) for item in items) for items in lists):
        raise DataError(f"{file}: isn't a COCO file: images, annotations and categories are lists.", "Export it again.")
    pictures, annotations, categories = (items or [] for items in lists)
    names = {_number(item, "id", f"{file}, a category"): str(item.get("name", "")) for item in categories}
    films: dict[Any, AnnotatedFilm] = {}
    ids: dict[str, Any] = {}
    for picture in pictures:
        key = _number(picture, "id", f"{file}, an image")
        where = f"{file}, image {key}"
        path = inside(folder, str(picture.get("file_name", "")), where)
        name = film_id(str(picture.get("file_name", "")), where)
        if key in films or name in ids:
            raise DataError(f"{where}: the film '{name}' or its id occurs twice.", "Merge the two, or remove one.")
        size = side_lengths(picture.get("height"), picture.get("width"), where)
        refuse_huge(file, *size)
        films[key], ids[name] = AnnotatedFilm(path, file, size), key
    parts: dict[Any, dict[str, list[Any]]] = {key: {} for key in films}
    for annotation in annotations:
        where = f"{file}, annotation {annotation.get('id')}"
        category, key = annotation.get("category_id"), annotation.get("image_id")
        if not isinstance(category, int) or category not in names:
            text = str(category)
            raise DataError(
                f"{where}: its category {text[:40]} isn't in the file.",
                f"{nearest(text, names.values())}Categories: {', '.join(f'{n} ({i})' for i, n in names.items())}.",
            )
        if not isinstance(key, int) or key not in films:
            raise DataError(f"{where}: its image {str(key)[:40]} isn't in the file.", "Export the file again.")
        parts[key].setdefault(names[category], []).append(annotation.get("segmentation"))
    for key, film in films.items():
        film.masks = {name: _drawing(found, film.size, film, name) for name, found in parts[key].items()}
    there = {name: films[key] for name, key in ids.items() if films[key].film.is_file()}
    warn_of_orphans(file, sorted(ids.keys() - there.keys()))
    if not there:
        raise DataError(f"{file}: none of its {len(ids)} films is in {folder}.", "Set data.images to their folder.")
    return there


def _number(item: Mapping[str, Any], key: str, where: str) -> int:
    value = item.get(key)
    if not isinstance(value, int):
        raise DataError(f"{where}: its '{key}' is {str(value)[:40]}, not a whole number.", "Export the file again.")
    return value


def _drawing(
    segmentations: Sequence[Any], size: tuple[int, int], film: AnnotatedFilm, name: str
) -> Callable[[], np.ndarray]:
    def draw() -> np.ndarray:
        union = np.zeros(size, dtype=bool)
        for segmentation in segmentations:
            drawn = _polygons(segmentation, size) if isinstance(segmentation, list) else _runs(segmentation, size)
            if drawn is None:
                raise DataError(
                    f"{film.source}: '{name}' of {film.film.name} has neither polygons [x, y, x, y, ...] of three or "
                    f"more points nor run lengths of {size[1]} × {size[0]} pixels.",
                    "Draw it again, or export it in another way.",
                )
            union |= drawn
        return union

    return draw


def _polygons(polygons: Sequence[Any], size: tuple[int, int]) -> np.ndarray | None:
    """Polygons as COCO draws them, bool `(H, W)`; None where one isn't a polygon, which pycocotools would trust."""
    try:
        from pycocotools import mask
    except ImportError as error:
        raise ConfigError("Reading COCO's polygons needs pycocotools.", "pip install 'cxrkit[coco]'") from error
    for polygon in polygons:
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
            return None
        if not all(isinstance(value, int | float) and abs(value) < _FAR for value in polygon):
            return None
    return np.any(mask.decode(mask.frPyObjects(polygons, *size)), axis=2) if polygons else None


def _runs(segmentation: Any, size: tuple[int, int]) -> np.ndarray | None:
    """Run lengths by columns, of background and structure in turns, bool `(H, W)`; None where they don't fit."""
    if not isinstance(segmentation, dict) or segmentation.get("size") != list(size):
        return None
    counts = segmentation.get("counts")
    counts = _uncompressed(counts) if isinstance(counts, str) else counts
    if not isinstance(counts, list) or not all(isinstance(count, int) and count >= 0 for count in counts):
        return None
    if sum(counts) != size[0] * size[1]:
        return None
    inside = np.arange(len(counts)) % 2 == 1
    return np.repeat(inside, counts).reshape(size[::-1]).T


def _uncompressed(text: str) -> list[int] | None:
    """Counts from COCO's text: 5 bits a character; from the fourth on, differences to the count before the last."""
    counts: list[int] = []
    value = shift = 0
    for sign in text:
        code = ord(sign) - 48
        if not 0 <= code < 64 or shift > 40:
            return None
        value |= (code & 31) << shift
        shift += 5
        if not code & 32:
            value -= (1 << shift) if code & 16 else 0
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    return None if shift else counts
