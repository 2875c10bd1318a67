"""Write the reference pages and the architecture's picture from the code; with --check, report which are stale.

    python docs/generate.py [--check]

Exit code 1 with --check means that one differs from what the code says today.
"""

from __future__ import annotations

import argparse
import inspect
import sys
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import typer.main
import ways
from predictions_page import predictions_page
from pydantic import BaseModel
from rendering import code, constructor, docstring, literal, signature, table, type_name, value_text

import cxrkit
import cxrkit.commands
import cxrkit.testing
from cxrkit import errors
from cxrkit.cli.describe import range_text
from cxrkit.cli.flags import split_default
from cxrkit.config import ComponentConfig, RunConfig
from cxrkit.kinds import KINDS
from cxrkit.plugins import registry
from cxrkit.registry import Component

REFERENCE = Path(__file__).resolve().parent / "reference"
NOTE = "<!-- Written by docs/generate.py from the code: change the code, then run it again. -->"
#: Components of other distributions may be installed here; the pages are about cxrkit's own.
OWN = "cxrkit"


def main(arguments: list[str]) -> int:
    """Write or check every page; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; report what is stale")
    given = parser.parse_args(arguments)
    pages = make_pages()
    old = stale(pages, REFERENCE)
    picture = ways.draw()
    redraw = not ways.PICTURE.is_file() or ways.PICTURE.read_text(encoding="utf-8") != picture
    if given.check:
        for name in [f"reference/{name}" for name in old] + [f"images/{ways.PICTURE.name}"] * redraw:
            print(f"stale: docs/{name} (run: python docs/generate.py)")
        return 1 if old or redraw else 0
    if redraw:
        ways.PICTURE.write_text(picture, encoding="utf-8")
        print(f"written: docs/images/{ways.PICTURE.name}")
    REFERENCE.mkdir(exist_ok=True)
    for name in old:
        if name in pages:
            (REFERENCE / name).write_text(pages[name], encoding="utf-8")
            print(f"written: docs/reference/{name}")
        else:
            (REFERENCE / name).unlink()
            print(f"removed: docs/reference/{name}")
    return 0


def make_pages() -> dict[str, str]:
    """File name to text, of every page."""
    makers: dict[str, Callable[[], Iterator[str]]] = {
        "cli.md": cli_page,
        "components.md": components_page,
        "settings.md": settings_page,
        "python.md": python_page,
        "predictions.md": predictions_page,
    }
    return {name: "\n\n".join([NOTE, *filter(None, make())]) + "\n" for name, make in makers.items()}


def stale(pages: dict[str, str], folder: Path) -> list[str]:
    """The pages that are missing, differ, or shouldn't be there."""
    there = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.md")}
    return sorted(name for name in pages.keys() | there.keys() if pages.get(name) != there.get(name))


# --- command line ----------------------------------------------------------------------------------------


def cli_page() -> Iterator[str]:
    """Every command with its arguments and options, and the exit codes."""
    from cxrkit.cli.app import app
    from cxrkit.cli.verbs import built_in_verbs, other_verbs

    root: Any = typer.main.get_command(app)
    # Those of other packages that happen to be installed are left out.
    own = {verb.name: verb for verb in other_verbs()[0] if verb.distribution == OWN}
    root.commands = {name: verb.load() for name, verb in (built_in_verbs() | own).items()}
    yield "# Command line"
    yield "`cxrkit COMMAND --help` says the same in the terminal."
    yield from _command(root, "cxrkit")
    yield "## Exit codes"
    yield "What went wrong, for scripts. The text on stderr names the file or option, and says what to do."
    yield table(["code", "meaning"], exit_codes())


def _command(command: Any, path: str) -> Iterator[str]:
    """A command's section, and those of the commands below it; Typer may bring its own click, so no type is named."""
    arguments = [p for p in command.params if p.param_type_name == "argument" and not getattr(p, "hidden", False)]
    hints = typing.get_type_hints(command.callback, include_extras=True) if command.callback else {}
    options = [
        p
        for p in command.params
        # Those without a parameter of ours are Typer's own, for the shell's completion.
        if p.param_type_name == "option" and not p.hidden and p.name in hints
    ]
    inner = {name: c for name, c in getattr(command, "commands", {}).items() if not c.hidden}
    usage = [path, *(["[OPTIONS]"] if options else []), *(_metavar(p) for p in arguments), *(["COMMAND"] * bool(inner))]
    yield f"## {path}"
    yield _help(command.help or "")
    yield f"```text\n{' '.join(usage)}\n```"
    if inner:
        rows = [(f"[{path} {name}](#{path.replace(' ', '-')}-{name})", _first(c.help)) for name, c in inner.items()]
        yield table(["command", "what it does"], rows)
    if arguments:
        yield table(["argument", "type", "default", "meaning"], [_argument(p, hints) for p in arguments])
    panels = list(dict.fromkeys(p.rich_help_panel for p in options))
    for panel in panels:
        yield f"**{panel}**" if panel else ""
        rows = [_option(p, hints) for p in options if p.rich_help_panel == panel]
        yield table(["option", "value", "default", "meaning"], rows)
    for name, found in inner.items():
        yield from _command(found, f"{path} {name}")


