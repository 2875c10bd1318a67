"""Markdown from what Python knows of itself: docstrings, types, ranges, defaults, signatures, tables.

Nothing here depends on the width of a terminal or on a library's own wording, so that the pages are the same
wherever they are made.
"""

from __future__ import annotations

import inspect
import json
import re
import types
import typing
from collections.abc import Iterable, Sequence
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, ForwardRef, Literal

from pydantic import BaseModel

_SECTIONS = ("Args", "Attributes", "Returns", "Yields", "Raises")


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; line breaks and pipes in cells are taken care of."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(_cell(value) for value in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def code(text: str) -> str:
    """Text as code; nothing for nothing."""
    return f"`{text}`" if text else ""


def literal(text: str) -> str:
    """Text that isn't Markdown, such as an option's help, so that Markdown shows it as it is."""
    return re.sub(r"([*\\])", r"\\\1", text).replace("<", "&lt;")


def type_name(annotation: Any) -> str:
    """A type in words: `int`, `text`, `a or b`, `list of int`, `path or null`."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return type_name(arguments[0])
    if origin is Literal:
        return _alternatives(code(str(value)) for value in arguments)
    if origin in (typing.Union, types.UnionType):
        return _alternatives(type_name(argument) for argument in arguments)
    if origin is not None and arguments:
        return f"{origin.__name__} of {type_name(arguments[0])}"
    if inspect.isclass(annotation) and issubclass(annotation, Enum):
        return _alternatives(code(str(member.value)) for member in annotation)
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return "settings"
    return {type(None): "null", str: "text", Path: "path"}.get(annotation) or getattr(
        annotation, "__name__", str(annotation)
    )


def _alternatives(names: Iterable[str]) -> str:
    unique = list(dict.fromkeys(names))
    return " or ".join([", ".join(unique[:-1]), unique[-1]]) if len(unique) > 1 else unique[0]


def value_text(value: Any) -> str:
    """A default as YAML would have it, as code."""
    if isinstance(value, Enum):
        value = value.value
    return code(value if isinstance(value, str) and value else json.dumps(value, default=str, ensure_ascii=False))


def signature(target: Any, *, skip_first: bool = False) -> str:
    """`(path: Path | str, *, device: str = 'auto') -> Segmenter`, a parameter a line where it gets long."""
    found = inspect.signature(target)
    parameters = list(found.parameters.values())[1 if skip_first else 0 :]
    parts: list[str] = []
    star = False
    for parameter in parameters:
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and not star:
            parts.append("*")
            star = True
        star = star or parameter.kind is inspect.Parameter.VAR_POSITIONAL
        parts.append(_parameter(parameter))
    result = _annotation(found.return_annotation)
    arrow = f" -> {result}" if result else ""
    flat = f"({', '.join(parts)}){arrow}"
    if len(flat) <= 90:
        return flat
    return "(\n" + "".join(f"    {part},\n" for part in parts) + f"){arrow}"


def constructor(target: type) -> str:
    """The arguments of a class of ours; nothing where it has no constructor of its own."""
    own = "__init__" in vars(target) or issubclass(target, tuple)
    return signature(target).removesuffix(" -> None") if own else ""


def _parameter(parameter: inspect.Parameter) -> str:
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
    annotation = _annotation(parameter.annotation)
    text = f"{stars}{parameter.name}" + (f": {annotation}" if annotation else "")
    if parameter.default is inspect.Parameter.empty:
        return text
    return f"{text} = {parameter.default!r}" if annotation else f"{text}={parameter.default!r}"


def _annotation(annotation: Any) -> str:
    if annotation is inspect.Parameter.empty:
        return ""
    if isinstance(annotation, ForwardRef):
        return annotation.__forward_arg__
    if isinstance(annotation, str):
        return annotation
    return inspect.formatannotation(annotation).replace("NoneType", "None")


def docstring(target: Any) -> str:
    """A docstring as Markdown: sections become lists, doctests become Python."""
    return markdown(inspect.getdoc(target) or "")


def markdown(text: str) -> str:
    """The text of a docstring as Markdown."""
    blocks: list[str] = []
    section = ""
    for block in re.split(r"\n\s*\n", inspect.cleandoc(text)):
        lines = block.split("\n")
        heading = lines[0].rstrip(":")
        if lines[0].endswith(":") and heading in _SECTIONS:
            section = heading
            blocks.append(f"**{heading}**")
            lines = lines[1:]
            blocks.append(_entries(lines) if heading != "Returns" else inspect.cleandoc("\n".join(lines)))
        elif section and lines[0].startswith("    "):
            blocks.append(_entries(lines) if section != "Returns" else inspect.cleandoc(block))
        elif lines[0].lstrip().startswith(">>>"):
            blocks.append(f"```python\n{inspect.cleandoc(block)}\n```")
        else:
            section = ""
            blocks.append(block)
    return "\n\n".join(block for block in blocks if block)


def _entries(lines: Sequence[str]) -> str:
    """`    name: text` and its continuations, as a list."""
    items: list[str] = []
    for line in lines:
        stripped = line.strip()
        found = re.fullmatch(r"    (\S[^:`]*?): (.*)", line)
        if found:
            names = ", ".join(code(name.strip()) for name in found[1].split(","))
            items.append(f"- {names}: {found[2]}")
        elif items and line.startswith("        "):
            items[-1] += f" {stripped}"
        else:
            items.append(f"- {stripped}")
    return "\n".join(items)
