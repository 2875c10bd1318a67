"""What is done to masks after the threshold: which post-processing, and that it keeps its contract."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from cxrkit.config import ComponentConfig
from cxrkit.errors import ContractError, CxrkitError, reason
from cxrkit.registry import Registry
from cxrkit.services import Postprocess

#: A post-processing by name, or as a mapping of a `name` and parameters; None: the weights' own, or else the default.
Choice = str | Mapping[str, Any] | Postprocess | None


def find_postprocess(chosen: Choice, predictor: object, registry: Registry) -> tuple[str, Postprocess]:
    """The post-processing that was chosen, and its name.

    Raises:
        ConfigError, PluginError: there is no such post-processing, or it doesn't accept a parameter.
    """
    if isinstance(chosen, Postprocess):
        return type(chosen).__name__, chosen
    if chosen is None:
        own: ComponentConfig | None = getattr(predictor, "postprocess", None)  # not every predictor has a weights file
        chosen = registry.default("postprocess") if own is None else own.model_dump()
    parameters = {"name": chosen} if isinstance(chosen, str) else dict(chosen)
    component = registry.get("postprocess", str(parameters.pop("name", "")))
    return component.name, component.build(**parameters)


def postprocessed(postprocess: Postprocess, masks: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A film's masks, bool `(H, W)` by structure, after a post-processing.

    Raises:
        ContractError: it fails, or returns others than those structures, or another shape or type.
    """
    try:
        made = dict(postprocess({name: mask.copy() for name, mask in masks.items()}))
    except CxrkitError:
        raise
    except Exception as error:
        raise ContractError(
            f"{type(postprocess).__name__} fails: {reason(error)}.", "Choose another --postprocess, or fix this one."
        ) from error
    whole = {name: np.asarray(made[name]) for name in masks if name in made}
    if len(whole) < len(masks) or len(made) > len(masks):
        raise ContractError(
            f"{type(postprocess).__name__}: expected masks of {', '.join(masks)}, got {', '.join(made) or 'none'}.",
            "Return a mask of each structure.",
        )
    for name, mask in masks.items():
        if whole[name].dtype != np.bool_ or whole[name].shape != mask.shape:
            raise ContractError(
                f"{type(postprocess).__name__}: expected a mask of {name} of bools {mask.shape}, "
                f"got {whole[name].dtype} {whole[name].shape}.",
                "Return arrays of bools of the shape that was given.",
            )
    return whole
