"""Affine and elastic deformation of films and their masks, in one resampling."""

from __future__ import annotations

import math
from typing import Annotated

import torch
import torch.nn.functional as F
from kornia.geometry.transform import get_affine_matrix2d
from pydantic import Field
from torch import Tensor

from cxrkit import Augment, Batch
from cxrkit_plugins.augments.sampling import happens, to_device, uniform


class Geometric(Augment):
    """Rotate, shift, scale, shear and bend every film of a batch, each differently, together with its masks.

    All steps are combined into one grid and one bilinear resampling, so that nothing is blurred twice; images and
    targets use the same grid. Areas outside the film repeat its border, in images and targets alike, so that
    channels that add up to one (disjoint structures and the background) still do so afterwards. Targets become
    soft along their edges and stay in [0, 1].

    A flipped film shows mirrored anatomy, as in situs inversus: its masks keep their names, so that `left_lung` is
    then on the other side. Flipping is off by default.
    """

    def __init__(
        self,
        *,
        rotation: Annotated[float, Field(ge=0, le=180, description="largest rotation either way, degrees")] = 10.0,
        translation: Annotated[float, Field(ge=0, le=0.5, description="largest shift, as a share of the side")] = 0.05,
        scaling: Annotated[
            float, Field(ge=0, le=0.9, description="scale factors are drawn from 1 - this to 1 + this")
        ] = 0.1,
        shear: Annotated[float, Field(ge=0, le=45, description="largest shear either way, degrees")] = 5.0,
        elastic: Annotated[
            float,
            Field(ge=0, le=0.05, description="standard deviation of the bending, share of the side; 0: no bending"),
        ] = 0.008,
        elastic_points: Annotated[
            int, Field(ge=3, le=16, description="control points of the bending along each side; more make finer waves")
        ] = 6,
        horizontal_flip: Annotated[
            float, Field(ge=0, le=1, description="probability that a film is mirrored: heart and names change sides")
        ] = 0.0,
        probability: Annotated[float, Field(ge=0, le=1, description="probability that a film is deformed")] = 1.0,
    ) -> None:
        self.rotation = rotation
        self.translation = translation
        self.scaling = scaling
        self.shear = shear
        self.elastic = elastic
        self.elastic_points = elastic_points
        self.horizontal_flip = horizontal_flip
        self.probability = probability

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        """Deform every film and its targets alike."""
        count, _, height, width = batch.images.shape
        grid = self.draw_grid(count, height, width, generator, batch.images.device)
        targets = _resample(batch.targets, grid).clamp(0, 1)
        return batch.with_(images=_resample(batch.images, grid), targets=targets)

    def draw_grid(
        self, count: int, height: int, width: int, generator: torch.Generator, device: torch.device
    ) -> Tensor:
        """Where each pixel comes from: float32 `(count, height, width, 2)` as (x, y) in [-1, 1], on `device`.

        -1 and 1 are the outer edges of the border pixels (`align_corners=False`).
        """
        deformed = happens(self.probability, count, generator).float()
        to_source = to_device(self._draw_affine(count, height, width, deformed, generator), device)
        bend = self._draw_bend(count, height, width, deformed, generator, device)
        rows = torch.arange(height, device=device) - (height - 1) / 2
        columns = torch.arange(width, device=device) - (width - 1) / 2
        y, x = torch.meshgrid(rows, columns, indexing="ij")
        # In pixels from the centre, so that a rotation stays one on films that aren't square.
        pixels = torch.stack([x, y], dim=-1)
        source = torch.einsum("bij,hwj->bhwi", to_source[:, :, :2], pixels) + to_source[:, None, None, :, 2]
        half = to_device(torch.tensor([width / 2, height / 2]), device)
        return (source + bend) / half

    def _draw_affine(self, count: int, height: int, width: int, deformed: Tensor, generator: torch.Generator) -> Tensor:
        """The maps from a pixel to its source, both from the centre in pixels: `(count, 2, 3)`."""
        angle = self.rotation * deformed * uniform(-1, 1, count, generator=generator)
        factor = 1 + self.scaling * deformed * uniform(-1, 1, count, generator=generator)
        shift = self.translation * deformed[:, None] * uniform(-1, 1, count, 2, generator=generator)
        shear = math.radians(self.shear) * deformed[:, None] * uniform(-1, 1, count, 2, generator=generator)
        matrix = get_affine_matrix2d(
            translations=shift * torch.tensor([width, height]),
            center=torch.zeros(count, 2),
            scale=factor[:, None].expand(count, 2),
            angle=angle,
            sx=shear[:, 0],
            sy=shear[:, 1],
        )
        mirrored = happens(self.horizontal_flip, count, generator)
        matrix[:, 0] = torch.where(mirrored[:, None], -matrix[:, 0], matrix[:, 0])
        return torch.linalg.inv(matrix)[:, :2]

    def _draw_bend(
        self, count: int, height: int, width: int, deformed: Tensor, generator: torch.Generator, device: torch.device
    ) -> Tensor:
        """A smooth random displacement in pixels, `(count, height, width, 2)`.

        Few control points with a bicubic surface through them do what a wide Gaussian filter over a field of
        noise does, without the filter.
        """
        side = self.elastic_points
        noise = torch.randn(count, 2, side, side, generator=generator).clamp(-2, 2)
        points = self.elastic * min(height, width) * deformed[:, None, None, None] * noise
        bend = F.interpolate(to_device(points, device), size=(height, width), mode="bicubic", align_corners=True)
        return bend.permute(0, 2, 3, 1)


def _resample(maps: Tensor, grid: Tensor) -> Tensor:
    """Bilinear values of `maps` `(B, ., H, W)` at `grid`; outside, those of the nearest border pixel."""
    return F.grid_sample(maps, grid.to(maps.dtype), mode="bilinear", padding_mode="border", align_corners=False)
