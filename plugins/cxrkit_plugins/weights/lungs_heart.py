"""Both lungs and the heart on frontal chest radiographs; lungs_heart.md gives the data, scores and limits."""

from __future__ import annotations

from pathlib import Path

from cxrkit import PretrainedWeights

_HERE = Path(__file__).parent


class LungsHeart(PretrainedWeights):
    """A U-Net with an ImageNet-pretrained EfficientNet-Lite0 encoder, trained on films of two hospitals."""

    default = True

    @property
    def file(self) -> Path:
        """The weights, stored as 16-bit floats."""
        return _HERE / "lungs_heart.safetensors"

    @property
    def card(self) -> str:
        """The model card."""
        return (_HERE / "lungs_heart.md").read_text(encoding="utf-8")
