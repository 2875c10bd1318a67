"""Exposure, contrast, gamma, blur, noise and inversion of films."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from kornia.filters import gaussian_blur2d
from pydantic import Field
from torch import Tensor

from cxrkit import Augment, Batch
from cxrkit_plugins.augments.sampling import generator_on, happens, to_device, uniform

#: A Gaussian of this deviation, in pixels, is a single pixel: it leaves a film as it is.
NO_BLUR = 0.05


class Intensity(Augment):
    """Change the grey values of every film of a batch, each differently; targets aren't changed.

    All strengths are shares of the film's own range, from its darkest to its brightest pixel: the same settings
    suit films in [0, 1] and standardised ones, and no film leaves its range. In this order: inversion, gamma,
    contrast about the mean, brightness, blur, noise.
    """

    def __init__(
        self,
        *,
        brightness: Annotated[float, Field(ge=0, le=1, description="largest shift either way, share of range")] = 0.1,
        contrast: Annotated[
            float, Field(ge=0, le=1, description="contrast factors are drawn from 1 - this to 1 + this")
        ] = 0.2,
        gamma: Annotated[
            float, Field(ge=1, le=5, description="largest gamma; drawn from 1 / this to this, evenly in the logarithm")
        ] = 1.4,
        blur: Annotated[
            float, Field(ge=0, le=10, description="largest standard deviation of the Gaussian blur, pixels")
        ] = 1.0,
        noise: Annotated[
            float, Field(ge=0, le=0.5, description="largest standard deviation of the noise, share of range")
        ] = 0.02,
        inversion: Annotated[
            float, Field(ge=0, le=1, description="probability that dark and bright are swapped")
        ] = 0.0,
        probability: Annotated[float, Field(ge=0, le=1, description="probability that a film is changed")] = 1.0,
    ) -> None:
        self.brightness = brightness
        self.contrast = contrast
        self.gamma = gamma
        self.blur = blur
        self.noise = noise
        self.inversion = inversion
        self.probability = probability

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        """Change the grey values of every film."""
        images = batch.images
        lowest = images.amin((1, 2, 3), keepdim=True)
        span = images.amax((1, 2, 3), keepdim=True) - lowest
        # A uniform film has no range; it isn't changed.
        unit = (images - lowest) / torch.where(span > 0, span, 1)
        changed = lowest + span * self._change(unit, generator)
        chosen = to_device(happens(self.probability, len(batch), generator), images.device)
        return batch.with_(images=torch.where(chosen.view(-1, 1, 1, 1), changed, images))

    def _change(self, unit: Tensor, generator: torch.Generator) -> Tensor:
        """Films `(B, 1, H, W)` in [0, 1] to such."""
        count, device = unit.shape[0], unit.device

        def drawn(low: float, high: float) -> Tensor:
            return to_device(uniform(low, high, count, 1, 1, 1, generator=generator), device)

        inverted = to_device(happens(self.inversion, count, generator), device).view(-1, 1, 1, 1)
        unit = torch.where(inverted, 1 - unit, unit)
        unit = unit ** drawn(-math.log(self.gamma), math.log(self.gamma)).exp()
        mean = unit.mean((1, 2, 3), keepdim=True)
        unit = mean + drawn(1 - self.contrast, 1 + self.contrast) * (unit - mean)
        # What over- or underexposure cuts off is lost before the film is blurred, as in a detector.
        unit = (unit + drawn(-self.brightness, self.brightness)).clamp(0, 1)
        unit = self._blurred(unit, generator)
        strength = drawn(0, self.noise)
        if self.noise > 0:
            unit = unit + strength * torch.randn(unit.shape, generator=generator_on(device, generator), device=device)
        return unit.clamp(0, 1)

    def _blurred(self, unit: Tensor, generator: torch.Generator) -> Tensor:
        deviation = uniform(0, self.blur, unit.shape[0], 1, generator=generator).clamp(min=NO_BLUR)
        if self.blur <= NO_BLUR:
            return unit
        kernel = 2 * math.ceil(3 * self.blur) + 1
        # "replicate", because "reflect" can't reach further than the film is wide.
        return gaussian_blur2d(unit, (kernel, kernel), deviation.expand(-1, 2), border_type="replicate")
