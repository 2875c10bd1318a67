"""What `--data` means: a dataset's name, a place on disk, or NAME:PLACE."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from cxrkit.errors import ConfigError, nearest

#: Entries of a folder that are looked at to tell what it holds.
_LOOK_AT = 20_000
_JSRT_FILM = re.compile(r"JPC(LN|NN)\d{3}\.\w+", re.IGNORECASE)


def parse_source(text: str, datasets: Sequence[str]) -> dict[str, str]:
    """`{"name": …}`, and `"root"` where there is a place, absolute.

    A dataset's name wins over a folder that is called like it; `./name` is the folder.

    Args:
        text: what stood behind `--data`.
        datasets: the registered datasets' names.

    Raises:
        ConfigError: it is neither a dataset nor a place.
    """
    if text in datasets:
        return {"name": text}
    name, colon, place = text.partition(":")
    if colon and name in datasets:
        if not place:
            raise ConfigError(f"--data {text}: no place stands behind the colon.", f"Write {name}:FOLDER.")
        return {"name": name, "root": str(_existing(Path(place), text))}
    path = Path(text).expanduser()
    if not path.exists():
        raise ConfigError(
            f"--data {text}: there is no such file or folder, and no dataset of that name.",
            f"{nearest(name, datasets)}Datasets: {', '.join(datasets)}. Give one, a folder, a CSV, or NAME:FOLDER.",
        )
    return {"name": "jsrt" if looks_like_jsrt(path) else "folder", "root": str(path.resolve())}


def looks_like_jsrt(folder: Path) -> bool:
    """Whether a folder holds JSRT's films (`JPCLN001.IMG`, or converted) or SCR's masks (`fold1/masks`).

    Films converted into `images/` and `masks/` are a plain folder.
    """
    if not folder.is_dir() or ((folder / "images").is_dir() and (folder / "masks").is_dir()):
        return False
    return any(
        _JSRT_FILM.fullmatch(path.name) or (path.name in ("fold1", "fold2") and (path / "masks").is_dir())
        for path in islice(_inside(folder), _LOOK_AT)
    )


def _inside(folder: Path) -> Iterator[Path]:
    """What a folder and its subfolders hold, three levels deep, the upper levels first."""
    level = [folder]
    for _ in range(3):
        found = [path for place in level for path in _listed(place)]
        yield from found
        level = [path for path in found if path.is_dir()]


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:  # not ours to read; the dataset will say so if it matters
        return []


def _existing(path: Path, text: str) -> Path:
    path = path.expanduser()
    if not path.exists():
        raise ConfigError(f"--data {text}: there is no such file or folder: {path}.", "Check the path.")
    return path.resolve()