def _help(text: str) -> str:
    """A command's help, with its example lines as such."""
    return "\n\n".join(
        f"```bash\n{block}\n```" if block.startswith("cxrkit ") else literal(block)
        for block in inspect.cleandoc(text).split("\n\n")
    )


def _metavar(parameter: Any) -> str:
    name: str = parameter.metavar or parameter.name.upper()
    return name if parameter.param_type_name == "option" or parameter.required else f"[{name}]"


def _type(parameter: Any, hints: dict[str, Any]) -> str:
    return type_name(_without_none(hints[parameter.name]))


def _without_none(annotation: Any) -> Any:
    """What a user can give: `int` of `Annotated[int | None, …]`."""
    if typing.get_origin(annotation) is typing.Annotated:
        annotation = typing.get_args(annotation)[0]
    given = [part for part in typing.get_args(annotation) if part is not type(None)]
    return given[0] if len(given) == 1 and type(None) in typing.get_args(annotation) else annotation


def _argument(parameter: Any, hints: dict[str, Any]) -> tuple[str, str, str, str]:
    default, meaning = _default_and_meaning(parameter)
    return code(_metavar(parameter)), _type(parameter, hints), default, meaning


def _option(parameter: Any, hints: dict[str, Any]) -> tuple[str, str, str, str]:
    names = ", ".join(code(name) for name in [*parameter.opts, *parameter.secondary_opts])
    if parameter.is_flag:
        value = ""
    elif parameter.metavar:
        value = code(parameter.metavar)
    else:
        value = _type(parameter, hints)
    return names, value, *_default_and_meaning(parameter)


def _default_and_meaning(parameter: Any) -> tuple[str, str]:
    """What holds where a parameter isn't given, wherever the command line keeps it, and its help."""
    meaning, words = split_default(parameter.help or "")
    # One word is a value to type; several describe what happens.
    default = literal(words) if " " in words else code(words)
    if parameter.required:
        default = "must be given"
    elif parameter.show_default and parameter.default not in (None, False, (), []):
        default = value_text(str(parameter.default) if isinstance(parameter.default, Path) else parameter.default)
    return default, literal(meaning)


def _first(text: str | None) -> str:
    return (text or "").strip().split("\n")[0]


def exit_codes() -> list[tuple[str, str]]:
    """Code and meaning, from the error classes' docstrings; the general ones of `cxrkit.errors` come first."""
    rows = {0: "All went well.", 1: "A defect of cxrkit or of a plugin; `--debug` shows where."}
    general = [value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, Exception)]
    others = sorted(_subclasses(errors.CxrkitError) - set(general), key=lambda found: found.__name__)
    for found in [*general, *(found for found in others if found.__module__.startswith("cxrkit."))]:
        if found.exit_code not in rows:
            rows[found.exit_code] = f"{_first(found.__doc__)} (`{found.__name__}`)"
    return [(code(str(number)), text) for number, text in sorted(rows.items())]


def _subclasses(base: type[errors.CxrkitError]) -> set[type[errors.CxrkitError]]:
    import cxrkit.comparisons
    import cxrkit.inference  # noqa: F401  whoever raises must be there

    direct = set(base.__subclasses__())
    return direct.union(*map(_subclasses, direct))


# --- components ------------------------------------------------------------------------------------------


def components_page() -> Iterator[str]:
    """Every built-in component with its parameters."""
    yield "# Components"
    yield (
        "The built-in components. `cxrkit list KIND` lists them with those of installed plugins, and "
        "`cxrkit show KIND NAME` shows one. A parameter is set by `--set model.depth=3`, `--set loss.epsilon=1`, "
        "`--set augment.mixup.delta=0.4` or `--set data.count=100`; see [Settings](settings.md)."
    )
    for kind in KINDS.values():
        yield f"## {kind.plural.capitalize()}"
        yield f"{kind.purpose.capitalize()}."
        for component in registry().components(kind.name):
            if component.distribution == OWN:
                yield from _component(component)


def _component(component: Component) -> Iterator[str]:
    yield f"### {component.name}"
    yield f"*{literal(component.summary)}*"
    yield docstring(component.target)
    fields = component.parameters.model_fields
    if not fields:
        yield "It has no parameters."
        return
    rows = [
        (
            code(name),
            type_name(field.annotation),
            range_text(field),
            "must be given" if field.is_required() else value_text(field.get_default(call_default_factory=True)),
            literal(field.description or ""),
        )
        for name, field in fields.items()
    ]
    yield table(["parameter", "type", "range", "default", "meaning"], rows)


# --- settings --------------------------------------------------------------------------------------------


def settings_page() -> Iterator[str]:
    """The tree of settings, with paths as `--set` has them."""
    yield "# Settings"
    yield (
        "Everything that decides what a run computes. A setting comes from these defaults, a YAML file (`--config`), "
        "a flag, or `--set PATH=VALUE`; later ones win. `cxrkit train --dry-run` prints them all. Without data "
        "named, a demonstration's settings stand in place of some defaults."
    )
    yield from _settings(RunConfig, RunConfig(), "")


