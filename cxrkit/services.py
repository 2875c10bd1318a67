"""The contracts of what surrounds a trained network: weights, writers, exporters and runtimes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from cxrkit.segmentation import Segmentation

if TYPE_CHECKING:
    from torch import nn  # what computes exported networks needs no torch


@dataclass(frozen=True)
class Deployable:
    """A trained network, ready to leave cxrkit.

    Attributes:
        network: in evaluation mode on the CPU: images, float32 `(B, 1, S, S)` as preprocessing makes them, to
            probabilities, float32 `(B, C, S, S)` in [0, 1], for any B.
        images: preprocessed films, float32 `(N, 1, S, S)`, N ≥ 2, to trace and to calibrate with.
        description: JSON: channels, preprocessing and the network's card. It must travel inside the file.
        int8: whether weights and activations shall be 8-bit integers.
    """

    network: nn.Module
    images: np.ndarray
    description: str
    int8: bool = False


class Exporter(ABC):
    """Turns a network into the files of a format that other programs run.

    One whose package is missing raises a `cxrkit.ConfigError` from its constructor.

    Attributes:
        suffix: of the format, such as `.onnx`: `cxrkit export RUN FILE.onnx` chooses the exporter by it.
        can_int8: whether it can make 8-bit integers.
    """

    suffix: ClassVar[str]
    can_int8: ClassVar[bool] = False

    @abstractmethod
    def files(self, network: Deployable) -> Mapping[str, bytes]:
        """Suffix to content of each file; that of `suffix` is the one that users name.

        Whatever it raises counts as "cannot be exported", with its message as the reason.
        """


class Runtime(ABC):
    """Computes exported networks: `cxrkit predict FILM --weights FILE.onnx --runtime NAME`.

    One whose package is missing raises a `cxrkit.ConfigError` from its constructor.

    Attributes:
        suffixes: of the formats that it reads.
        rank: of several that read a file and are installed, `--runtime auto` takes the one with the highest.
    """

    suffixes: ClassVar[tuple[str, ...]]
    rank: ClassVar[int] = 0

    @abstractmethod
    def load(self, file: Path) -> tuple[str, Callable[[np.ndarray], np.ndarray]]:
        """The description inside a file ("" if there is none), and the network: images to probabilities as above.

        Nothing in the file may be unpickled or executed as code.

        Raises:
            cxrkit.DataError: the file can't be read; names the file.
        """


class Writer(ABC):
    """Turns the result of a film into files.

    It only makes their content: cxrkit writes it into the film's folder, lists it in `predictions.json`, and removes it
    when the film is segmented again. So a writer can also be used by a server that has no folder.
    """

    @abstractmethod
    def files(self, result: Segmentation) -> Iterable[tuple[str, bytes]]:
        """The name and content of each file of a film.

        A name consists of letters, digits, `_`, `-` and dots; it names no folder, and no other writer may use it.

        `result.film.source` is the film's file, with its DICOM header, or None for an array; `result.weights` are the
        weights that were used, or None if unknown.

        Raises:
            cxrkit.DeclinedError: this writer has nothing to write for this film, and says why. The other writers' files
                are written, and the film counts as segmented; the reason is reported with it.
            cxrkit.CxrkitError: this film can't be written; it counts as failed, and the others are still processed.
        """


class Postprocess(ABC):
    """What is done to a film's masks after the threshold, such as removing stray parts."""

    @abstractmethod
    def __call__(self, masks: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """A film's masks by structure, bool `(H, W)` each, to masks of the same structures and shape.

        It leaves the arguments as they are, depends on nothing else, and invents no structure that wasn't found.
        """


class PretrainedWeights(ABC):
    """A trained network, or several whose mean is taken, that a package provides.

    Attributes:
        default: whether `cxrkit predict` uses it if no weights are named.
    """

    default: ClassVar[bool] = False

    @property
    @abstractmethod
    def file(self) -> Path:
        """The weights, a safetensors file as cxrkit's trainings write them."""

    @property
    def files(self) -> tuple[Path, ...]:
        """The files of all networks, of which the mean is taken; by default the one `file`."""
        return (self.file,)

    @property
    @abstractmethod
    def card(self) -> str:
        """The model card, Markdown: data, licence, scores, limits."""
