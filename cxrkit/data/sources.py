"""What `--data` means: a dataset's name, a place on disk, or NAME:PLACE."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cxrkit.errors import ConfigError, CxrkitError, DataError, nearest, reason
from cxrkit.files import home_path, remedy_of_missing

if TYPE_CHECKING:
    from cxrkit.component_config import DataConfigs
    from cxrkit.config import DataConfig
    from cxrkit.registry import Component

#: Names of what a place holds that an error shows.
_SHOWN = 8


def parse_sources(texts: Sequence[str], datasets: Sequence[Component]) -> dict[str, str] | list[dict[str, str]]:
    """What `--data`, which may be repeated, means: one source, or a list of several; see `parse_source`."""
    sources = [parse_source(text, datasets) for text in texts]
    return sources[0] if len(sources) == 1 else sources


def parse_data(
    data: DataConfig | Path | str | Sequence[DataConfig | Path | str], datasets: Sequence[Component]
) -> DataConfigs:
    """What Python's `data=` means: places, text as `parse_source` takes it, or settings; one or several.

    Raises:
        ConfigError, DataError: see `parse_source`.
    """
    from cxrkit.config import DataConfig, make_config

    several = [data] if isinstance(data, DataConfig | Path | str) else data
    # A Path is a place, even one that has the name of a dataset.
    texts = [str(home_path(one).absolute()) if isinstance(one, Path) else one for one in several]
    sources = [one.model_dump() if isinstance(one, DataConfig) else parse_source(one, datasets) for one in texts]
    return make_config({"data": sources}).data


def parse_source(text: str, datasets: Sequence[Component]) -> dict[str, str]:
    """`{"name": …}`, and `"root"` where there is a place, absolute.

    A dataset's name wins over a folder that is called like it; `./name` is the folder. A place without a name is
    read by the dataset that recognises it.

    Raises:
        ConfigError: it is neither a dataset nor a place, or several datasets recognise the place.
        DataError: no dataset recognises the place.
    """
    names = list(dict.fromkeys(component.name for component in datasets))
    if text in names:
        return {"name": text}
    name, colon, place = text.partition(":")
    if colon and name in names:
        if not place:
            raise ConfigError(f"--data {text}: nothing follows the colon.", f"Write {name}:FOLDER.")
        return {"name": name, "root": str(_existing(Path(place), text))}
    path = home_path(text)
    if not path.exists():
        raise ConfigError(
            f"--data {text}: there is no such file or folder, and no dataset of that name.",
            remedy_of_missing(
                text, f"{nearest(name, names)}Datasets: {', '.join(names)}. Give one, a folder, a CSV, or NAME:FOLDER."
            ),
        )
    root = path.resolve()
    return {"name": _reader(root, text, datasets), "root": str(root)}


def _reader(root: Path, text: str, datasets: Sequence[Component]) -> str:
    """The name of the one dataset that recognises a place."""
    recognising: list[str] = []
    faults: list[str] = []
    for component in datasets:
        try:
            # A factory needn't be a class; one that isn't must be named.
            recognises = getattr(component.target, "recognises", None)
            if recognises is not None and recognises(root):
                recognising.append(component.name)
        # A plugin may fail in any way; the others can still answer.
        except Exception as error:
            why = error.what if isinstance(error, CxrkitError) else reason(error)
            faults.append(f" '{component.name}' could not be asked ({why}).")
    recognising = list(dict.fromkeys(recognising))
    if len(recognising) == 1:
        return recognising[0]
    if recognising:
        raise ConfigError(
            f"--data {text}: several datasets recognise it: {', '.join(recognising)}.",
            f"Name the one that should read it: --data {recognising[0]}:{text}.",
        )
    expected = "; ".join(f"{component.name} ({component.summary})" for component in datasets)
    raise DataError(
        f"--data {text}: no dataset recognises what is there: {_held(root)}.",
        "Arrange the films as a dataset expects, or name the dataset, which then says what is missing: "
        f"--data NAME:{text}. Datasets: {expected}.{''.join(faults)}",
    )


def _held(root: Path) -> str:
    """What a folder holds, in a few words; or that the place is a file."""
    if not root.is_dir():
        return f"a {root.suffix or 'nameless kind of'} file"
    try:
        found = sorted(path.name + ("/" if path.is_dir() else "") for path in root.iterdir())
    except OSError as error:
        return f"it can't be listed ({error.strerror})"
    seen = [name for name in found if not name.startswith(".")]
    more = f" and {len(seen) - _SHOWN} more" if len(seen) > _SHOWN else ""
    return (", ".join(seen[:_SHOWN]) + more) or "nothing"


def _existing(path: Path, text: str) -> Path:
    path = home_path(path)
    if not path.exists():
        raise ConfigError(f"--data {text}: there is no such file or folder: {path}.", "Check the path.")
    return path.resolve()
