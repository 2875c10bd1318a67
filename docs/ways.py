"""Draw the two ways through cxrkit, a film to its masks and a film to the loss, from the functions that do the work.

Every box names a function of the code, or a method of a contract that plugins implement. tests/test_docs.py runs both
ways on a synthetic film and compares the calls with the boxes: order, and which function makes the calls.
"""

from __future__ import annotations

import importlib
import inspect
from dataclasses import dataclass
from html import escape
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

PICTURE = Path(__file__).resolve().parent / "images/two-ways.svg"


@dataclass(frozen=True)
class Step:
    """A box: the function `module:name`, what it does, and what it returns or changes.

    Attributes:
        function: within the package `cxrkit`, such as `data.images:read_film`.
        what: a few words.
        result: layout, type and range of what comes out.
        plugin: the kind of plugin whose method it is; "" for a function of the core.
    """

    function: str
    what: str
    result: str
    plugin: str = ""

    def load(self) -> Any:
        """The function itself."""
        module, _, name = self.function.partition(":")
        found: Any = importlib.import_module(f"cxrkit.{module}")
        for part in name.split("."):
            found = getattr(found, part)
        return found


@dataclass(frozen=True)
class Group:
    """The steps that one function makes, directly or through helpers."""

    caller: Step
    steps: tuple[Step, ...]


TO_MASKS = (
    Group(
        Step("engine.predict:Segmenter.__call__", "One film", ""),
        (
            Step("data.images:read_film", "Read the file", "Film: grey values (H, W), spacing, source"),
            Step("data.preprocess:preprocess_film", "Resize, CLAHE, pad", "uint16 (S, S), and its Placement"),
            Step("data.preprocess:to_input", "Standardise", "float32 (1, S, S)"),
            Step("engine.torch_predictor:TorchPredictor.__call__", "Predict", "probabilities, float32 (1, C, S, S)"),
            Step("interfaces:Model.forward", "Run the network", "logits (1, C, S, S)", "model"),
            Step("data.preprocess:Placement.restore", "Undo padding and resizing", "float32 (C, H, W)"),
            Step("metrics.plausibility:warnings_of", "Check the thresholded masks", "warnings"),
            Step("services:Postprocess.__call__", "Remove stray parts and holes", "masks, bool (H, W)", "postprocess"),
            Step("metrics.cardiothoracic:cardiothoracic_ratio", "Measure the heart", "ratio and extents"),
        ),
    ),
    Group(
        Step("engine.predictions:predict_films", "All films", ""),
        (
            Step("services:Writer.files", "Make the files of a film", "names and bytes", "writer"),
            Step("engine.results_folder:ResultsFolder.write", "Write them", "OUT/film/*, listed in predictions.json"),
        ),
    ),
)

TO_LOSS = (
    Group(
        Step("engine.films:prepare_films", "Before training", ""),
        (
            Step("interfaces:Dataset.read", "Read film and masks", "Sample: image, masks, spacing", "dataset"),
            Step("data.preprocess:preprocess_film", "Resize, CLAHE, pad", "uint16 (S, S), and its Placement"),
            Step("data.preprocess:preprocess_mask", "Resize the masks alike", "bool (S, S) each, into the store"),
            Step("data.splits:make_split", "Split by patient", "train, validation, test"),
        ),
    ),
    Group(
        Step("engine.loop:TrainingLoop.update", "One update", ""),
        (
            Step("engine.sampling:Sampler.indices", "Draw films", "positions, from seed and step alone"),
            Step("engine.batches:FilmBatches.take", "Take the batch", "Batch: images, targets, known"),
            Step("interfaces:Augment.__call__", "Augment", "a changed Batch", "augment"),
            Step("interfaces:Model.forward", "Run the network", "logits (B, C, H, W)", "model"),
            Step("engine.objective:batch_loss", "Leave out unknown masks", "known logits and targets"),
            Step("interfaces:Loss.forward", "Compute the loss", "a scalar; then gradients and Adam", "loss"),
            Step("engine.schedule:update_average", "Average the weights", "the network that is kept"),
        ),
    ),
)

WAYS = {"A film to its masks: cxrkit predict": TO_MASKS, "A film to the loss: cxrkit train": TO_LOSS}


# --- checking ----------------------------------------------------------------------------------------------


