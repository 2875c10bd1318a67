"""How a film becomes the network's input: the settings that weights carry with them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer


class ConfigPart(BaseModel):
    """A part of a run's description, in which every key is known."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True, validate_default=True, defer_build=True)


class ClaheConfig(ConfigPart):
    """Contrast-limited adaptive histogram equalisation, after the resize (paper §2.4)."""

    clip_limit: float = Field(8.0, gt=0, description="OpenCV's clip limit")
    tiles: int = Field(8, ge=1, le=64, description="tiles along each side")
    bits: Literal[8, 16] = Field(16, description="bits of the grey values that are equalised")


class PreprocessConfig(ConfigPart):
    """From a film as read to the network's input."""

    size: int = Field(256, ge=16, le=4096, description="side of the network's square input in pixels; the paper's: 512")
    fit: Literal["pad", "stretch"] = Field("pad", description="keep the aspect ratio and pad, or stretch")
    resize: Literal["area", "linear"] = Field(
        "area",
        description="how films are shrunk to less than half: by averaging areas, or linearly, as in the paper",
    )
    clahe: ClaheConfig | None = Field(default_factory=ClaheConfig, description="null switches CLAHE off")
    standardise: bool = Field(True, description="scale each film to mean 0 and variance 1, instead of to [0, 1]")
    remove_borders: bool = Field(
        False, description="remove a wide black or white border around a film, as `cxrkit predict` does by default"
    )
    levels: Literal["range", "robust"] = Field(
        "range",
        description="which grey values become black and white, before CLAHE; range: the darkest and the brightest of "
        "all; robust: percentiles of the film itself, so that burnt-in labels, saturated pixels and borders have no "
        "say",
    )
    clip_greys: float = Field(
        0.0,
        ge=0,
        lt=0.5,
        description="share of a film's darkest pixels that become black, and of its brightest that become white; with "
        "levels=robust 0 means 0.01",
    )
    resize_as: Literal["float", "stored"] = Field(
        "float",
        description="films are resized in float32, so that one gives the same at any depth; 'stored': in the type that "
        "the film comes in, as runs did that were saved without this setting",
    )

    @model_serializer(mode="wrap")
    def _as_before(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without levels at their default, which were added later: weights and runs are saved as they always were."""
        content: dict[str, Any] = serialise(self)
        return {key: value for key, value in content.items() if key != "levels" or value != "range"}

    def stored(self) -> dict[str, Any]:
        """The settings that determine the content of a store, as plain values.

        Settings that were added later are left out where they change nothing, so that stores written before are found.
        """
        before = {"remove_borders": False, "clip_greys": 0.0, "resize_as": "stored"}
        unchanged = {name for name, value in before.items() if getattr(self, name) == value}
        return self.model_dump(mode="json", exclude={"standardise", *unchanged})
