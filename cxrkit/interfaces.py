"""The contracts that plugins fulfil, and the small types that they pass.

One rule for every component's constructor: **positional parameters are given by cxrkit, keyword-only
parameters are the user's.** The keyword-only ones, with their type annotations and
`Annotated[..., pydantic.Field(...)]` bounds and descriptions, are what `--set`, `cxrkit show` and the YAML
configuration speak of.

Layout and ranges, everywhere:

* images: float32 `(B, 1, H, W)`, preprocessed (see `cxrkit.data.preprocess`);
* targets: float32 `(B, C, H, W)` in [0, 1], one channel a structure, soft after mixup. Structures may
  overlap, so channels are independent. A last channel called `background` is optional;
* logits: `(B, C, H, W)`, before the sigmoid.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cxrkit.errors import ConfigError
from cxrkit.readings import Reading
from cxrkit.segmentation import Segmentation

BACKGROUND = "background"

#: What structures may be called: the names become channels, settings and file names.
STRUCTURE_NAME = r"[a-z0-9][a-z0-9_]*"


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
        size_multiple: H and W must be multiples of this; the engine pads and un-pads.
        when_loading: parameters that are overridden where saved weights are loaded at once: a network that can start
            from downloaded weights switches that off here, so that loading needs no network connection.
        capturable: whether `--compile auto` may record it on CUDA: what `forward` decides on the host, by a counter or
            by Python's random numbers, would then be the same at every later step.
    """

    channels: tuple[str, ...]
    size_multiple: int = 1
    when_loading: ClassVar[Mapping[str, Any]] = {}
    capturable: bool = False

    def __init__(self, channels: Sequence[str]) -> None:
        super().__init__()
        self.channels = tuple(channels)

    @abstractmethod
    def forward(self, images: Tensor) -> Tensor | SideOutputs:
        """Float `(B, 1, H, W)` to logits `(B, C, H, W)`, or `SideOutputs` (in training mode only)."""


class Loss(nn.Module, ABC):
    """A loss: logits `(B, C, H, W)` and targets in [0, 1] of the same shape to a scalar.

    The engine calls losses in float32, outside autocast. A loss that trains something of its own, an
    adversarial critic say, keeps it as a submodule and implements `own_loss`: after every update of the
    model the engine minimises that value over the loss's own parameters, with an Adam of learning rate
    `own_learning_rate`, and stores both in the checkpoint.

    Attributes:
        reduction: how the masks of a batch make up the value, so that unknown ones can be left out (`Batch.known`):
            "per-class" or "per-class-mean", the sum or mean over channels of what each gives alone; "pooled", the
            same whichever film and channel a mask belongs to, as in a mean over pixels. None: none of these, or not
            stated; such a loss, and one with parameters of its own, is refused where masks are unknown.
        capturable: as in `Model`.
        side_weight: what each side output counts, or each one separately, in the network's order; `--set
            loss.side_weight` sets it for any loss.
        side_targets: what side outputs are compared with: targets averaged down to their size, or every n-th pixel.
    """

    reduction: Literal["per-class", "per-class-mean", "pooled"] | None = None
    capturable: bool = False
    own_learning_rate: ClassVar[float] = 1e-4
    side_weight: float | Sequence[float] = 1.0
    side_targets: Literal["average", "stride"] = "average"
    wants_sides: bool = False  # set by the engine where a weight of side outputs was asked for

    def prepare(self, channels: Sequence[str]) -> None:
        """Called once before training with the output channels' names, for losses that depend on them.

        A critic makes its layers here; a loss with weights by structure finds its channels here.
        """

    @abstractmethod
    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The scalar loss of one set of logits, averaged or summed as the loss defines."""

    def total(self, output: Tensor | SideOutputs, targets: Tensor, images: Tensor) -> Tensor:
        """The loss of a model's whole output; override to weigh side outputs differently or to see images.

        Side outputs are compared with targets brought down to their size and count `side_weight` each.
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
        """What the loss's own parameters minimise; `logits` come detached. None: it has nothing to train."""
        return None


@dataclass(frozen=True, slots=True)
class Partner:
    """The second targets of a batch whose *losses* are mixed instead of its labels.

    Attributes:
        targets: float `(B, C, H, W)` in [0, 1].
        weight: float `(B,)` in [0, 1], the share of `Batch.targets`; the partner's is one minus it.
        whole: one weight was drawn for the whole batch, so that two losses of the whole batch are mixed; otherwise
            each film's own two losses are.
    """

    targets: Tensor
    weight: Tensor
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Batch:
    """Films and their masks.

    Attributes:
        images: float32 `(B, 1, H, W)`.
        targets: float32 `(B, C, H, W)` in [0, 1].
        partner: the second targets, where losses are to be mixed.
        known: bool `(B, C)` on the CPU: whether the targets, the partner's included, say anything of a film's
            channel. None: they all do. Where it is false the target has no meaning, and adds nothing to losses,
            scores or mixtures: a mixture is known where all that went into it is.
    """

    images: Tensor
    targets: Tensor
    partner: Partner | None = None
    known: Tensor | None = None

    def __len__(self) -> int:
        return int(self.images.shape[0])

    def with_(self, **changes: Any) -> Batch:
        """A copy with some fields replaced."""
        return replace(self, **changes)

    def map(self, function: Callable[[Tensor], Tensor]) -> Batch:
        """A copy with all tensors but `known`, the partner's included, passed through a function."""
        partner = self.partner
        if partner is not None:
            partner = replace(partner, targets=function(partner.targets), weight=function(partner.weight))
        return Batch(function(self.images), function(self.targets), partner, self.known)

    def pick(self, films: slice | Tensor) -> Batch:
        """Some of the films: a slice of the batch, or places in it, int64 `(n,)` on the CPU."""
        device = self.images.device
        there = films if isinstance(films, slice) else films.to(device, non_blocking=device.type == "cuda")
        known = None if self.known is None else self.known[films]
        return self.map(lambda values: values[there]).with_(known=known)


