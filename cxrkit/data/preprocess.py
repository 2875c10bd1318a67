"""From a film as read to the network's square input, and from the network's output back to the film.

The order is the paper's (Maga 2021, §2.4): resize → grey values to the full 16 bits → CLAHE → pad to a square; a border
around the film may be left out first. Films are resized as float32, so that one film gives the same whether it comes in
8 bits, 16 bits or as floats. The padding comes after CLAHE so that it takes no part in any histogram. What is
stored is uint16; `to_input` makes the float32 that a network sees. `Placement.restore` is the one way back.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np

from cxrkit.config import ClaheConfig, PreprocessConfig
from cxrkit.data.borders import Region, film_region

FULL_SCALE = 65535
#: Share of a film's pixels that robust levels cut off at either end: a thousandth would be less than a label has.
CLIP = 0.01
#: Pixels whose height and width differ by less than this share count as square.
NEARLY_SQUARE = 0.01

#: Grey values beyond a gap of four fifths of the film's range aren't the film's, but those of a burned-in label or of
#: padding: at most `_APART` of the pixels, with no more than `_BETWEEN` of them in the gap, such as a soft edge.
#: Narrower gaps stay: wingspan's films have markers above gaps of up to three quarters, and networks are used to them.
_APART, _BETWEEN = 0.05, 0.001
_BINS, _WIDTH = 256, 205


@dataclass(frozen=True)
class Placement:
    """Where a film lies in the network's square, and the way back from there.

    Attributes:
        original_shape: (height, width) of the film as read.
        content: (top, left, height, width) of the film within the square; the rest is padding.
        size: side of the square.
        original_spacing: (row, column) millimetres per pixel of the film as read, or None.
        inside: (top, left, height, width) of what is left of the film as read without its borders; None: all of it.
    """

    original_shape: tuple[int, int]
    content: tuple[int, int, int, int]
    size: int
    original_spacing: tuple[float, float] | None = None
    inside: tuple[int, int, int, int] | None = None

    @property
    def spacing(self) -> tuple[float, float] | None:
        """(row, column) millimetres per pixel of the network's square, or None where unknown."""
        if self.original_spacing is None:
            return None
        (height, width), (_, _, content_height, content_width) = self.inner_shape, self.content
        row, column = self.original_spacing
        return row * height / content_height, column * width / content_width

    @property
    def inner_shape(self) -> tuple[int, int]:
        """(height, width) of the film within its borders."""
        return self.original_shape if self.inside is None else self.inside[2:]

    @property
    def inner(self) -> Region:
        """The rows and columns of the film as read that lie within its borders."""
        return _slices(self.inside or (0, 0, *self.original_shape))

    @property
    def region(self) -> Region:
        """The rows and columns of the square that the film fills."""
        return _slices(self.content)

    def restore(self, array: np.ndarray) -> np.ndarray:
        """Bring `(..., size, size)` float maps, such as probabilities, back to `(..., *original_shape)` float32.

        The padding is cut off and the rest resized as `resize_film` does; borders that were left out become 0.
        Threshold afterwards, not before.
        """
        if array.shape[-2:] != (self.size, self.size):
            raise ValueError(f"expected (..., {self.size}, {self.size}), got {array.shape}")
        content = np.asarray(array, dtype=np.float32)[..., *self.region]
        if content.ndim == 2 and self.inside is None and content.shape != self.original_shape:
            return resize_film(content, self.original_shape)
        flat = content.reshape(-1, *content.shape[-2:])
        restored = np.zeros((len(flat), *self.original_shape), dtype=np.float32)
        for index, plane in enumerate(flat):
            restored[index, *self.inner] = resize_film(plane, self.inner_shape)
        return restored.reshape(*array.shape[:-2], *self.original_shape)


def _slices(box: tuple[int, int, int, int]) -> Region:
    top, left, height, width = box
    return slice(top, top + height), slice(left, left + width)


