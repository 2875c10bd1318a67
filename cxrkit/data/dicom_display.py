"""From stored values to what a viewer shows: modality look-up table or rescaling, then VOI look-up table or window."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from cxrkit.data.dicom_header import Header
from cxrkit.data.dicom_pixels import Layout
from cxrkit.errors import DataError

#: A window that leaves fewer than this share of a film's pixels apart from its two ends isn't used.
SHOWN_SHARE = 0.05


def shown_values(
    header: Header, layout: Layout, values: np.ndarray, film: np.ndarray | None, window: int | None
) -> np.ndarray:
    """Stored values as they are shown: integers, or float64 after a window or rescaling that isn't whole.

    Args:
        header: what is left out becomes a remark of it.
        layout: of the values.
        values: as stored, `(H, W)`.
        film: which of them aren't padding, bool `(H, W)`; None for all.
        window: the n-th of the file's VOI look-up tables and windows, in this order, from 1; None for none of them.

    Raises:
        DataError: the modality look-up table can't be applied, or the file has fewer windows than `window`.
    """
    values, scale = _modality(header, values)
    views = _views(header, layout, scale)
    if window is None or (window == 1 and not views):
        return values
    if not 1 <= window <= len(views):
        raise DataError(
            f"{header.path}: has {len(views)} look-up table{'' if len(views) == 1 else 's'} and windows, not {window}.",
            "Choose another --window, or --window none.",
        )
    name, view = views[window - 1]
    try:
        shown = view(values)
    except Exception as error:
        header.leave_out(name, " ".join(str(error).split())[:80] or type(error).__name__)
        return values
    seen = shown if film is None else shown[film]
    if np.ptp(values if film is None else values[film]) and _hidden(seen):
        header.remarks.append(
            f"the DICOM header's {name} shows hardly anything of the film, and is left out (--window chooses another)"
        )
        return values
    return shown


def _hidden(shown: np.ndarray) -> bool:
    low, high = shown.min(), shown.max()
    return bool(low == high or np.count_nonzero((shown > low) & (shown < high)) < SHOWN_SHARE * shown.size)


def _modality(header: Header, values: np.ndarray) -> tuple[np.ndarray, tuple[float, float]]:
    """Values in the modality's units, and the slope and intercept that led there: (1, 0) for a table."""
    tables = _items(header, "ModalityLUTSequence")
    if tables:
        try:
            return _look_up(values, tables[0]), (1.0, 0.0)
        except Exception as error:
            raise DataError(
                f"{header.path}: its modality look-up table can't be applied ({error}).",
                "Correct that attribute, or export the film as 16-bit PNG.",
            ) from error
    slope, intercept = header.numbers("RescaleSlope") or (1.0,), header.numbers("RescaleIntercept") or (0.0,)
    if len(slope) != 1 or len(intercept) != 1 or slope[0] == 0 or max(abs(slope[0]), abs(intercept[0])) > 1e12:
        header.leave_out("RescaleSlope", f"{slope[0]:g}, with an intercept of {intercept[0]:g}")
        return values, (1.0, 0.0)
    if (slope, intercept) == ((1.0,), (0.0,)):
        return values, (1.0, 0.0)
    return values * slope[0] + intercept[0], (slope[0], intercept[0])


def _views(
    header: Header, layout: Layout, scale: tuple[float, float]
) -> list[tuple[str, Callable[[np.ndarray], np.ndarray]]]:
    """The names of the file's VOI look-up tables and windows, and what they make of values."""
    tables = _items(header, "VOILUTSequence")
    views: list[tuple[str, Callable[[np.ndarray], np.ndarray]]]
    views = [("VOI look-up table", partial(_look_up, item=table)) for table in tables]
    centres, widths = header.numbers("WindowCenter"), header.numbers("WindowWidth")
    function = " ".join(header.words("VOILUTFunction")) or "LINEAR"
    if len(centres) != len(widths):
        header.leave_out("window", f"{len(centres)} centres and {len(widths)} widths")
    ends = _ends(layout, scale)
    for centre, width in zip(centres, widths, strict=False):
        name = f"window (centre {centre:g}, width {width:g})"
        views.append((name, partial(_window, centre=centre, width=width, function=function, ends=ends)))
    return views


def _ends(layout: Layout, scale: tuple[float, float]) -> tuple[float, float]:
    """What a window's darkest and brightest become: the ends of the range that values can have."""
    low, high = (-(2 ** (layout.bits - 1)), 2 ** (layout.bits - 1) - 1) if layout.signed else (0, 2**layout.bits - 1)
    slope, intercept = scale
    return low * slope + intercept, high * slope + intercept


def _window(values: np.ndarray, centre: float, width: float, function: str, ends: tuple[float, float]) -> np.ndarray:
    """The functions of PS3.3 C.11.2.1.2 and C.11.2.1.3."""
    low, span = ends[0], ends[1] - ends[0]
    if function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        raise ValueError(f"there is no function {function}")
    if width <= 0 or (function == "LINEAR" and width < 1):
        raise ValueError(f"a width of {width:g}")
    if function == "SIGMOID":
        with np.errstate(over="ignore"):
            return np.asarray(span / (1 + np.exp(-4 * (values.astype(np.float64) - centre) / width)) + low)
    if function == "LINEAR":
        centre, width = centre - 0.5, width - 1
    if width == 0:
        return np.where(values > centre, low + span, low)
    share = (values.astype(np.float64) - centre) / width + 0.5
    return np.clip(share, 0, 1, out=share) * span + low


def _items(header: Header, name: str) -> Sequence[Any]:
    """The items of a sequence; none, and a remark, where it isn't one."""
    try:
        found = header.dataset.get(name)
        if all(hasattr(item, "LUTDescriptor") for item in found or ()):
            return found or []
        header.leave_out(name, "without a table")
    except Exception as error:
        header.leave_out(name, type(error).__name__)
    return []


def _look_up(values: np.ndarray, item: Any) -> np.ndarray:
    """Values through a look-up table (PS3.3 C.11.1.1, C.11.2.1.1), whose entries may be words, or bytes in words."""
    count, first, bits = (int(number) for number in item.LUTDescriptor)
    count = count % 65536 or 65536
    if first > 32767 and values.min() < 0:
        first -= 65536
    data = item.LUTData
    if isinstance(data, bytes | bytearray):
        little = item.original_encoding[1] is not False if hasattr(item, "original_encoding") else True
        words = np.frombuffer(data[: len(data) // 2 * 2], "<u2" if little else ">u2")
    else:
        words = np.atleast_1d(np.asarray(data, dtype=np.int64)).astype(np.uint16)
    if len(words) >= count:
        table = words[:count]
    elif bits <= 8 and 2 * len(words) >= count:
        table = words.astype("<u2").view(np.uint8)[:count].astype(np.uint16)
    else:
        raise ValueError(f"it has {len(words)} entries instead of {count}")
    place = np.rint(values - float(first)) if values.dtype.kind == "f" else values.astype(np.int64) - first
    return table[np.clip(place, 0, count - 1).astype(np.intp)]