class Trace:
    """A profile function, for `sys.setprofile`, that crosses off the steps of a way as they are made.

    A step counts if it is the next of the way, and the function of its group is among its callers.

    Attributes:
        missing: the steps that are left.
    """

    def __init__(self, way: tuple[Group, ...]) -> None:
        self.missing = [step for group in way for step in group.steps]
        self._functions = [step.load() for step in self.missing]
        self._callers = [_code(group.caller.load()) for group in way for _ in group.steps]
        self._contracts = importlib.import_module("cxrkit")

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        """Called by the interpreter at each call and return."""
        if event == "call" and self.missing and self._is_next(frame) and _is_below(frame, self._callers[0]):
            for left in (self.missing, self._functions, self._callers):
                del left[0]

    def _is_next(self, frame: FrameType) -> bool:
        step = self.missing[0]
        if not step.plugin:
            return frame.f_code is _code(self._functions[0])
        contract, _, method = step.function.partition(":")[2].partition(".")
        is_method = frame.f_code.co_name == method
        return is_method and isinstance(frame.f_locals.get("self"), getattr(self._contracts, contract))


def _code(function: Any) -> CodeType:
    code: CodeType = inspect.unwrap(function).__code__
    return code


def _is_below(frame: FrameType | None, caller: CodeType) -> bool:
    while frame is not None:
        if frame.f_code is caller:
            return True
        frame = frame.f_back
    return False


# --- drawing -----------------------------------------------------------------------------------------------

WIDTH, BOX, GAP, HEADER, PAD, TOP = 380, 62, 16, 34, 12, 40
CORE, PLUGIN, GROUP, INK, SOFT = "#e8eef4", "#ffe3b3", "#7d8895", "#16202b", "#44525f"


def draw() -> str:
    """The picture, SVG; boxes are opaque, so that it can be read on light and dark pages."""
    columns = [_column(title, way, number * (WIDTH + 24)) for number, (title, way) in enumerate(WAYS.items())]
    height = max(bottom for _, bottom in columns) + 8
    width = len(columns) * (WIDTH + 24) - 24
    body = "\n".join(line for lines, _ in columns for line in lines)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="system-ui, sans-serif">\n'
        f"<title>{escape('; '.join(WAYS))}</title>\n{body}\n</svg>\n"
    )


def _column(title: str, way: tuple[Group, ...], left: int) -> tuple[list[str], int]:
    lines = [
        f'<rect x="{left}" y="0" width="{WIDTH}" height="30" rx="6" fill="#2f4858"/>',
        _text(left + WIDTH // 2, 20, title, 15, "#ffffff", 'text-anchor="middle" font-weight="600"'),
    ]
    top = TOP
    for group in way:
        height = HEADER + len(group.steps) * (BOX + GAP) - GAP + PAD
        lines += [
            f'<rect x="{left}" y="{top}" width="{WIDTH}" height="{height}" rx="8" fill="#f7f9fb" stroke="{GROUP}"/>',
            _text(left + PAD, top + 21, group.caller.what, 14, INK, 'font-weight="600"'),
            _text(left + WIDTH - PAD, top + 21, _place(group.caller), 11.5, SOFT, _MONO + ' text-anchor="end"'),
        ]
        for number, step in enumerate(group.steps):
            y = top + HEADER + number * (BOX + GAP)
            lines += _box(step, left + PAD, y)
            if number:
                lines.append(_arrow(left + WIDTH // 2, y - GAP, y))
        if group is not way[0]:
            lines.append(_arrow(left + WIDTH // 2, top - GAP, top))
        top += height + GAP
    return lines, top - GAP


_MONO = 'font-family="ui-monospace, Consolas, monospace"'


def _box(step: Step, left: int, top: int) -> list[str]:
    inner = WIDTH - 2 * PAD
    lines = [
        f'<rect x="{left}" y="{top}" width="{inner}" height="{BOX}" rx="5" fill="{PLUGIN if step.plugin else CORE}"/>',
        _text(left + 10, top + 19, step.what, 14, INK, 'font-weight="600"'),
        _text(left + 10, top + 36, _place(step), 11.5, SOFT, _MONO),
        _text(left + 10, top + 53, f"→ {step.result}", 12.5, INK),
    ]
    if step.plugin:
        lines.append(_text(left + inner - 10, top + 19, f"plugin: {step.plugin}", 12, "#7a4b00", 'text-anchor="end"'))
    return lines


def _place(step: Step) -> str:
    module, _, name = step.function.partition(":")
    return f"{module.replace('.', '/')}.py  {name}"


def _text(x: int, y: int, text: str, size: float, colour: str, more: str = "") -> str:
    return f'<text x="{x}" y="{y}" font-size="{size}" fill="{colour}" {more}>{escape(text)}</text>'.replace(" >", ">")


def _arrow(x: int, top: int, bottom: int) -> str:
    head = f"M{x - 4} {bottom - 6}L{x} {bottom - 1}L{x + 4} {bottom - 6}"
    return f'<path d="M{x} {top + 1}V{bottom - 1}{head}" fill="none" stroke="{GROUP}" stroke-width="1.5"/>'