class Augment(ABC):
    """A random transform of a batch, on the batch's device.

    Attributes:
        draws: how many drawn films go into each that comes out: 1, or 2 for mixup, whose batch of 2B becomes
            one of B. The sampler draws `draws` times the batch size; augments with `draws > 1` come last.
    """

    draws: int = 1

    @abstractmethod
    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        """Transform a batch; all randomness comes from `generator` (a CPU generator)."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One film of a dataset, before anything is read.

    Attributes:
        id: unique within the dataset, usable as a file name.
        group: the patient; films of one group never lie on both sides of a split.
        files: what `Dataset.read` will read; their sizes and times key the store.
        fold: the official fold or part (`"fold1"`, `"test"`) that the data comes with, if any.
        labelled: the structures that the film has masks of, empty ones included; None: all of the dataset's. What
            isn't named is unknown, not absent.
    """

    id: str
    group: str
    files: tuple[Path, ...] = ()
    fold: str | None = None
    labelled: tuple[str, ...] | None = None

    def known(self, structures: Sequence[str]) -> tuple[str, ...]:
        """Those of some structures that the film has masks of."""
        return tuple(name for name in structures if self.labelled is None or name in self.labelled)


@dataclass(frozen=True, slots=True)
class Sample:
    """One film as it was read.

    Attributes:
        id: that of its `Entry`.
        image: `(H, W)` uint8, uint16 or float32, bright where the film shows bone (MONOCHROME2 sense).
        masks: structure name to bool `(H, W)`, of all structures that the entry is labelled with.
        spacing: (row, column) millimetres per pixel, or None where unknown.
        remarks: `Film.remarks`: signs that it isn't an upright frontal chest film, one short sentence each.
    """

    id: str
    image: np.ndarray
    masks: Mapping[str, np.ndarray]
    spacing: tuple[float, float] | None = None
    remarks: tuple[str, ...] = ()


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
        """Whether a place looks like this dataset's, so that `--data PLACE` needn't name the dataset.

        It must be quick: look at names of files, and read no pixels. What another dataset could read as well isn't
        recognised; by default nothing is.
        """
        return False

    @abstractmethod
    def entries(self) -> Sequence[Entry]:
        """Every film, in a fixed order, without reading pixels.

        Raises:
            cxrkit.errors.DataError: nothing is found, or files are missing; it names them.
        """

    @abstractmethod
    def read(self, entry: Entry) -> Sample:
        """Read one film and its masks.

        Raises:
            cxrkit.errors.DataError: a file is unreadable or doesn't fit; it names the file and the remedy.
        """


@dataclass(frozen=True)
class Job:
    """A command line to run, in a process of its own.

    Attributes:
        name: for messages, unique among a launcher's jobs.
        command: program and arguments; nothing passes through a shell.
        log: the file that its output is appended to; its folder exists, on a disk that all workers share.
    """

    name: str
    command: tuple[str, ...]
    log: Path


class RunningJob(ABC):
    """A job that a launcher has taken."""

    @abstractmethod
    def poll(self) -> int | None:
        """The exit status once the job has ended (negative: killed by that signal), None until then. Doesn't wait."""

    @abstractmethod
    def stop(self) -> None:
        """Ask the job to stop as Ctrl-C does, which lets a training save its state. Doesn't wait."""


class Launcher(ABC):
    """Runs jobs, several at a time, each in a process of its own.

    A launcher that can't reach its workers raises a `cxrkit.ConfigError` from its constructor.

    Attributes:
        threads: how many each job may use, where the launcher decides it; estimates of time go by it.
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
        """Give back what the constructor took. No job is running then."""


class Logger(ABC):
    """Follows a training, beside the run's own `metrics.jsonl`: sends its readings to a dashboard, say.

    A logger that fails is reported and dropped; the training continues without it. One that can't work at all raises a
    `cxrkit.ConfigError` from its constructor.
    """

    def begin(self, run: Path, settings: Mapping[str, Any], step: int) -> None:  # noqa: B027 - may have nothing to do
        """Called before the first update, with the run's folder and settings and the updates of earlier processes."""

    @abstractmethod
    def log(self, reading: Reading) -> None:
        """A reading, as soon as it is made."""

    def end(self) -> None:  # noqa: B027
        """Called when the training ends, however it ends."""


class Writer(ABC):
    """Turns what was found on a film into files.

    It only makes their content: cxrkit writes it into the film's folder, lists it in `predictions.json`, and removes it
    when the film is segmented again. So a writer serves a server that has no folder as well.
    """

    @abstractmethod
    def files(self, result: Segmentation) -> Iterable[tuple[str, bytes]]:
        """The name and content of each file of a film.

        A name is of letters, digits, `_`, `-` and dots, without a folder, and no other writer's.

        `result.film.source` is the film's file, with its DICOM header, or None for an array; `result.weights` are the
        weights that found it, or None where that isn't known.

        Raises:
            cxrkit.CxrkitError: this film can't be written; it counts as failed, and the others are still processed.
        """
