"""The folder of a run.

config.yaml        the resolved configuration; `cxrkit train --config` runs it again as it is
provenance.json    versions, plugins, hardware, channels, fingerprint of the data
split.json         the ids that train, validate and test
metrics.jsonl      one line a reading of the training
checkpoints/       last and best weights, and the state to resume from (safetensors)
evaluation/        results of `evaluate`, a table a film
report/            table, curves, overlays
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from tempfile import TemporaryFile
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from cxrkit.config import RunConfig, make_config, to_yaml
from cxrkit.errors import ConfigError, DataError
from cxrkit.files import append_line, is_leftover, storage_error, write_new_text, write_text
from cxrkit.readings import Reading, as_record, from_record
from cxrkit.segmentation import WeightsSource
from cxrkit.yaml_text import read_yaml


class Provenance(BaseModel):
    """Where a run's numbers come from.

    Attributes:
        cxrkit: its version; `python` and `packages` (torch and others) likewise.
        plugins: distribution to version, of every component that the run uses.
        hardware: device, its name, threads.
        precision: that of the network's arithmetic: 32 or bf16.
        channels: the output channels.
        data: dataset's name, or the aliases of several; `fingerprint` is a hash of the preprocessed films and masks.
        unlabelled: a hash of the preprocessed films of a folder of films without masks; None where none train.
        init: the weights that it began with; None where they were random.
        continued: what differed from all this when the run continued elsewhere: `torch 2.11.0, was 2.13.0`.
    """

    model_config = ConfigDict(extra="forbid")

    cxrkit: str
    python: str
    packages: dict[str, str]
    plugins: dict[str, str]
    hardware: dict[str, str | int]
    precision: str
    channels: tuple[str, ...]
    data: str
    fingerprint: str
    unlabelled: str | None = None
    init: WeightsSource | None = None
    started: str
    continued: tuple[str, ...] = ()


#: What a run writes before its first checkpoint.
_BEGINNINGS = {"config.yaml", "provenance.json", "split.json", "metrics.jsonl"}


@dataclass(frozen=True)
class RunDirectory:
    """A run's folder. `create` makes a new one, `open` an existing one."""

    path: Path

    @classmethod
    def create(cls, path: Path, config: RunConfig) -> Self:
        """Begin a run in a folder that is new or empty.

        Raises:
            ConfigError: the folder holds something. StorageError: it can't be written.
        """
        run = cls(path)
        run._must_be_free()
        with suppress(FileExistsError):  # another process began one since we looked
            write_new_text(run.config_file, to_yaml(config))
            return run
        run._must_be_free()
        raise AssertionError

    def check_free(self) -> None:
        """Make sure that a run can begin here.

        Raises:
            ConfigError: the folder holds something. StorageError: it can't be written.
        """
        self._must_be_free()
        try:
            with TemporaryFile(dir=next(filter(Path.exists, (self.path.absolute(), *self.path.absolute().parents)))):
                pass
        except OSError as error:
            raise storage_error(self.path, error) from error

    def _must_be_free(self) -> None:
        path = self.path
        try:
            there = path.exists() and (not path.is_dir() or not all(map(is_leftover, path.iterdir())))
        except OSError as error:
            raise storage_error(path, error) from error
        if self.config_file.is_file():
            raise ConfigError(
                f"--out {path}: there is already a run in that place.",
                f"Continue it with `cxrkit train --resume {path}`, or choose another folder.",
            )
        if there:
            raise ConfigError(f"--out {path}: there is already something in that place.", "Choose another folder.")

    @classmethod
    def create_named(cls, config: RunConfig, parent: Path = Path("runs")) -> Self:
        """Begin a run in a new folder named after what it trains: `runs/attn-bcdu-focal-tversky-1`.

        Raises:
            StorageError: it can't be written.
        """
        stem = "-".join([config.model.name, *(loss.name for loss in config.loss), *(a.name for a in config.augment)])
        for number in count(1):
            path = parent / f"{stem}-{number}"
            with suppress(ConfigError):  # taken since we looked
                if not path.exists():
                    return cls.create(path, config)
        raise AssertionError

    def discard(self) -> None:
        """Remove a run that made no progress: what was written before its first checkpoint, and nothing else."""
        with suppress(OSError):  # what led here is what matters; and somebody else's files may lie there too
            if not (self.path / "checkpoints").exists():
                for name in _BEGINNINGS:
                    (self.path / name).unlink(missing_ok=True)
                self.path.rmdir()

    @classmethod
    def open(cls, path: Path) -> Self:
        """An existing run.

        Raises:
            DataError: there is none.
        """
        if not (path / "config.yaml").is_file():
            raise DataError(
                f"{path}: there is no run in that place (no config.yaml).", "Give the folder that `cxrkit train` named."
            )
        return cls(path)

    @property
    def config_file(self) -> Path:
        """The resolved configuration."""
        return self.path / "config.yaml"

    @property
    def split_file(self) -> Path:
        """The ids that train, validate and test."""
        return self.path / "split.json"

    @property
    def state_file(self) -> Path:
        """What training resumes from."""
        return self.path / "checkpoints" / "state.safetensors"

    @property
    def report(self) -> Path:
        """The folder of tables and figures."""
        return self.path / "report"

    @property
    def evaluation(self) -> Path:
        """The folder of per-film results."""
        return self.path / "evaluation"

    def weights(self, which: str = "auto") -> Path:
        """The weights called `best` or `last`; `auto` is the best where a validation chose one, else the last.

        Raises:
            DataError: they aren't there (yet).
        """
        folder = self.path / "checkpoints"
        names = ("best", "last") if which == "auto" else (which,)
        for name in names:
            if (file := folder / f"{name}.safetensors").is_file():
                return file
        raise DataError(
            f"{self.path}: there are no {'' if which == 'auto' else which + ' '}weights in this run yet.",
            f"Continue it with `cxrkit train --resume {self.path}`."
            if which != "best"
            else "Without validation films nothing is selected: use --checkpoint last.",
        )

    def config(self) -> RunConfig:
        """The run's configuration; of a run from before `resize_as`, with what its films were prepared by."""
        return make_config({"preprocess": {"resize_as": "stored"}}, read_yaml(self.config_file))

    def with_own_split(self, config: RunConfig) -> RunConfig:
        """A configuration with the split that was saved when the run began, if one was."""
        if not self.split_file.is_file():
            return config
        return config.model_copy(update={"split": config.split.model_copy(update={"file": self.split_file})})

    def save_provenance(self, provenance: Provenance) -> None:
        """Write provenance.json."""
        write_text(self.path / "provenance.json", provenance.model_dump_json(indent=2) + "\n")

    def provenance(self) -> Provenance:
        """Read provenance.json.

        Raises:
            DataError: it is missing or damaged.
        """
        file = self.path / "provenance.json"
        try:
            return Provenance.model_validate_json(file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, ValidationError) as error:
            raise DataError(f"{file}: not a readable record of a run.", "Train again in another folder.") from error

    def log(self, reading: Reading) -> None:
        """Append a line to metrics.jsonl."""
        append_line(self.path / "metrics.jsonl", json.dumps(as_record(reading)))

    def metrics(self) -> Iterator[Reading]:
        """The readings of metrics.jsonl, up to the first line that was cut by a kill or is damaged."""
        file = self.path / "metrics.jsonl"
        if not file.is_file():
            return
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                reading = from_record(json.loads(line))
            except ValueError:
                return
            if reading is None:
                return
            yield reading

    def forget_metrics_after(self, step: int) -> None:
        """Drop the readings that a resumed run will make again."""
        kept = [reading for reading in self.metrics() if reading.step <= step]
        if kept or (self.path / "metrics.jsonl").exists():
            write_text(self.path / "metrics.jsonl", "".join(json.dumps(as_record(one)) + "\n" for one in kept))
