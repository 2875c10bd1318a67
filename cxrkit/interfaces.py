"""The contracts that plugins fulfil, and the small types that they pass.

One rule for every component's constructor: **positional parameters are given by cxrkit, keyword-only ones are the
user's.** The keyword-only ones, with their type annotations and `Annotated[..., pydantic.Field(...)]` bounds and
descriptions, are what `--set`, `cxrkit show` and the YAML configuration speak of.

Layout and ranges, everywhere:

* images: float32 `(B, 1, H, W)`, preprocessed (see `cxrkit.data.preprocess`), but for augments of the stage "film";
* targets: float32 `(B, C, H, W)` in [0, 1], one channel per structure, soft after mixup. Structures may overlap, so
  channels are independent. A last channel called `background` is optional;
* logits: `(B, C, H, W)`, before the sigmoid.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cxrkit.batch import Batch as Batch
from cxrkit.batch import Partner as Partner
from cxrkit.errors import ConfigError
from cxrkit.readings import Reading, TrainingReading
from cxrkit.segmentation import BACKGROUND as BACKGROUND
from cxrkit.segmentation import STRUCTURE_NAME as STRUCTURE_NAME


class SideOutputs(NamedTuple):
    """What a model with deep supervision returns in training: the main logits and coarser ones.

    `main` is `(B, C, H, W)`; each of `sides` is `(B, C, h, w)` with h ≤ H and w ≤ W.
    """

    main: Tensor
    sides: tuple[Tensor, ...]


class Model(nn.Module, ABC):
    """A segmentation network: images `(B, 1, H, W)` to logits `(B, C, H, W)`.

    Args:
        channels: names of the output channels, in order (`("left_lung", "right_lung", "heart",
            "background")`). Given by cxrkit; subclasses add keyword-only parameters of their own.

    Attributes:
        channels: the same, as a tuple.
        size_multiple: H and W must be multiples of this; the engine pads images and crops the output.
        when_loading: parameters to override when saved weights are about to be loaded: a network that can start
            from downloaded weights switches the download off here.
        capturable: whether `--compile auto` may record it on CUDA. Whatever `forward` decides on the host, such as by
            a counter or Python's random numbers, is then repeated unchanged at every later step.
        cannot_export, cannot_compile: why `torch.export` (and with it ONNX and OpenVINO) or `torch.compile` can't take
            it, such as the operator's name; empty: they can. `cxrkit export` and `--compile on` then give the reason.
    """

    channels: tuple[str, ...]
    size_multiple: int = 1
    when_loading: ClassVar[Mapping[str, Any]] = {}
    capturable: bool = False
    cannot_export: str = ""
    cannot_compile: str = ""

    def __init__(self, channels: Sequence[str]) -> None:
        super().__init__()
        self.channels = tuple(channels)

    @abstractmethod
    def forward(self, images: Tensor) -> Tensor | SideOutputs:
        """Float `(B, 1, H, W)` to logits `(B, C, H, W)`, or `SideOutputs` (in training mode only)."""


class Loss(nn.Module, ABC):
    """A loss: logits `(B, C, H, W)` and targets in [0, 1] of the same shape to a scalar.

    The engine calls losses in float32, outside autocast. A loss with parameters of its own, such as an adversarial
    critic, keeps them in a submodule and implements `own_loss`: after every update of the model the engine
    minimises that value over the loss's own parameters, using Adam with the learning rate `own_learning_rate`, and
    stores both in the checkpoint, buffers too. What should be seen of that training it returns from `own_readings`.

    Attributes:
        reduction: how the value is made up, so that unknown masks (`Batch.known`) can be left out: "per-class" or
            "per-class-mean": the sum or mean over channels of each channel's own value; "pooled": one value of all
            masks together, whichever film and channel they belong to, such as a mean over pixels. None: none of
            these, or not stated. Such a loss, and one with parameters of its own, is refused if masks are unknown,
            unless it is adversarial.
        adversarial: whether it learns what drawn masks look like, and doesn't compare masks. It is used beside another
            loss, and not with self-training. It sees unknown masks as empty, predicted and drawn alike.
        capturable: as in `Model`.
        side_weight: what each side output counts, or each one separately, in the network's order; `--set
            loss.side_weight` sets it for any loss.
        side_targets: what side outputs are compared with: targets averaged down to their size, or every n-th pixel.
        updates_made, term_weight: updates before this one, and the weight of its term in the sum; set by the engine.
    """

    reduction: Literal["per-class", "per-class-mean", "pooled"] | None = None
    adversarial: bool = False
    capturable: bool = False
    own_learning_rate: float = 1e-4
    updates_made: int = 0
    term_weight: float = 1.0
    side_weight: float | Sequence[float] = 1.0
    side_targets: Literal["average", "stride"] = "average"
    wants_sides: bool = False  # set by the engine where a weight of side outputs was asked for

    def prepare(self, channels: Sequence[str]) -> None:
        """Called once before training with the output channels' names, for losses that depend on them.

        A critic builds its layers here; a loss that weights structures looks up their channels here.
        """

    @abstractmethod
    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The scalar loss of one set of logits, averaged or summed as the loss defines."""

    def total(self, output: Tensor | SideOutputs, targets: Tensor, images: Tensor) -> Tensor:
        """The loss of a model's whole output; override it to weight side outputs differently or to use the images.

        Side outputs are compared with targets that are brought down to their size; each has its `side_weight`.
        `images` `(B, 1, H, W)` are for losses that judge image and mask together.

        Raises:
            ConfigError: there are weights for another number of side outputs.
        """
        if isinstance(output, Tensor):
            return self(output, targets)
        value = self.main_loss(output.main.float(), targets)
        for weight, side in zip(self._side_weights(len(output.sides)), output.sides, strict=True):
            size = (side.shape[-2], side.shape[-1])
            strided = self.side_targets == "stride"
            smaller = F.interpolate(targets, size) if strided else F.adaptive_avg_pool2d(targets, size)
            value = value + weight * self(side.float(), smaller)
        return value

    def main_loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The loss of the main logits of a network with side outputs; override where it differs from the sides'."""
        value: Tensor = self(logits, targets)
        return value

    def _side_weights(self, sides: int) -> Sequence[float]:
        if isinstance(self.side_weight, int | float):
            return [self.side_weight] * sides
        if len(self.side_weight) != sides:
            raise ConfigError(
                f"loss.side_weight has {len(self.side_weight)} weights; the network has {sides} side outputs.",
                "Give one weight for all of them, or one for each, in the network's order.",
            )
        return self.side_weight

    def own_loss(self, logits: Tensor, targets: Tensor, images: Tensor) -> Tensor | None:
        """What its own parameters minimise, or None; `logits` are detached, `targets` mixed even where losses are."""
        return None

    def learns_now(self) -> bool:
        """Whether its own parameters are updated after this update of the network; only `updates_made` may decide."""
        return True

    def own_readings(self) -> Mapping[str, Tensor]:
        """What to report of the loss's own training since the last call: scalars by name; NaN is left out."""
        return {}

    def remark(self, readings: Sequence[TrainingReading]) -> str:
        """What the user should know about that training, judged by its latest readings; "": nothing."""
        return ""


class Augment(ABC):
    """A random transform of a batch, on the batch's device.

    Attributes:
        draws: how many films are drawn for each one that is returned: 1, or 2 for mixup, which comes last.
        stage: when it acts. "input": on the network's input. "film": before that, on the film as it was taken, before
            levels and CLAHE; the batch is then on the CPU, its images are in [0, 1] and stay there, `batch.regions`
            says where in the square each film lies, and `draws` is 1.
    """

    draws: int = 1
    stage: Literal["input", "film"] = "input"

    @abstractmethod
    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        """Transform a batch; all randomness comes from `generator` (a CPU generator)."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One film of a dataset, before anything is read.

    Attributes:
        id: unique within the dataset, usable as a file name.
        group: the patient; films of one group are never in different parts of a split.
        files: what `Dataset.read` will read; if their sizes or times change, the film is prepared again.
        fold: the official fold or part (`"fold1"`, `"test"`) that the data comes with, if any.
        labelled: the structures that the film has masks of, empty ones included; None: all of the dataset's. The
            others are unknown, not absent.
        fault: why the film can't be used, where that is known before reading, such as a mask's file that is missing:
            one sentence. Nothing is trained with such films among the others; `cxrkit data check` lists them all.
        lacking: the structures whose missing masks are all that `fault` says. With `data.missing=unknown` they are
            unknown, and the film is used.
        dataset: which of several datasets it is of; cxrkit sets it.
    """

    id: str
    group: str
    files: tuple[Path, ...] = ()
    fold: str | None = None
    labelled: tuple[str, ...] | None = None
    fault: str = ""
    lacking: tuple[str, ...] = ()
    dataset: str = ""

    def known(self, structures: Sequence[str]) -> tuple[str, ...]:
        """Those of the given structures that the film has masks of."""
        return tuple(name for name in structures if self.labelled is None or name in self.labelled)


@dataclass(frozen=True, slots=True)
class Sample:
    """One film as it was read.

    Attributes:
        id: that of its `Entry`.
        image: `(H, W)` uint8, uint16 or float32, bright where the film shows bone (MONOCHROME2 sense).
        masks: structure name to bool `(H, W)`, of all structures that the entry is labelled with.
        spacing: (row, column) millimetres per pixel, or None if unknown.
        remarks: `Film.remarks`: signs that it isn't an upright frontal chest film, one short sentence each.
        aspect: `Film.aspect`: height of a pixel over its width, where that is known and the spacing isn't.
    """

    id: str
    image: np.ndarray
    masks: Mapping[str, np.ndarray]
    spacing: tuple[float, float] | None = None
    remarks: tuple[str, ...] = ()
    aspect: float | None = None


class Dataset(ABC):
    """Films with masks. Reading is its job; resizing, CLAHE, splits and caching are the core's.

    Args:
        root: the folder or file that `--data` names; None for a dataset that makes its films.

    Attributes:
        structures: the names of the masks, in channel order; a film may lack some (`Entry.labelled`).
    """

    structures: tuple[str, ...]

    def __init__(self, root: Path | None) -> None:
        self.root = root

    @classmethod
    def recognises(cls, root: Path) -> bool:
        """Whether a file or folder looks like this dataset, so that `--data PATH` works without the dataset's name.

        It must be quick: look only at file names, and read no pixels. Don't recognise what another dataset could also
        read. By default nothing is recognised.
        """
        return False

    @abstractmethod
    def entries(self) -> Sequence[Entry]:
        """Every film, in a fixed order, without reading pixels.

        Raises:
            cxrkit.errors.DataError: nothing is found. What is missing for one film is its entry's `fault`.
        """

    @abstractmethod
    def read(self, entry: Entry) -> Sample:
        """Read one film and its masks.

        Raises:
            cxrkit.errors.DataError: a file is unreadable or doesn't fit; it names the file and the remedy.
        """


@dataclass(frozen=True)
class Job:
    """A command line to run in its own process.

    Attributes:
        name: for messages, unique among a launcher's jobs.
        command: program and arguments; nothing passes through a shell.
        log: the file that its output is appended to; its folder exists, on a disk that all workers share.
    """

    name: str
    command: tuple[str, ...]
    log: Path


class RunningJob(ABC):
    """A job that a launcher has started."""

    @abstractmethod
    def poll(self) -> int | None:
        """The exit status once the job has ended (negative: killed by that signal), None until then. Doesn't wait."""

    @abstractmethod
    def stop(self) -> None:
        """Ask the job to stop as Ctrl-C does, which lets a training save its state. Doesn't wait."""


class Launcher(ABC):
    """Runs jobs, several at a time, each in its own process.

    A launcher that can't reach its workers raises a `cxrkit.ConfigError` from its constructor.

    Attributes:
        threads: how many threads each job may use, if the launcher decides that; estimates of time are based on it.
    """

    threads: int | None = None

    @property
    @abstractmethod
    def slots(self) -> int:
        """How many jobs can run side by side; at least 1."""

    @abstractmethod
    def start(self, job: Job) -> RunningJob:
        """Begin a job; called while fewer than `slots` are running."""

    def close(self) -> None:  # noqa: B027 - most have nothing to give back
        """Release what the constructor acquired. It is called when no job is running."""


class Logger(ABC):
    """Follows a training, for example by sending its readings to a dashboard. The run's `metrics.jsonl` is kept anyway.

    A logger that fails is reported and dropped; the training continues without it. One that can't work at all raises a
    `cxrkit.ConfigError` from its constructor.
    """

    def begin(self, run: Path, settings: Mapping[str, Any], step: int) -> None:  # noqa: B027 - may have nothing to do
        """Called before the first update with the run's folder and settings; `step` updates were made before."""

    @abstractmethod
    def log(self, reading: Reading) -> None:
        """Called with each reading as soon as it is made."""

    def end(self) -> None:  # noqa: B027
        """Called when the training ends, however it ends."""
