"""Truth and prediction side by side: pictures from the runs' own reports, scaled down."""

from __future__ import annotations

from collections.abc import Sequence

import cv2

from cxrkit.ablation.results import RunResult
from cxrkit.report.ablation.cells import ArmNumbers
from cxrkit.report.ablation.numbers import Numbers
from cxrkit.report.sections import Picture

#: Pictures of films are JPEG of at most so many pixels in width.
_WIDTH, _QUALITY = 1100, 82


def film_pictures(numbers: Numbers) -> list[Picture]:
    """The best, median and worst film of each arm's first finished seed that has a picture."""
    pictures = []
    for arm in numbers.arms:
        for run in arm.runs:
            if run.state == "finished" and (content := _small(run)) is not None:
                caption = f"{run.name}, {_weights(run)}: best, median and worst test film by mean Dice."
                pictures.append(Picture(_file(arm), arm.label, caption, content))
                break
    return pictures


def without_pictures(numbers: Numbers, pictures: Sequence[Picture]) -> str:
    """Which arms with a finished run have no picture, if any."""
    drawn = {picture.file for picture in pictures}
    without = [arm.label for arm in numbers.arms if arm.finished and _file(arm) not in drawn]
    return (
        f"No picture of {', '.join(without)}: `cxrkit evaluate` draws it where films and weights are."
        if without
        else ""
    )


def _file(arm: ArmNumbers) -> str:
    return f"figures/films-{arm.arm.slug}.jpg"


def _small(run: RunResult) -> bytes | None:
    file = run.run.report / "overlays.png"
    image = cv2.imread(str(file)) if file.is_file() else None  # it warns on stderr of files that aren't there
    if image is None:
        return None
    scale = min(1.0, _WIDTH / image.shape[1])
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    encoded: bytes = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()
    return encoded


def _weights(run: RunResult) -> str:
    """Which weights the run's own report is of: the chosen ones, if any were chosen."""
    return "unknown weights" if run.paper is None else f"weights of update {run.paper.step} ({run.paper.selection})"
