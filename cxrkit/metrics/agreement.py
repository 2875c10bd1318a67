"""How well a measured cardiothoracic ratio agrees with the true one, over many films."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from cxrkit.errors import DataError

#: Above it, a heart counts as enlarged in a PA film (Danzer 1919).
ENLARGED = 0.5
#: Standard deviations to each side within which 95 % of a normal distribution lie.
_NORMAL_95 = 1.96


@dataclass(frozen=True, slots=True)
class Agreement:
    """Two measurements of the same films (Bland and Altman 1986, 1996).

    Attributes:
        films: how many.
        bias: the mean of measured minus true.
        limits: (low, high), the limits of agreement, between which 95 % of the differences are expected: bias ± 1.96
            sample standard deviations of the differences; None for fewer than two films.
        variation: the within-film coefficient of variation: √(Σd² / 2n) over the mean of all measurements.
        same_side: the share of films, in [0, 1], of which both say the same: above 0.5, or not.
    """

    films: int
    bias: float
    limits: tuple[float, float] | None
    variation: float
    same_side: float


def ratio_agreement(measured: ArrayLike, true: ArrayLike) -> Agreement | None:
    """The agreement of cardiothoracic ratios, `(n,)` each, film by film; None for no film.

    Raises:
        DataError: they differ in number, or one isn't a positive number.

    >>> found = ratio_agreement([0.44, 0.52, 0.60], [0.42, 0.49, 0.61])
    >>> round(found.bias, 4), [round(limit, 4) for limit in found.limits]
    (0.0133, [-0.0275, 0.0541])
    >>> round(found.variation, 4), round(found.same_side, 4)
    (0.0298, 0.6667)
    """
    a, b = (np.asarray(values, dtype=np.float64).ravel() for values in (measured, true))
    if a.shape != b.shape:
        raise DataError(f"{len(a)} and {len(b)} ratios can't be paired.", "Give two ratios of each film.")
    if not all((np.isfinite(values) & (values > 0)).all() for values in (a, b)):
        raise DataError("A cardiothoracic ratio isn't a positive number.", "Leave that film out, and report it.")
    if len(a) == 0:
        return None
    differences = a - b
    bias = float(differences.mean())
    reach = _NORMAL_95 * float(differences.std(ddof=1)) if len(a) > 1 else None
    return Agreement(
        films=len(a),
        bias=bias,
        limits=None if reach is None else (bias - reach, bias + reach),
        variation=math.sqrt(float((differences**2).mean()) / 2) / float(np.concatenate([a, b]).mean()),
        same_side=float(((a > ENLARGED) == (b > ENLARGED)).mean()),
    )