def _settings(part: type[BaseModel], defaults: BaseModel | None, path: str) -> Iterator[str]:
    rows: list[tuple[str, ...]] = []
    inner: list[tuple[type[BaseModel], BaseModel | None, str]] = []
    for name, field in part.model_fields.items():
        default = getattr(defaults, name, None if field.is_required() else field.default)
        found = _model_of(field.annotation)
        if found is None or issubclass(found, ComponentConfig) or field.description:
            shown = "must be given" if defaults is None and field.is_required() else _default(default)
            meaning = literal(field.description or "") or _of_component(path, name)
            rows.append((code(f"{path}{name}"), _kind(field.annotation), range_text(field), shown, meaning))
        if found is not None:
            inner.append((found, default if isinstance(default, found) else None, f"{path}{name}."))
    if issubclass(part, ComponentConfig):
        rows.append((code(f"{path}PARAMETER"), "", "", "", "the [component's own](components.md)"))
    yield f"## {path.rstrip('.') or 'A run'}"
    yield docstring(part)
    yield table(["setting", "type", "range", "default", "meaning"], rows)
    for found, default, place in inner:
        yield from _settings(found, default, place)


def _of_component(path: str, name: str) -> str:
    """What to say of a component and of its name, whose fields need no description in code."""
    kind = {"data": "dataset"}.get(path.rstrip(".") or name, path.rstrip(".") or name)
    return f"one of `cxrkit list {kind}`" if name == "name" else f"see [below](#{name})"


def _model_of(annotation: Any) -> type[BaseModel] | None:
    """The settings class in an annotation, alone, optional, in a list, or both alone and in a list."""
    candidates = [annotation, *typing.get_args(annotation)]
    candidates += [inner for one in candidates[1:] for inner in typing.get_args(one)]
    return next((c for c in candidates if inspect.isclass(c) and issubclass(c, BaseModel)), None)


def _kind(annotation: Any) -> str:
    found = _model_of(annotation)
    if found is None or not issubclass(found, ComponentConfig):
        return type_name(annotation)
    return "list of components" if typing.get_origin(annotation) is list else "component"


def _default(value: Any) -> str:
    if isinstance(value, ComponentConfig):
        return code(value.name)
    if isinstance(value, list) and value and isinstance(value[0], ComponentConfig):
        return ", ".join(code(item.name) for item in value)
    return "see below" if isinstance(value, BaseModel) else value_text(value)


# --- Python ----------------------------------------------------------------------------------------------


#: Public names that are neither classes nor functions, and so have no docstring.
_ABOUT = {
    "cxrkit.hookimpl": "The marker for a plugin's hooks: `@cxrkit.hookimpl`. See [Write your own plugin]"
    "(../how-to/own-plugin.md).",
    "cxrkit.Reading": "A `TrainingReading` or a `ValidationReading`.",
    "cxrkit.commands.ANY_WEIGHTS": "The help text of an option `--weights`.",
    "cxrkit.commands.DeviceFlag": "The annotated type of a parameter `device`: the flag `--device`.",
    "cxrkit.commands.Json": "The annotated type of a parameter `as_json`: the flag `--json`.",
    "cxrkit.commands.NoQuality": "The annotated type of a parameter `no_quality`: the flag `--no-quality`.",
    "cxrkit.commands.Quiet": "The annotated type of a parameter `quiet`: the flag `--quiet`.",
}


def python_page() -> Iterator[str]:
    """The public names of cxrkit and cxrkit.testing."""
    yield "# Python"
    yield (
        "The public names. `import cxrkit` is quick: torch is imported when the first name that needs it is used. "
        "Errors are [`CxrkitError`](#cxrkitcxrkiterror)s, which say what is wrong and what to do."
    )
    for module in (cxrkit, cxrkit.commands, cxrkit.testing):
        yield f"## {module.__name__}"
        yield docstring(module)
        for name in sorted(module.__all__, key=str.lower):
            yield from _public(f"{module.__name__}.{name}", getattr(module, name))


def _public(name: str, target: Any) -> Iterator[str]:
    yield f"### {name}"
    if not inspect.isclass(target):
        if inspect.isroutine(target):
            yield f"```python\n{name}{signature(target)}\n```"
            yield docstring(target)
        else:
            yield _ABOUT[name]
        return
    is_settings = issubclass(target, BaseModel)
    if not is_settings:
        yield f"```python\nclass {name}{constructor(target)}\n```"
    yield docstring(target)
    if is_settings:
        yield "Its fields are the [settings](settings.md)."
        return
    for member, value in sorted(vars(target).items()):
        if member.startswith("_") and member != "__call__":
            continue
        inner = value.__func__ if isinstance(value, classmethod | staticmethod) else value
        if isinstance(inner, property):
            yield f"**`.{member}`**: {docstring(inner)}"
        elif inspect.isfunction(inner):
            shown = target.__name__.lower() if member == "__call__" else f".{member}"
            yield f"```python\n{shown}{signature(inner, skip_first=not isinstance(value, staticmethod))}\n```"
            yield docstring(inner)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