def place(
    shape: tuple[int, int],
    spacing: tuple[float, float] | None,
    size: int,
    fit: str = "pad",
    aspect: float | None = None,
) -> Placement:
    """Where a film of `shape` goes: centred with its aspect ratio kept (`pad`), or all over the square (`stretch`).

    Pixels that aren't square, as the spacing or else `aspect` (height over width) says, become so.
    """
    height, width = shape
    if fit == "stretch":
        return Placement((height, width), (0, 0, size, size), size, spacing)
    if spacing is not None:
        aspect = spacing[0] / spacing[1]
    # Spacings are rounded, so that square pixels may seem not to be quite so.
    tall = height if aspect is None or abs(aspect - 1) < NEARLY_SQUARE else height * aspect
    scale = size / max(tall, width)
    rows, columns = max(1, round(tall * scale)), max(1, round(width * scale))
    return Placement((height, width), ((size - rows) // 2, (size - columns) // 2, rows, columns), size, spacing)


def preprocess_film(
    pixels: np.ndarray,
    config: PreprocessConfig,
    *,
    spacing: tuple[float, float] | None = None,
    aspect: float | None = None,
) -> tuple[np.ndarray, Placement]:
    """A film `(H, W)` uint8, uint16 or finite float32 to uint16 `(size, size)`, and its placement."""
    levels_of = film_levels if config.resize_as == "float" else np.asarray
    levels = levels_of(pixels)
    inside = _within_borders(levels) if config.remove_borders else None
    shape = pixels.shape[:2] if inside is None else inside[2:]
    placement = replace(
        place(shape, spacing, config.size, config.fit, aspect), original_shape=pixels.shape[:2], inside=inside
    )
    if inside is not None:  # the borders' levels don't count
        levels = levels_of(pixels[placement.inner])
    resized = resize_film(levels, placement.content[2:], config.resize)
    return _equalised(resized, placement, config), placement


def before_levels(config: PreprocessConfig) -> PreprocessConfig:
    """The preprocessing after which `network_input` does what is left of `config`: a film is resized and no more."""
    return config.model_copy(update={"levels": "range", "clip_greys": 0.0, "clahe": None})


def network_input(film: np.ndarray, content: tuple[int, int, int, int], config: PreprocessConfig) -> np.ndarray:
    """A film after `before_levels`, float32 `(size, size)` in [0, 1], to the network's float32 `(1, size, size)`.

    The same, bit for bit, as `preprocess_film` and `to_input` make of it; with `levels=range` and `clip_greys` above 0
    grey values may differ by one of 65,535 before CLAHE.

    Args:
        film: the film in its square; what was changed in it beyond [0, 1] is cut off.
        content: where it lies there, see `Placement`.
        config: of the network.
    """
    placement = Placement(content[2:], content, config.size)
    grey = np.rint(film[placement.region].clip(0, 1) * np.float32(FULL_SCALE)).astype(np.uint16)
    return to_input(_equalised(grey, placement, config), placement, standardise=config.standardise)


def _equalised(film: np.ndarray, placement: Placement, config: PreprocessConfig) -> np.ndarray:
    """A resized film `(H, W)`, without padding, after levels and CLAHE in its square: uint16 `(size, size)`."""
    robust = config.levels == "robust"
    levelled = robust_levels(full_range(film), config.clip_greys) if robust else full_range(film, config.clip_greys)
    square = np.zeros((placement.size, placement.size), dtype=np.uint16)
    square[placement.region] = levelled if config.clahe is None else clahe(levelled, config.clahe)
    return square


def film_levels(pixels: np.ndarray) -> np.ndarray:
    """A film's grey values, uint8, uint16 or finite float32 `(H, W)`, from darkest to brightest, float32 in [0, 1].

    Equal films give equal levels, bit for bit, whatever factor and offset their whole numbers are stored with. What
    lies beyond a gap in the histogram becomes black or white.
    """
    low, high = float(pixels.min()), float(pixels.max())
    if high <= low:
        return np.zeros(pixels.shape, dtype=np.float32)
    # float64, in which the quotients of k, 257 k and float(k) are the same number.
    whole = pixels.dtype.kind == "u"  # a table of all values is shorter than a film
    values = np.arange(np.iinfo(pixels.dtype).max + 1.0) if whole else pixels.astype(np.float64)
    times = _histogram(pixels) if whole else None
    levels = np.clip((values - low) / (high - low), 0, 1).astype(np.float32)
    bins = (levels * np.float32(_BINS - 1)).astype(np.uint8)
    counts = np.bincount(bins.ravel(), times, minlength=_BINS) / pixels.size
    first, last = _BINS - 1 - _last_of_film(counts[::-1]), _last_of_film(counts)
    film = levels[(bins >= first) & (bins <= last) & (times is None or times > 0)]
    low, high = film.min(), film.max()
    if (low, high) != (0, 1) and low != high:
        levels = np.clip((levels - low) / (high - low), 0, 1)
    return look_up(levels, pixels) if whole else levels


def _histogram(pixels: np.ndarray) -> np.ndarray:
    """How often a film, uint8 or uint16 `(H, W)`, has each value its type can have."""
    values, rows = np.iinfo(pixels.dtype).max + 1, max(1, (1 << 24) // pixels.shape[1])  # float32 counts exactly so far
    parts = [pixels[start : start + rows] for start in range(0, len(pixels), rows)]
    found = [cv2.calcHist([part], [0], None, [values], [0, values]).ravel() for part in parts]
    return np.asarray(np.sum(found, axis=0, dtype=np.float64))


def look_up(table: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """`table[pixels]` for a film of uint8 or uint16 `(H, W)`, several times as fast."""
    return np.asarray(cv2.LUT(pixels, table) if pixels.dtype == np.uint8 else np.take(table, pixels))


def _last_of_film(shares: np.ndarray) -> int:
    """The bin after which only a wide gap and what lies beyond it follow, of the shares of pixels in `_BINS` bins."""
    up_to = np.cumsum(shares)
    for last in range(_BINS - _WIDTH):
        if 1 - up_to[last] <= _APART and up_to[last + _WIDTH] - up_to[last] <= _BETWEEN:
            return last
    return _BINS - 1


def _within_borders(pixels: np.ndarray) -> tuple[int, int, int, int] | None:
    """(top, left, height, width) of a film without its borders, or None where it has none."""
    rows, columns = film_region(pixels)
    box = (rows.start, columns.start, rows.stop - rows.start, columns.stop - columns.start)
    return None if box[2:] == pixels.shape else box


def preprocess_mask(mask: np.ndarray, placement: Placement) -> np.ndarray:
    """A bool mask `(H, W)` of the film's original shape to bool `(size, size)`; padding is False."""
    if mask.shape != placement.original_shape:
        raise ValueError(f"expected a mask of {placement.original_shape}, got {mask.shape}")
    square = np.zeros((placement.size, placement.size), dtype=bool)
    square[placement.region] = resize_mask(mask[placement.inner], placement.content[2:])
    return square


def resize_film(pixels: np.ndarray, shape: tuple[int, int], method: Literal["area", "linear"] = "area") -> np.ndarray:
    """Resize `(H, W)` to `shape` (height, width); the dtype stays.

    Linearly. Where a side shrinks to less than half, linear interpolation looks at 4 pixels of each block and lets the
    rest alias; `area` averages the block there. The paper's 2048 → 512 is such a case, and it says linear (Maga 2021,
    §2.4): `linear` never averages.
    """
    height, width = pixels.shape
    if method == "area" and (height > 2 * shape[0] or width > 2 * shape[1]):
        smaller = (min(height, shape[0]), min(width, shape[1]))
        pixels = cv2.resize(pixels, smaller[::-1], interpolation=cv2.INTER_AREA)
    if pixels.shape != shape:
        pixels = cv2.resize(pixels, shape[::-1], interpolation=cv2.INTER_LINEAR)
    return pixels


def resize_mask(mask: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Resize a bool mask `(H, W)` to `shape` by the nearest pixel.

    Pixel centres are aligned as in the resize of films. OpenCV's plain INTER_NEAREST takes the upper left pixel
    of each block, which would shift masks by up to half a pixel of the result against their films.
    """
    if mask.shape == shape:
        return mask.copy()
    resized = cv2.resize(mask.astype(np.uint8), shape[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    return np.asarray(resized.astype(bool))


def full_range(pixels: np.ndarray, clip: float = 0.0) -> np.ndarray:
    """A film's own minimum and maximum to 0 and 65535, linearly, as uint16; a constant film becomes 0.

    With `clip`, in [0, 0.5), the quantiles `clip` and `1 - clip` take their place, and what lies beyond is cut off.
    """
    low, high = float(pixels.min()), float(pixels.max())
    if clip > 0:
        quantiles = np.quantile(pixels, (clip, 1 - clip))
        # Where nearly all pixels are equal, the few others are what the film shows.
        low, high = map(float, quantiles) if quantiles[0] < quantiles[1] else (low, high)
    if high <= low:
        return np.zeros(pixels.shape, dtype=np.uint16)
    scaled = (np.clip(pixels.astype(np.float64), low, high) - low) * (FULL_SCALE / (high - low))
    return np.asarray(np.rint(scaled).astype(np.uint16))


def robust_levels(pixels: np.ndarray, clip: float = 0.0) -> np.ndarray:
    """A film's own percentiles to 0 and 65535, linearly, as uint16; what lies beyond is cut off.

    Pixels within a thousandth of the range of its ends take no part in the percentiles: burnt-in labels, saturated
    pixels, and collimated or padded borders of whatever shape.

    Args:
        pixels: uint16 `(H, W)` that fill the range, see `full_range`.
        clip: share of the other pixels that are cut off at either end, in [0, 0.5); 0 means `CLIP`.
    """
    counts = np.bincount(pixels.ravel(), minlength=FULL_SCALE + 1)
    counts[: FULL_SCALE // 1000] = counts[-(FULL_SCALE // 1000) :] = 0
    up_to = counts.cumsum()
    share = clip or CLIP
    low, high = np.searchsorted(up_to, [share * up_to[-1], (1 - share) * up_to[-1]], side="right")
    if not 0 < low < high <= FULL_SCALE:  # hardly more than the ends
        return pixels
    return full_range(np.clip(pixels, low, high))


def clahe(pixels: np.ndarray, config: ClaheConfig) -> np.ndarray:
    """Contrast-limited adaptive histogram equalisation (Zuiderveld 1994) of uint16 `(H, W)`; uint16 comes back.

    `config.bits` is the number of grey values that the histograms tell apart. With 16 bits and tiles of t pixels
    OpenCV clips each of the 65,536 bins at max(1, clip_limit · t / 65536) pixels, which is 1 at all usual sizes:
    a film with many different grey values is then equalised to the full, one of few (an 8-bit film that wasn't
    resized) hardly at all. With 8 bits the clip limit works as its name says, whatever the film's depth.
    """
    operator = cv2.createCLAHE(clipLimit=config.clip_limit, tileGridSize=(config.tiles, config.tiles))
    if config.bits == 16:
        return np.asarray(operator.apply(pixels))
    coarse = (pixels >> 8).astype(np.uint8)
    # × 257 takes 255 to 65535.
    return np.asarray(operator.apply(coarse).astype(np.uint16) * np.uint16(257))


def to_input(pixels: np.ndarray, placement: Placement | None = None, *, standardise: bool) -> np.ndarray:
    """A stored film, uint16 `(size, size)`, to the network's float32 `(1, size, size)`.

    In [0, 1], or with `standardise` of zero mean and unit variance over the film's content (over the whole square
    where no placement is given); the padding stays black, that is at the value that 0 goes to. A constant film
    becomes all 0.
    """
    offset, scale = input_levels(pixels, placement, standardise=standardise)
    return np.asarray((pixels.astype(np.float32) / FULL_SCALE - offset) / scale)[None]


def input_levels(
    pixels: np.ndarray, placement: Placement | None = None, *, standardise: bool
) -> tuple[np.float32, np.float32]:
    """What `to_input` subtracts from a film's values in [0, 1], and what it then divides them by."""
    if not standardise:
        return np.float32(0), np.float32(1)
    content = pixels.astype(np.float32) / FULL_SCALE
    content = content if placement is None else content[placement.region]
    mean, deviation = content.mean(dtype=np.float64), content.std(dtype=np.float64)
    # Below a grey step's worth of deviation there is nothing to scale up but rounding.
    if deviation * FULL_SCALE <= 0.5:
        return np.float32(0), np.float32(np.inf)
    return np.float32(mean), np.float32(deviation)
