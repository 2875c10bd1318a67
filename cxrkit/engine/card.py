"""What a weights file or an exported network says of itself."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, field_validator, model_serializer

from cxrkit.config import ComponentConfig, PreprocessConfig
from cxrkit.metrics.quality import Calibration
from cxrkit.segmentation import STRUCTURE_NAME


class NetworkCard(BaseModel):
    """What a weights file says of itself.

    Attributes:
        model: the network's name and parameters.
        channels: its output channels, in order; structures, and perhaps `background` last.
        preprocess: what its input must have gone through.
        precision: the setting it was trained and judged with.
        package: the distribution and version that the network came from.
        step: updates it was trained for.
        postprocess: what is done to its masks, where that was chosen on validation films.
        quality: by structure, how well its results for several views of a film agree, to the Dice coefficient that
            validation films had then (`cxrkit calibrate`).
    """

    model_config = ConfigDict(extra="forbid")

    format: Literal[1] = 1
    cxrkit: str
    model: ComponentConfig
    channels: tuple[Annotated[str, Field(pattern=rf"^{STRUCTURE_NAME}$")], ...] = Field(min_length=1)
    preprocess: PreprocessConfig
    precision: Literal["auto", "32", "bf16"] = "auto"
    package: tuple[str, str]
    step: int
    postprocess: ComponentConfig | None = None
    quality: dict[str, Calibration] | None = None

    @model_serializer(mode="wrap")
    def _as_before(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without what wasn't chosen or calibrated, so that earlier versions can read the file."""
        content: dict[str, Any] = serialise(self)
        return {key: value for key, value in content.items() if value or key not in ("postprocess", "quality")}

    @field_validator("channels")
    @classmethod
    def _unique(cls, channels: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(channels)) < len(channels):
            raise ValueError("a channel is named twice")
        return channels
