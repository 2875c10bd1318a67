"""The process that segments: it alone has the network, and what crashes or hangs it costs one film."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import signal
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cxrkit.commands import CxrkitError, PluginError, TrainingError

#: Attributes of a header that say who the patient is.
_IDENTITY = (
    *("PatientName", "PatientID", "OtherPatientIDs", "OtherPatientNames", "PatientBirthDate", "PatientAddress"),
    *("AccessionNumber", "StudyID", "ReferringPhysicianName", "InstitutionName", "OperatorsName"),
)


@dataclass(frozen=True)
class Recipe:
    """How films are segmented, as `cxrkit predict` has it.

    Attributes:
        weights, loading: the arguments of `cxrkit.load`.
        writers: mappings of a writer's `name` and its parameters; None: the default ones.
    """

    weights: str | None = None
    loading: Mapping[str, Any] = field(default_factory=dict)
    writers: Sequence[Mapping[str, Any]] | None = None
    threads: int = 0


@dataclass(frozen=True)
class Ready:
    """A process has loaded its network.

    Attributes:
        weights: their name or file, and checksum.
        settings: all that decides its results beside the film, as text.
    """

    weights: dict[str, str]
    settings: str


@dataclass(frozen=True)
class Outcome:
    """What became of a film.

    Attributes:
        state: `made`, `skipped`, `failed`, or `disk`: the results couldn't be written.
        reason: why nothing was made, or not all, without patient data.
        facts: for the log.
    """

    state: str
    reason: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


class Worker:
    """A process that segments one film after the other; it is started again after a crash.

    Args:
        recipe: how.
        patience: seconds that a film may take.
    """

    def __init__(self, recipe: Recipe, patience: float) -> None:
        self._recipe, self._patience = recipe, patience
        self._process: Any = None
        self._pipe: Any = None
        self._hangs = False

    def start(self) -> Ready:
        """Load the network.

        Raises:
            CxrkitError: there are no such weights or writers. PluginError: the process ended.
        """
        if self._process is None:
            context = multiprocessing.get_context("spawn")
            self._pipe, theirs = context.Pipe()
            self._process = context.Process(
                target=_serve, args=(self._recipe, theirs), daemon=True, name="cxrkit-segments"
            )
            self._process.start()
            theirs.close()
            try:
                answer = self._pipe.recv()
            except (EOFError, OSError):
                raise PluginError(
                    f"The process that segments ended while it started ({self.kill()}).",
                    "Run `cxrkit doctor`; SIGKILL is often a lack of memory.",
                ) from None
            if isinstance(answer, CxrkitError):
                self.kill()
                raise answer
            self._ready: Ready = answer
        return self._ready

    def segment(self, film: Path, workplace: Path) -> Outcome | None:
        """Segment a film and write the results into a folder; None if the process crashed or hung."""
        self.start()
        try:
            self._pipe.send((film, workplace))
            if self._pipe.poll(self._patience):
                outcome: Outcome = self._pipe.recv()
                return outcome
            self._hangs = True
        except (EOFError, OSError):
            pass
        return None

    def kill(self) -> str:
        """End the process; how it ended."""
        process, self._process = self._process, None
        if process is None:
            return ""
        hung, self._hangs = self._hangs, False
        self._pipe.close()
        process.join(0 if hung else 2)  # one that crashed, or has nothing to do, is about to end
        process.kill()
        process.join()
        code = process.exitcode or 0
        process.close()
        if hung:
            return f"not finished after {self._patience:g} s"
        return f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit status {code}"


def _serve(recipe: Recipe, pipe: Any) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):  # these go to all processes, and are the parent's affair
        signal.signal(number, signal.SIG_IGN)
    sys.stdout = sys.stderr
    warnings.simplefilter("ignore")  # they may quote what a header says of the patient
    with suppress(OSError):  # if memory is short, this process ends, and not the one that receives
        Path("/proc/self/oom_score_adj").write_text("800", encoding="ascii")
    with suppress(EOFError, OSError):
        try:
            work, ready = _load(recipe)
        except CxrkitError as error:
            pipe.send(error)
            return
        except Exception as error:
            pipe.send(TrainingError(f"The network can't be loaded: {type(error).__name__}: {error}"))
            return
        pipe.send(ready)
        while True:
            pipe.send(work(*pipe.recv()))


def _load(recipe: Recipe) -> tuple[Any, Ready]:
    import torch

    import cxrkit
    from cxrkit.commands import build_writers, load_plugins

    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    registry = load_plugins().registry
    writers = build_writers(recipe.writers or registry.defaults("writer"), registry)
    segmenter = cxrkit.load(recipe.weights, **recipe.loading)
    source = segmenter.weights
    weights = {} if source is None else {"weights": source.name or Path(source.file).name, "sha256": source.sha256}
    decides = [weights, segmenter.settings, recipe.writers, cxrkit.__version__]

    def work(film: Path, workplace: Path) -> Outcome:
        began = time.monotonic()
        outcome = _segment(segmenter, writers, film, workplace)
        facts = {"seconds": round(time.monotonic() - began, 2), **weights, "cxrkit": cxrkit.__version__}
        return Outcome(outcome.state, outcome.reason, outcome.facts | facts)

    return work, Ready(weights, json.dumps(decides, sort_keys=True, default=str))


def _segment(segmenter: Any, writers: Any, path: Path, workplace: Path) -> Outcome:
    """Segment one film; whatever is raised is that film's failure."""
    import cxrkit
    from cxrkit.commands import make_files

    header = None
    try:
        film = cxrkit.read_film(path, window=segmenter.window)
        source = film.source
        if source is not None:
            header = source.header
            if source.another_subject:
                return Outcome("skipped", without_identity("; ".join(source.another_subject), path, header))
        result = segmenter(film)
        files, declined = make_files(writers, result)
        reason = without_identity("; ".join(declined), path, header)
        if not files:
            return Outcome("failed", reason or "the writers made nothing")
    except CxrkitError as error:
        return Outcome("failed", without_identity(error.what, path, header))
    except MemoryError:
        return Outcome("failed", "there is not enough memory for it")
    except Exception as error:
        text = f"a defect of cxrkit or a plugin: {type(error).__name__}: {error}"
        return Outcome("failed", without_identity(text, path, header))
    try:
        for name, content in files.items():
            (workplace / name).write_bytes(content)
    except OSError as error:
        return Outcome("disk", f"the results can't be written: {os.strerror(error.errno or 0)}")
    doubts = [without_identity(text, path, header) for text in result.warnings]
    return Outcome("made", reason, {"files": sorted(files), **({"warnings": doubts} if doubts else {})})


def without_identity(text: str, path: Path, header: Any) -> str:
    """A message without the film's path, and without what its header says of the patient, in a line.

    Messages of decoders and parsers may quote anything.
    """
    text = " ".join(text.replace(str(path), "the film").replace(path.name, "the film").split())
    for name in _IDENTITY:
        value = ""
        with suppress(Exception):  # pydicom reads a value when it is asked for, and raises many kinds at odd ones
            value = str(header.get(name) or "")
        for word in (value, *re.split(r"[\^=\\ ,]+", value)):
            if len(word) > 2:
                text = re.sub(re.escape(word), "***", text, flags=re.IGNORECASE)
    return text[:500]
