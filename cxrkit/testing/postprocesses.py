"""What cxrkit expects of every post-processing: masks of the same structures, and nothing invented."""

from __future__ import annotations

import numpy as np

from cxrkit.engine.postprocessing import postprocessed
from cxrkit.services import Postprocess
from cxrkit.testing.expectations import Check, Subject, expect


def _masks(shape: tuple[int, int] = (60, 50)) -> dict[str, np.ndarray]:
    """Lungs and a heart with spots and holes."""
    rows, columns = np.mgrid[: shape[0], : shape[1]] / np.array(shape)[:, None, None]
    centres = {"left_lung": (0.4, 0.75), "right_lung": (0.4, 0.25), "heart": (0.6, 0.5)}
    masks = {name: np.hypot(rows - row, columns - column) < 0.2 for name, (row, column) in centres.items()}
    noise = np.random.default_rng(0).random(shape) < 0.03
    return {name: mask ^ noise for name, mask in masks.items()}


def _build(subject: Subject) -> Postprocess:
    built: Postprocess = subject.build_if_usable()
    return built


def it_returns_the_same_structures(subject: Subject) -> None:
    """A mask of each structure, of bools and of the same shape, whichever structures and shapes there are."""
    postprocess = _build(subject)
    for masks in (_masks(), {"heart": _masks((1, 1))["heart"]}, {"clavicles": _masks((9, 70))["left_lung"]}):
        postprocessed(postprocess, masks)


def empty_masks_stay_empty(subject: Subject) -> None:
    """A structure that wasn't found isn't invented."""
    made = postprocessed(_build(subject), {name: np.zeros_like(mask) for name, mask in _masks().items()})
    found = [name for name, mask in made.items() if mask.any()]
    expect(not found, "empty masks of what wasn't found", f"pixels of {', '.join(found)}", "Leave empty masks alone.")


def masks_that_it_is_given_stay_as_they_were(subject: Subject) -> None:
    """The arguments aren't changed in place."""
    masks, before = _masks(), _masks()
    _build(subject)(masks)
    same = all(np.array_equal(masks[name], before[name]) for name in before)
    expect(same, "arguments left as they were", "changed ones", "Work on a copy.")


def the_same_masks_come_out_each_time(subject: Subject) -> None:
    """It depends on nothing but the masks: a film's results don't depend on the films before it."""
    postprocess = _build(subject)
    first, *_, second = (postprocessed(postprocess, masks) for masks in (_masks(), _masks((30, 30)), _masks()))
    same = all(np.array_equal(first[name], second[name]) for name in first)
    expect(same, "the same masks for the same masks", "others", "Keep nothing from one film to the next.")


CHECKS: tuple[Check, ...] = (
    it_returns_the_same_structures,
    empty_masks_stay_empty,
    masks_that_it_is_given_stay_as_they_were,
    the_same_masks_come_out_each_time,
)
