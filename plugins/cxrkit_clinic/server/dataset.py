"""The dataset that corrected masks are saved to: `images/`, `masks/<structure>/`, and a journal.

The dataset `folder` reads it. Which films train is a matter of two manifests, which are kept up to date with each
stroke: `manifest.csv` lists the films whose masks are all confirmed, and is what `train --data` takes by itself;
`drawn.csv` lists all films, for `--set data.manifest=drawn.csv`.

A mask is written completely or not at all, and then the journal gets its line. One whose line is missing, because the
process ended between the two, counts as corrected. Films of one patient, as their DICOM headers say, have one name in
the manifests' column `patient`: that of the first of them, so that nothing of the header gets there.

A film is known by its content: its id says only where it lies in the folder that is served, and another folder may have
another film there.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cxrkit.commands import ConfigError, DataError, StorageError, film_name, locked, storage_error, write_bytes
from cxrkit_clinic.node.durable import append, utc
from cxrkit_clinic.same_files import same_content
from cxrkit_clinic.server.folder import FilmFile, Folder
from cxrkit_clinic.server.masks import png_of
from cxrkit_clinic.server.patients import patient_of
from cxrkit_plugins.datasets.listing import structure_name

State = Literal["proposed", "corrected", "confirmed"]
JOURNAL, CONFIRMED, DRAWN = "journal.jsonl", "manifest.csv", "drawn.csv"
#: What a manifest's columns mean that are no structures.
_TAKEN = ("background", "labels", "id", "image", "patient", "fold", "split", "spacing", "row_spacing", "col_spacing")


@dataclass(frozen=True)
class MaskState:
    """What is known of a mask.

    Attributes:
        state: as the network proposed it, as somebody drew it, or confirmed.
        revision: how often it was saved; whoever saves it names the revision that was corrected.
        who, when: of the last time.
        pixels: how many it has.
    """

    state: State
    revision: int
    who: str
    when: str
    pixels: int


class ConflictError(Exception):
    """Somebody else saved the mask in between."""

    def __init__(self, current: MaskState) -> None:
        super().__init__(current)
        self.current = current


class Drawings:
    """Films with masks that are corrected; a context manager that locks the dataset.

    Args:
        root: the dataset's folder, new or an earlier one. Masks that are older than its journal count as confirmed.
        structures: the masks to draw, snake_case.
        served: the films that are corrected, as far as they are known: two of them are never taken for one.

    Raises:
        ConfigError: a structure can't be called so, another server has the dataset open, or it has a manifest that
            isn't ours. DataError: its journal is damaged. StorageError: it can't be written to.
    """

    def __init__(self, root: Path, structures: Sequence[str], served: Folder | None = None) -> None:
        wrong = [name for name in structures if not name or structure_name(name) != name or name in _TAKEN]
        if wrong or len(set(structures)) < len(structures) or not structures:
            what = f"'{wrong[0]}' can't name a structure" if wrong else "names none, or one twice"
            raise ConfigError(f"--structures: {what}.", "Write them as left_lung,heart.")
        self.root, self.structures, self._served = root, tuple(structures), served
        self._states: dict[str, dict[str, MaskState]] = {}
        self._images: dict[str, str] = {}
        self._sources: dict[str, str] = {}
        self._names: dict[str, str] = {}
        self._used: set[str] = set()
        self._sizes: dict[int, list[str]] = {}
        self._patients: dict[str, tuple[str, str]] = {}
        self._folders: dict[str, Path] = {}
        self._written: dict[str, str] = {}
        self._lock = threading.Lock()
        self._open = ExitStack()

    def __enter__(self) -> Drawings:
        with ExitStack() as opening:
            try:
                self.root.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise storage_error(self.root, error) from error
            busy = ConfigError(f"{self.root}: another cxrkit annotate has it open.", "End that one, or use its page.")
            opening.enter_context(locked(self.root / ".lock", busy))
            if not (self.root / JOURNAL).exists() and (self.root / CONFIRMED).exists():
                raise ConfigError(
                    f"{self.root}: has a {CONFIRMED} of its own, which would be replaced.", "Choose another --out."
                )
            with self._lock:
                for folder in sorted(self.root.glob("masks/*/")):
                    self._folders.setdefault(structure_name(folder.name), folder)
                self._read(self.root / JOURNAL)
                self._adopt()
                for name in self._images:
                    self._look_at(name)
                self._write_manifests()
            self._open = opening.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def states(self, film: FilmFile) -> dict[str, MaskState]:
        """Structure to the state of its mask, of those that there are."""
        with self._lock:
            found = self._states.get(self._name(film), {})
            return {name: found[name] for name in self.structures if name in found}

    def files(self, film: FilmFile) -> dict[str, Path]:
        """Structure to the file of its mask, of those that there are."""
        with self._lock:
            name = self._name(film)
            return {
                structure: file
                for structure in self.structures
                if structure in self._states.get(name, {}) and (file := self._mask(name, structure)) is not None
            }

    def save(self, film: FilmFile, structure: str, mask: np.ndarray, state: State, *, base: int, who: str) -> MaskState:
        """Save a mask, bool `(H, W)` of the film's size, and the film itself if it is new.

        Raises:
            ConflictError: its revision isn't `base` any more. DataError: it is empty, and to be confirmed.
            StorageError: the disk is full, say; it can be saved again.
        """
        pixels = int(mask.sum())
        if state == "confirmed" and not pixels:
            raise DataError(
                f"{film.name}: the mask of the {structure.replace('_', ' ')} is empty.",
                "Draw it, or leave the film unconfirmed: films train with all masks or not at all.",
            )
        content = png_of(mask)
        with self._lock:
            name = self._name(film)
            if not name:
                raise DataError(f"{film.name}: can't be read.", "Check that it is there, and its permissions.")
            before = self._states.get(name, {}).get(structure)
            file = self._folder(structure) / f"{name}.png"
            if before is not None and before.revision != base:
                if before.state == state and _content(file) == content:
                    self._write_manifests()
                    return before  # the answer was lost, and it is sent again
                raise ConflictError(before)
            self._save_film(film, name)
            write_bytes(file, content)
            now = MaskState(state, base + 1, who, utc(time.time()), pixels)
            self._note({"film": name, "structure": structure, **asdict(now)})
            self._states.setdefault(name, {})[structure] = now
            self._write_manifests()
        return now

    def _name(self, film: FilmFile) -> str:
        """What the film is called in the dataset; empty as long as it can't be read."""
        if film.id not in self._names:
            try:
                chosen = self._find(film) or self._new_name(film)
            except OSError:
                return ""
            self._names[film.id] = chosen
            self._used.add(chosen)
        return self._names[film.id]

    def _find(self, film: FilmFile) -> str | None:
        """The name of the film that is in the dataset already; of several, of that which was saved from this place."""
        as_large = self._sizes.get(film.path.stat().st_size, [])
        first = sorted(as_large, key=lambda name: (self._sources.get(name) != film.id, name != _plain(film)))
        return next((name for name in first if name not in self._used and self._is(film, name)), None)

    def _new_name(self, film: FilmFile) -> str:
        """The film's own name, unless another film has it."""
        plain = _plain(film)
        if not plain.startswith(".") and plain not in self._used and plain not in self._images:
            return plain
        both = film.id.encode() + film.path.read_bytes()
        return f"{plain.lstrip('.')}-{hashlib.sha256(both).hexdigest()[:8]}"

    def _is(self, film: FilmFile, name: str) -> bool:
        """Whether the dataset's film of a name is this one: it has its content, and isn't another served film."""
        there, source = self.root / "images" / self._images[name], self._sources.get(name)
        owner = None if source is None or self._served is None else self._served.film(source)
        is_anothers = owner is not None and owner.id != film.id and same_content(there, owner.path)
        return not is_anothers and same_content(there, film.path)

    def _look_at(self, name: str) -> None:
        """Note whose film it is, and its size."""
        file = self.root / "images" / self._images[name]
        with suppress(OSError):
            self._sizes.setdefault(file.stat().st_size, []).append(name)
        if (patient := patient_of(file)) is not None:
            self._patients[name] = patient

    def _patient_names(self) -> dict[str, str]:
        """Film to what its patient is called, of films that say whose they are: as the first film of the patient."""
        # A number without its issuer may be anybody's who has it, and counts as one patient with all of these.
        vague = {number for number, issuer in self._patients.values() if not issuer}
        first: dict[tuple[str, str], str] = {}
        return {
            name: first.setdefault((number, "" if number in vague else issuer), name)
            for name, (number, issuer) in self._patients.items()
        }

    def _save_film(self, film: FilmFile, name: str) -> None:
        if name in self._sources:
            return
        if name not in self._images:
            suffix = "" if film.path.name == film_name(film.path) else film.path.suffix.lower()
            file = self.root / "images" / f"{name}{suffix}"
            try:
                content = film.path.read_bytes()
            except OSError as error:
                raise storage_error(film.path, error) from error
            write_bytes(file, content)
            self._images[name] = file.name
            self._look_at(name)
        self._note({"film": name, "image": self._images[name], "source": film.id})
        self._sources[name] = film.id

    def _folder(self, structure: str) -> Path:
        """The folder of a structure's masks, which may be called otherwise: `Left Lung`."""
        return self._folders.get(structure, self.root / "masks" / structure)

    def _mask(self, name: str, structure: str) -> Path | None:
        """The file of a mask; None where there is none."""
        file = self._folder(structure) / f"{name}.png"
        if file.is_file():
            return file
        found = [path for path in file.parent.glob("*") if path.stem == name and not path.name.startswith(".")]
        return found[0] if found else None

    def _note(self, entry: Mapping[str, object]) -> None:
        try:
            append(self.root / JOURNAL, json.dumps(entry, ensure_ascii=False), mode=0o666)
        except OSError as error:
            raise storage_error(self.root / JOURNAL, error) from error

    def _read(self, journal: Path) -> None:
        for line, entry in _entries(journal):
            try:
                if "structure" in entry:
                    kept = {name: entry[name] for name in ("state", "revision", "who", "when", "pixels")}
                    self._states.setdefault(str(entry["film"]), {})[str(entry["structure"])] = MaskState(**kept)
                elif "image" in entry:
                    self._images[str(entry["film"])] = str(entry["image"])
                    self._sources[str(entry["film"])] = str(entry["source"])
            except (KeyError, TypeError) as error:
                raise DataError(f"{journal}, line {line}: isn't an entry of a journal.", "Remove the line.") from error

    def _adopt(self) -> None:
        """Enter what lies in the dataset and isn't in the journal."""
        is_new = not (self.root / JOURNAL).exists()
        if is_new:
            self._note({"structures": self.structures})
        for file in sorted((self.root / "images").glob("*")):
            if not file.name.startswith("."):
                self._images.setdefault(film_name(file), file.name)
        for structure in self.structures:
            for file in sorted(self._folder(structure).glob("*")):
                known = self._states.setdefault(file.stem, {})
                if file.name.startswith(".") or structure in known or file.stem not in self._images:
                    continue
                when, state = utc(file.stat().st_mtime), "confirmed" if is_new else "corrected"
                known[structure] = MaskState(state, 1, "", when, -1)  # type: ignore[arg-type]
                self._note({"film": file.stem, "structure": structure, **asdict(known[structure])})

    def _write_manifests(self) -> None:
        """Write those that have changed."""
        rows: dict[str, list[list[str]]] = {CONFIRMED: [], DRAWN: []}
        patients = self._patient_names()
        for name in sorted(self._states):
            states = self._states[name]
            masks = [self._cell(name, structure, states) for structure in self.structures]
            row = [name, f"images/{self._images.get(name, '')}", patients.get(name, name), *masks]
            if name in self._images and any(masks):
                rows[DRAWN].append(row)
                if all(states[one].state == "confirmed" for one in self.structures if one in states) and all(masks):
                    rows[CONFIRMED].append(row)
        for file, lines in rows.items():
            stream = io.StringIO(newline="")
            csv.writer(stream, lineterminator="\n").writerows([["id", "image", "patient", *self.structures], *lines])
            if self._written.get(file) != stream.getvalue():
                write_bytes(self.root / file, stream.getvalue().encode(errors="surrogateescape"))
                self._written[file] = stream.getvalue()

    def _cell(self, name: str, structure: str, states: Mapping[str, MaskState]) -> str:
        """The path of a mask that isn't empty."""
        file = self._mask(name, structure) if structure in states and states[structure].pixels else None
        return "" if file is None else file.relative_to(self.root).as_posix()


def identity(root: Path, films: Path) -> str:
    """What tells a dataset from others in a browser; films have the same ids in different folders."""
    both = f"{root.resolve()}\0{films.resolve()}"
    return hashlib.sha256(both.encode(errors="surrogateescape")).hexdigest()[:12]


def _plain(film: FilmFile) -> str:
    """A film's name as that of a file."""
    return re.sub(r'[/\\:*?"<>|\s,]|[^\x20-\x7e\xa0-\ud7ff]', "_", film_name(Path(film.name)))[:100]


def _content(file: Path) -> bytes:
    with suppress(OSError):
        return file.read_bytes()
    return b""


def _entries(journal: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The lines of a journal; the last one may be half-written."""
    try:
        lines = journal.read_text(encoding="utf-8", errors="replace").splitlines() if journal.exists() else []
    except OSError as error:
        raise StorageError(f"{journal}: can't be read: {error.strerror}.", "Check its permissions.") from error
    for number, line in enumerate(lines, 1):
        try:
            entry = json.loads(line)
        except ValueError:
            continue  # a killed process left it unfinished, and the stroke wasn't acknowledged
        if isinstance(entry, dict):
            yield number, entry
