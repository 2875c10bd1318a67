"""What a network sees in films, and how sure it is of them, for `cxrkit suggest`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from cxrkit.commands import ConfigError, CxrkitError, Observer, Silent

if TYPE_CHECKING:
    from torch import Tensor, nn

    from cxrkit import Segmentation, Segmenter

Choice = Literal["difference", "quality"]

#: Views of a film, as (degrees, scale), whose masks agree where the network is sure.
_VIEWS = ((4.0, 1.0), (-4.0, 1.0), (0.0, 1.05), (0.0, 0.95))


@dataclass(frozen=True)
class Look:
    """What the network sees in a film.

    Attributes:
        film: its file.
        features: float64 `(N,)`, the means of the coarsest feature maps over the film; empty where they aren't wanted.
        quality: the lowest estimate of a mask's Dice coefficient, in [0, 1]; None where it isn't wanted.
        warnings: signs that it isn't an upright frontal chest film.
    """

    film: Path
    features: np.ndarray
    quality: float | None
    warnings: tuple[str, ...]


def look_at(
    films: Sequence[Path], segmenter: Segmenter, by: Choice, observer: Observer | None = None
) -> tuple[list[Look], list[tuple[str, str]]]:
    """What the network sees in films, and those that can't be read, each with the reason.

    Raises:
        ConfigError: the features of an exported network are wanted.
    """
    observer = observer or Silent()
    observer.stage("Looking at films", len(films))
    looks: list[Look] = []
    failures: list[tuple[str, str]] = []
    for done, film in enumerate(films):
        try:
            looks.append(
                _look_by_features(film, segmenter) if by == "difference" else _look_by_quality(film, segmenter)
            )
        except ConfigError:
            raise
        except CxrkitError as error:
            failures.append((str(film), error.what))
        observer.advance(done + 1, film.name)
    return looks, failures


def _look_by_features(film: Path, segmenter: Segmenter) -> Look:
    networks = list(_networks(segmenter.predictor))
    if not networks:
        raise ConfigError(
            "Only cxrkit's own networks show their features, not exported ones.",
            "Choose other --weights, or --by quality.",
        )
    segmenter.quality = False  # estimates take further passes
    with _watched(networks) as seen:
        result = segmenter(film)
    features = np.concatenate([_coarsest(maps) for maps in seen])
    return Look(film, features, None, result.warnings)


def _look_by_quality(film: Path, segmenter: Segmenter) -> Look:
    result = segmenter(film)
    # Weights that are calibrated estimate it themselves.
    estimates = dict(result.quality) or _agreement(result, segmenter)
    return Look(film, np.empty(0), min(estimates.values()), result.warnings)


def _networks(predictor: Any) -> Iterator[nn.Module]:
    """The networks that a predictor computes, be it a mean of several, or of several views."""
    for one in getattr(predictor, "members", (predictor,)):
        if hasattr(one, "plain"):
            yield from _networks(one.plain)
        elif hasattr(one, "model"):
            yield one.model


@contextmanager
def _watched(networks: Sequence[nn.Module]) -> Iterator[list[list[Tensor]]]:
    """What the modules of networks return while they compute: feature maps `(B, C, H, W)`, a list for each network."""
    seen: list[list[Tensor]] = [[] for _ in networks]

    def watch(maps: list[Tensor]) -> Callable[..., None]:
        def note(module: nn.Module, given: Any, made: Any) -> None:
            # Maps of one pixel are weights of channels, as squeeze and excitation has them.
            if getattr(made, "ndim", 0) == 4 and min(made.shape[-2:]) > 1:
                if maps and made.shape[-2:].numel() < maps[-1].shape[-2:].numel():
                    maps.clear()
                if not maps or made.shape[-2:] == maps[-1].shape[-2:]:
                    maps[:] = [made.detach()]

        return note

    hooks = [
        module.register_forward_hook(watch(maps))
        for network, maps in zip(networks, seen, strict=True)
        for module in network.modules()
        if not any(module.children())
    ]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _coarsest(maps: Sequence[Tensor]) -> np.ndarray:
    """The means over the film of the last of the coarsest feature maps, float64 `(C,)`."""
    if not maps:
        raise ConfigError("This network has no feature maps.", "Choose other --weights, or --by quality.")
    return np.asarray(maps[-1][0].float().mean(dim=(1, 2)).cpu().numpy(), dtype=np.float64)


def _agreement(result: Segmentation, segmenter: Segmenter) -> dict[str, float]:
    """Structure to the mean Dice coefficient of its masks on slightly changed views of the film with the usual one."""
    import cv2

    height, width = result.film.pixels.shape
    found: dict[str, list[float]] = {name: [] for name in result.probabilities}
    for degrees, scale in _VIEWS:
        there = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, scale)
        edge = cv2.BORDER_REPLICATE
        pixels = cv2.warpAffine(result.film.pixels, there, (width, height), flags=cv2.INTER_LINEAR, borderMode=edge)
        view = segmenter(replace(result.film, pixels=pixels))
        for name, maps in view.probabilities.items():
            back = cv2.warpAffine(maps, there, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
            one, other = back > segmenter.threshold, result.probabilities[name] > segmenter.threshold
            total = int(one.sum()) + int(other.sum())
            found[name].append(2 * int((one & other).sum()) / total if total else 1.0)
    return {name: float(np.mean(values)) for name, values in found.items()}
