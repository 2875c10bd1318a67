"""What the shell offers at Tab: names of components, structures, settings and runs. Nothing here imports torch."""

from __future__ import annotations

import ast
import re
import typing
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import typer
from pydantic import BaseModel

Completer = Callable[[typer.Context, str], list[str]]

_STRUCTURES = ("left_lung", "right_lung", "heart", "left_clavicle", "right_clavicle")


def components(kind: str) -> Completer:
    """Names of a kind's components; the last one of a list with commas or of a sum is completed."""

    def complete(ctx: typer.Context, incomplete: str) -> list[str]:
        return _continued(incomplete, _registry().names(kind))

    return complete


def component(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of the kind that the command line has before."""
    from cxrkit.kinds import KINDS

    given = str(ctx.params.get("kind") or "")
    found = [kind.name for kind in KINDS.values() if given.lower() in (kind.name, kind.plural)]
    return _continued(incomplete, _registry().names(found[0])) if found else []


def kinds(ctx: typer.Context, incomplete: str) -> list[str]:
    """The kinds of components."""
    from cxrkit.kinds import KINDS

    return _continued(incomplete, KINDS)


def packages(ctx: typer.Context, incomplete: str) -> list[str]:
    """Installed packages with plugins."""
    from importlib.metadata import entry_points

    from cxrkit.entry_points import COMPONENTS, origin

    return _continued(incomplete, sorted({origin(point)[0] for point in entry_points(group=COMPONENTS)}))


def presets(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of presets."""
    from cxrkit.presets import preset_names

    return _continued(incomplete, preset_names())


def structures(ctx: typer.Context, incomplete: str) -> list[str]:
    """The structures in the folders that `--data` names, or else those that films usually have."""
    named = ctx.params.get("data") or ctx.params.get("place") or "."
    folders = [Path(str(place)) / "masks" for place in ([named] if isinstance(named, str) else named)]
    found = {path.name for folder in folders if folder.is_dir() for path in folder.iterdir() if path.is_dir()}
    return _continued(incomplete, sorted(found) or _STRUCTURES)


def settings(ctx: typer.Context, incomplete: str) -> list[str]:
    """Settings as `--set` and `--vary` take them, with those of the components that the command line chooses."""
    from cxrkit.config import RunConfig

    return [f"{name}=" for name in [*_fields(RunConfig), *_parameters(ctx)] if name.startswith(incomplete)]


def data(ctx: typer.Context, incomplete: str) -> list[str]:
    """Datasets and places."""
    return [*_continued(incomplete, _registry().names("dataset")), *_paths(incomplete)]


def runs(ctx: typer.Context, incomplete: str) -> list[str]:
    """Folders of runs, here and in `runs/`; where there is none, any path."""
    places = [Path(), Path("runs"), Path(incomplete), Path(incomplete).parent]
    found = sorted({str(file.parent) for place in places for file in place.glob("*/config.yaml")})
    return [name for name in found if name.startswith(incomplete)] or _paths(incomplete)


def weights(ctx: typer.Context, incomplete: str) -> list[str]:
    """Weights that packages provide, and runs."""
    return [*_continued(incomplete, _registry().names("weights")), *runs(ctx, incomplete)]


def _registry() -> Any:
    from cxrkit.plugins import registry

    return registry()


def _continued(incomplete: str, names: Iterable[str]) -> list[str]:
    """The names that continue what stands behind the last comma, plus sign or asterisk."""
    before, begun = re.fullmatch(r"(.*[,+*] *)?(.*)", incomplete, re.DOTALL).groups(default="")  # type: ignore[union-attr]
    return [before + name for name in names if name.startswith(begun)]


def _paths(incomplete: str) -> list[str]:
    folder, begun = Path(incomplete).parent, re.split(r"[/\\]", incomplete)[-1]
    folder = Path(incomplete) if incomplete.endswith("/") else folder
    try:
        found = sorted(path for path in folder.iterdir() if path.name.startswith(begun))
    except OSError:
        return []
    return [f"{path}/" if path.is_dir() else str(path) for path in found if begun or not path.name.startswith(".")]


def _fields(part: type[BaseModel], before: str = "") -> Iterator[str]:
    """The settings of a part of the configuration, with dots between the steps."""
    for name, field in part.model_fields.items():
        yield f"{before}{name}"
        types = [field.annotation, *typing.get_args(field.annotation)]
        types += [inner for one in types[1:] for inner in typing.get_args(one)]  # Annotated members of a union
        if typing.get_origin(field.annotation) is not list:
            for part_of_it in [one for one in types if isinstance(one, type) and issubclass(one, BaseModel)]:
                yield from (one for one in _fields(part_of_it, f"{before}{name}.") if not one.endswith(".name"))


def _parameters(ctx: typer.Context) -> Iterator[str]:
    """The settings of the chosen components, from their source: importing it could take seconds."""
    from cxrkit.kinds import SECTIONS

    for section, kind in SECTIONS.items():
        given = ctx.params.get(section)
        written = given if isinstance(given, list | tuple) else re.findall(r"[a-z][\w-]*", str(given or ""))
        declared = [one.name for one in _registry().components(kind.name) if one.default]
        for name in written or ([] if kind.name in ("augment", "logger") else declared[:1]):
            factory = next((one.factory for one in _registry().components(kind.name) if one.name == name), None)
            for parameter in _keywords(factory) if isinstance(factory, str) else ():
                yield f"{section}.{name}.{parameter}" if kind.many else f"{section}.{parameter}"


def _keywords(factory: str) -> list[str]:
    """The keyword-only parameters of a class or function, as its source has them."""
    from cxrkit.entry_points import source_of

    module, _, name = factory.partition(":")
    try:
        tree = ast.parse(source_of(module).read_bytes())
    except (OSError, SyntaxError, ValueError, ImportError):
        return []
    found = [node for node in tree.body if getattr(node, "name", "") == name]
    inner = [one for node in found if isinstance(node, ast.ClassDef) for one in node.body]
    functions = [one for one in (*found, *inner) if isinstance(one, ast.FunctionDef)]
    called = [one for one in functions if one.name in (name, "__init__")]
    return [argument.arg for argument in called[0].args.kwonlyargs] if called else []


#: By the flags that they complete.
COMPLETERS: dict[str, Completer] = {
    **{f"--{kind}": components(kind) for kind in ("model", "loss", "augment", "logger", "launcher")},
    "--write": components("writer"),
    "--data": data,
    "--structures": structures,
    "--preset": presets,
    "--set": settings,
    "--vary": settings,
    "--range": settings,
    "--weights": weights,
    "--resume": runs,
}
