"""The files that writers make of films, and the folder that they go into."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from cxrkit.data.film_files import PREDICTIONS_LIST, UNFINISHED_LIST
from cxrkit.errors import ContractError, CxrkitError, PluginError, StorageError
from cxrkit.files import append_line, write_bytes, write_text
from cxrkit.interfaces import Writer
from cxrkit.registry import Registry
from cxrkit.segmentation import Segmentation

#: What writers may call their files: the names are joined to a folder, and what they name is later removed.
FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,149}")


def build_writers(chosen: Iterable[str | Mapping[str, Any] | Writer], registry: Registry) -> list[Writer]:
    """Writers by name, or as mappings of a `name` and parameters; one that is named twice is built once.

    Raises:
        ConfigError, PluginError: there is no such writer, or it doesn't accept a parameter.
    """
    writers: list[Writer] = []
    seen: list[Mapping[str, Any] | Writer] = []
    for item in chosen:
        named = {"name": item} if isinstance(item, str) else item
        if named in seen:
            continue
        seen.append(named)
        if isinstance(named, Mapping):
            parameters = dict(named)
            named = registry.get("writer", str(parameters.pop("name", ""))).build(**parameters)
        writers.append(named)
    return writers


def make_files(writers: Iterable[Writer], result: Segmentation) -> dict[str, bytes]:
    """The files of a film, name to content.

    Raises:
        CxrkitError: a writer can't write this film. ContractError: it broke its contract. PluginError: it failed.
    """
    files: dict[str, bytes] = {}
    source = result.film.source
    for writer in writers:
        label = ("" if source is None else f"{source.path}: ") + type(writer).__name__
        try:
            made = [*writer.files(result)]
        except CxrkitError:
            raise
        except Exception as error:  # one film's failure isn't that of the others
            raise PluginError(
                f"{label} failed: {type(error).__name__}: {error}", "Report it to its author, or leave the writer out."
            ) from error
        for item in made:
            match item:
                case (str() as name, bytes() as content) if FILE_NAME.fullmatch(name) and name not in files:
                    files[name] = content
                case _:
                    raise ContractError(
                        f"{label}: expected pairs of a plain file name that no other file has and bytes; got "
                        f"{str(item)[:80]!r}.",
                        "Fix the writer; `cxrkit plugins check` says more.",
                    )
    return files


class ResultsFolder:
    """Writes the files of films below a folder, and removes what earlier calls wrote of the same films.

    `predictions.json` lists what may be removed. Whatever it says, only plain names in the films' own folders are.
    Until a call has written that list, each film is noted in a file beside it, so that a killed call's files are known.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files, self._legacy = _listed(path / PREDICTIONS_LIST)
        self.files |= _noted(path / UNFINISHED_LIST)

    def write(self, film: str, files: Mapping[str, bytes]) -> tuple[str, ...]:
        """Replace what is there of a film, all of it or, on an error or Ctrl-C, with nothing; the names of the files.

        Raises:
            StorageError: they can't be written.
        """
        self.clear(film)
        if not self._is_own(film):
            raise StorageError(
                f"{self.path / film}: is a link to another place.", "Remove it, or choose another --out."
            )
        self.files[film] = tuple(files)
        append_line(self.path / UNFINISHED_LIST, json.dumps([film, *files]))
        try:
            for name, content in files.items():
                write_bytes(self.path / film / name, content)
        except BaseException:  # half of a film's results would pass for all of them
            self.clear(film)
            raise
        return self.files[film]

    def clear(self, film: str) -> None:
        """Remove what was written of a film, and its folder unless there is something else in it."""
        names, folder = {*self.files.pop(film, ()), *self._legacy}, self.path / film
        if not self._is_own(film):
            return
        for name in names:
            with suppress(OSError):
                (folder / name).unlink(missing_ok=True)
        with suppress(OSError):
            folder.rmdir()

    def _is_own(self, film: str) -> bool:
        """Whether a film's folder isn't a link to elsewhere."""
        return (self.path / film).resolve().parent == self.path.resolve()

    def save_list(self, listed: Mapping[str, Any], films: Sequence[str]) -> None:
        """Write `predictions.json`: what this call found, and which files earlier ones left of other films.

        Raises:
            StorageError: it can't be written.
        """
        earlier = {film: names for film, names in self.files.items() if film not in films}
        content = {**listed, **({"earlier": earlier} if earlier else {})}
        write_text(self.path / PREDICTIONS_LIST, json.dumps(content, indent=1) + "\n")
        (self.path / UNFINISHED_LIST).unlink(missing_ok=True)


def _listed(listing: Path) -> tuple[dict[str, tuple[str, ...]], set[str]]:
    """The files of each film by a list, and the names that any film may have by one written before it had files.

    Nothing where there is no list, or it can't be read.
    """
    files: dict[str, tuple[str, ...]] = {}
    legacy: set[str] = set()
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        content = json.loads(listing.read_text(encoding="utf-8"))
        for film, names in content.get("earlier", {}).items():
            files[film] = _plain(names)
        for row in content["films"]:
            if "files" in row:
                files[Path(row["folder"]).name] = _plain(row["files"])
            else:
                pictures = [name for area in row["areas"] for name in (area, f"{area}-probability")]
                names = _plain(f"{name}.png" for name in (*pictures, "overlay"))
                legacy |= {*names}
                files[Path(row["folder"]).name] = names
    return files, legacy


def _noted(listing: Path) -> dict[str, tuple[str, ...]]:
    """The files of each film that a call had begun to write when it was killed."""
    files: dict[str, tuple[str, ...]] = {}
    with suppress(OSError, UnicodeDecodeError):
        for line in listing.read_text(encoding="utf-8").splitlines():
            with suppress(ValueError, TypeError, RecursionError):  # the last line may be cut off
                film, *names = json.loads(line)
                files[str(film)] = _plain(names)
    return files


def _plain(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(name for name in names if FILE_NAME.fullmatch(name))
