"""What a component's parameters are, in words: for `cxrkit show`."""

from __future__ import annotations

import types
import typing
from dataclasses import dataclass
from typing import Any, Literal

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from cxrkit.registry import Component


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter as a user sees it; `default` is as YAML has it, or "required"."""

    name: str
    type: str
    default: str
    range: str
    description: str


def parameters_of(component: Component) -> list[Parameter]:
    """The user's parameters of a component, in the order of its signature.

    Raises:
        PluginError: the component can't be imported, or its signature can't be read.
    """
    return [
        Parameter(
            name=name,
            type=type_text(field.annotation),
            default="required" if field.default is PydanticUndefined else value_text(field.default),
            range=range_text(field),
            description=field.description or "",
        )
        for name, field in component.parameters.model_fields.items()
    ]


def type_text(annotation: Any) -> str:
    """A type in words: `int`, `number`, `yes/no`, `one of labels, losses`, `list of int`, `int or null`."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return type_text(arguments[0])
    if origin is Literal:
        return "one of " + ", ".join(value_text(choice) for choice in arguments)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(type_text(argument) for argument in arguments)
    if origin in (list, tuple, set, frozenset) and arguments:
        inner = [type_text(argument) for argument in arguments if argument is not Ellipsis]
        return "list of " + " and ".join(dict.fromkeys(inner))
    names = {int: "int", float: "number", bool: "true/false", str: "text", type(None): "null"}
    return names.get(annotation) or getattr(annotation, "__name__", None) or str(annotation)


def value_text(value: Any) -> str:
    """A value as one writes it behind `--set key=`."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return "[" + ", ".join(value_text(item) for item in value) + "]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def range_text(field: FieldInfo) -> str:
    """The bounds of a parameter: `1 to 8`, `above 0`, `at least 1, a multiple of 2`."""
    bounds = {
        name: getattr(item, name)
        for item in field.metadata
        for name in ("ge", "gt", "le", "lt", "multiple_of", "min_length", "max_length")
        if getattr(item, name, None) is not None
    }
    both = {"ge", "le"} <= bounds.keys()
    parts = [f"{_bound(bounds.pop('ge'))} to {_bound(bounds.pop('le'))}"] if both else []
    words = {
        "ge": "at least {}",
        "gt": "above {}",
        "le": "at most {}",
        "lt": "below {}",
        "multiple_of": "a multiple of {}",
        "min_length": "at least {} long",
        "max_length": "at most {} long",
    }
    if bounds.get("min_length") == 1:
        del bounds["min_length"]
        parts.append("not empty")
    parts += [words[name].format(_bound(value)) for name, value in bounds.items()]
    return ", ".join(parts)


def _bound(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else value_text(value)
