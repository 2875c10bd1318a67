"""An example plugin: the network `residual-unet` and the loss `contour-bce`.

cxrkit imports this module whenever it lists components, even for `cxrkit --help`. So it only says where they
are, as text, and torch is imported in those modules, when one of them is used.
"""

from __future__ import annotations

from cxrkit import hookimpl
from cxrkit.hookspecs import Register


@hookimpl
def register_models(register: Register) -> None:
    """One network."""
    register(
        "residual-unet",
        "cxrkit_example_plugin.residual_unet:ResidualUNet",
        summary="Deep Residual U-Net (Zhang 2018)",
    )


@hookimpl
def register_losses(register: Register) -> None:
    """One loss."""
    register(
        "contour-bce",
        "cxrkit_example_plugin.contour_bce:ContourBCELoss",
        summary="binary cross-entropy that gives pixels near contours more weight",
    )
