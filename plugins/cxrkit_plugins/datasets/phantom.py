"""Synthetic chest radiographs, made on the fly: to try cxrkit, to test it, and to pre-train.

They resemble films enough to be hard in the same places (overlapping bones, an invisible medial border, a
heart that fades into the diaphragm), and their outlines are known exactly. They are no substitute for
patients: nothing measured on them says how well a network does on real films.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from cxrkit import ConfigError, DataError, Dataset, Entry, Sample
from cxrkit_plugins.datasets.phantom_anatomy import draw_anatomy
from cxrkit_plugins.datasets.phantom_attenuation import attenuation, masks
from cxrkit_plugins.datasets.phantom_canvas import FILM_WIDTH, Canvas, draw_pose
from cxrkit_plugins.datasets.phantom_exposure import draw_exposure, expose

LUNGS_AND_HEART = ("left_lung", "right_lung", "heart")
CLAVICLES = ("left_clavicle", "right_clavicle")


class PhantomDataset(Dataset):
    """Synthetic chest radiographs of many patients, each film a function of `seed` and its number.

    Images are 12-bit uint16 `(size, size)`, bright where the patient is dense; a film is 358.4 mm wide, so
    the spacing is 358.4 / `size` millimetres. Left and right are the patient's: the left lung is on the
    right of the picture. Lungs and heart don't overlap; clavicles lie over the lungs. The films of one
    patient share the anatomy and differ in pose and exposure.

    Raises:
        ConfigError: a root was given; the phantom reads nothing.
    """

    def __init__(
        self,
        root: Path | None = None,
        *,
        count: Annotated[int, Field(ge=1, le=100_000, description="number of films")] = 60,
        size: Annotated[int, Field(ge=32, le=2048, description="side of a film, pixels")] = 256,
        seed: Annotated[int, Field(ge=0, lt=2**31, description="of the patients and their films")] = 0,
        films_per_patient: Annotated[int, Field(ge=1, description="films that share an anatomy and a group")] = 1,
        clavicles: Annotated[bool, Field(description="also give left_clavicle and right_clavicle")] = False,
    ) -> None:
        if root is not None:
            raise ConfigError(
                f"data.root={str(root)!r}: the dataset 'phantom' makes its films and reads nothing.",
                "Leave data.root out, or choose a dataset that reads films, such as data=folder.",
            )
        super().__init__(None)
        self.count = count
        self.size = size
        self.seed = seed
        self.films_per_patient = films_per_patient
        self.structures = LUNGS_AND_HEART + (CLAVICLES if clavicles else ())

    def entries(self) -> Sequence[Entry]:
        """`phantom-0000` and so on; the group is the patient."""
        return [Entry(f"phantom-{n:04d}", f"patient-{n // self.films_per_patient:04d}") for n in range(self.count)]

    def read(self, entry: Entry) -> Sample:
        """Make one film.

        Raises:
            DataError: the entry is none of this dataset's.
        """
        number = self._number(entry)
        anatomy = draw_anatomy(np.random.default_rng((self.seed, 0, number // self.films_per_patient)))
        rng = np.random.default_rng((self.seed, 1, number))
        canvas = Canvas(self.size, draw_pose(rng))
        exposure = draw_exposure(rng)
        regions = masks(anatomy, canvas)
        film = expose(attenuation(anatomy, canvas, regions, rng), exposure, canvas, rng)
        spacing = FILM_WIDTH / self.size
        return Sample(entry.id, film, {name: regions[name] for name in self.structures}, (spacing, spacing))

    def _number(self, entry: Entry) -> int:
        prefix, _, digits = entry.id.partition("-")
        number = int(digits) if digits.isdecimal() else -1
        if prefix != "phantom" or not 0 <= number < self.count:
            raise DataError(
                f"{entry.id}: there is no such film among the phantom's {self.count}.",
                f"Choose from phantom-0000 to phantom-{self.count - 1:04d}, or raise data.count.",
            )
        return number
