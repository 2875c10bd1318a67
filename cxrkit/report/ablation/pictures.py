"""Truth beside prediction: the films that the runs' own reports drew, made small."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import cv2

from cxrkit.ablation.results import RunResult
from cxrkit.report.ablation.cells import ArmNumbers
from cxrkit.report.ablation.numbers import Numbers

#: Pictures of films are JPEG of at most so many pixels in width.
_WIDTH, _QUALITY = 1100, 82


@dataclass(frozen=True)
class Picture:
    """A picture of the report: its file's name in `figures/`, what it holds, and what stands around it."""

    file: str
    title: str
    caption: str
    content: bytes

    @property
    def uri(self) -> str:
        """The bytes as a data URI."""
        kind = "jpeg" if self.file.endswith(".jpg") else "png"
        return f"data:image/{kind};base64,{base64.b64encode(self.content).decode('ascii')}"


def film_pictures(numbers: Numbers) -> list[Picture]:
    """The best, median and worst film of each arm's first finished seed that has a picture."""
    pictures = []
    for arm in numbers.arms:
        for run in arm.runs:
            if run.state == "finished" and (content := _small(run)) is not None:
                caption = (
                    f"{arm.label}, seed {run.seed}, {_weights(run)}: best, median and worst test film by mean Dice."
                )
                pictures.append(Picture(_file(arm), arm.label, caption, content))
                break
    return pictures


def without_pictures(numbers: Numbers, pictures: Sequence[Picture]) -> str | None:
    """Which arms with a finished run have none though others have; None where there is nothing to say."""
    drawn = {picture.file for picture in pictures}
    without = [arm.label for arm in numbers.arms if arm.finished and _file(arm) not in drawn]
    if not pictures or not without:
        return None
    return f"No picture of {', '.join(without)}: cxrkit evaluate draws it where films and weights are."


def _file(arm: ArmNumbers) -> str:
    return f"films-{arm.arm.slug}.jpg"


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
    """Which weights the run's own report is of: those that something chose, where something did."""
    judged = run.paper
    if judged is None:
        return "unknown weights"
    chosen = {"test": "chosen on the test films", "validation": "chosen on validation films", "nothing": "the last"}
    return f"weights of update {judged.step} ({chosen[judged.selected_on]})"
