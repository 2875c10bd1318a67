"""Names to components, with the schema of each component's parameters."""

from __future__ import annotations

import functools
import importlib
import inspect
import re
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from cxrkit.entry_points import loading
from cxrkit.errors import ConfigError, CxrkitError, PluginError, available, nearest, reason, shown
from cxrkit.hookspecs import Shorthand
from cxrkit.kinds import KINDS

#: Names that a component's parameter can't have: the configuration uses them beside the parameters.
RESERVED = frozenset({"name", "weight", "root"})
_OF_DATASETS = frozenset({"alias", "missing"})


@dataclass(frozen=True)
class Component:
    """A named factory that a plugin registered.

    Attributes:
        kind: a key of `cxrkit.kinds.KINDS`.
        name: kebab-case, unique within its kind.
        factory: a callable, or `"package.module:attribute"`, imported on first use.
        summary: one line for listings.
        distribution: the installed package it comes from; `version` is that package's.
        default, shorthand: see `cxrkit.hookspecs.Register`.
    """

    kind: str
    name: str
    factory: str | Callable[..., Any]
    summary: str
    distribution: str
    version: str
    default: bool = False
    shorthand: Shorthand | None = None

    @cached_property
    def target(self) -> Callable[..., Any]:
        """The factory itself, imported if need be.

        Raises:
            PluginError: it can't be imported or is not of its kind.
        """
        found: Any = self.factory
        if isinstance(found, str):
            module, _, attribute = found.partition(":")
            with loading(f"{self.kind} '{self.name}'", self.distribution, self.version):
                found = getattr(importlib.import_module(module), attribute)
        if not callable(found):
            raise PluginError(
                f"The {self.kind} '{self.name}' of {self.distribution} {self.version} is registered as "
                f"{shown(self.factory)}, which is not callable.",
                f"Update {self.distribution}, or uninstall it.",
            )
        return typing.cast(Callable[..., Any], found)

    @cached_property
    def parameters(self) -> type[BaseModel]:
        """A pydantic model of the user's parameters: the factory's keyword-only ones.

        Raises:
            PluginError: a parameter has no annotation or a reserved name, or the signature can't be read.
        """
        try:
            return self._schema()
        except CxrkitError:
            raise
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise PluginError(
                f"The parameters of {self.kind} '{self.name}' ({self.distribution} {self.version}) can't be read: "
                f"{reason(error)}",
                f"Annotate them with types that can be imported, in {self.distribution}.",
            ) from error

    def _schema(self) -> type[BaseModel]:
        signature = inspect.signature(self.target)
        hints = typing.get_type_hints(_annotated(self.target), include_extras=True)
        fields: dict[str, Any] = {}
        for parameter in signature.parameters.values():
            if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
                continue
            reserved = RESERVED | (_OF_DATASETS if self.kind == "dataset" else frozenset())
            if parameter.name in reserved or parameter.name not in hints:
                fault = "a reserved name" if parameter.name in reserved else "no type annotation"
                raise PluginError(
                    f"The parameter '{parameter.name}' of {self.kind} '{self.name}' ({self.distribution}) has {fault}.",
                    f"Rename or annotate it in {self.distribution}.",
                )
            default = ... if parameter.default is inspect.Parameter.empty else parameter.default
            fields[parameter.name] = (hints[parameter.name], default)
        settings = ConfigDict(extra="forbid", arbitrary_types_allowed=True, protected_namespaces=())
        return create_model(f"{self.kind}_{self.name}", __config__=settings, **fields)

    def validate(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters with defaults filled in, each of its declared type.

        Raises:
            ConfigError: an unknown parameter or a value out of range; says what would be accepted.
        """
        try:
            checked = self.parameters.model_validate(dict(values))
        except ValidationError as error:
            raise ConfigError(*self._explain(error)) from error
        return {name: getattr(checked, name) for name in type(checked).model_fields}

    def build(self, *context: Any, **values: Any) -> Any:
        """Validate the parameters and build the component; `context` is what cxrkit passes to its kind.

        Raises:
            ConfigError: see `validate`. PluginError: the constructor failed, or returned something else.
        """
        parameters = self.validate(values)
        try:
            made = self.target(*context, **parameters)
        except CxrkitError:
            raise
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise PluginError(
                f"The {self.kind} '{self.name}' of {self.distribution} {self.version} can't be built with "
                f"{shown(parameters)}: {reason(error)}",
                f"See `cxrkit show {self.kind} {self.name}` for its parameters.",
            ) from error
        kind = KINDS[self.kind]
        if not isinstance(made, kind.load_interface()):
            raise PluginError(
                f"The {self.kind} '{self.name}' of {self.distribution} returned a {type(made).__name__}, "
                f"not a cxrkit.{kind.interface}.",
                f"Derive it from cxrkit.{kind.interface}; see `cxrkit plugins check {self.distribution}`.",
            )
        return made

    def _explain(self, error: ValidationError) -> tuple[str, str]:
        lines: list[str] = []
        fields = self.parameters.model_fields
        for fault in error.errors():
            key = str(fault["loc"][0]) if fault["loc"] else ""
            if fault["type"] == "extra_forbidden":
                known = ", ".join(fields) or "none"
                lines.append(f"no parameter '{key}'. {nearest(key, fields)}It has: {known}.")
            elif fault["type"] == "missing":
                lines.append(f"the parameter '{key}' must be given.")
            else:
                lines.append(
                    f"{key}={shown(fault['input'])} is not accepted: {fault['msg'][0].lower()}{fault['msg'][1:]}."
                )
        return (
            f"{self.kind} '{self.name}': " + " ".join(lines),
            f"`cxrkit show {self.kind} {self.name}` lists its parameters, their ranges and defaults.",
        )


def _annotated(target: Callable[..., Any]) -> Any:
    """The function with the annotations of a class, a partial, a function or a callable object."""
    if isinstance(target, functools.partial):
        return _annotated(target.func)
    if inspect.isclass(target):
        return target.__init__
    return target if inspect.isroutine(target) else type(target).__call__


@dataclass
class Registry:
    """All components that the loaded plugins registered.

    A name that two distributions claim is kept as a clash: using it is an error that names both, and every
    other name works.
    """

    _components: dict[tuple[str, str], list[Component]] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)

    def add(self, component: Component) -> None:
        """Add a component.

        Raises:
            PluginError: its kind is unknown, its name isn't kebab-case, it can't have a shorthand, or something of it
                has the wrong type.
        """
        _check_kind(component.kind)
        _check_entry(component)
        if component.shorthand is not None and component.kind != "augment":
            raise PluginError(
                f"{component.distribution} registers the {component.kind} '{component.name}' with a shorthand.",
                "Only augmentations have flags of their own.",
            )
        if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", component.name):
            raise PluginError(
                f"{component.distribution} registers the {component.kind} name {shown(component.name)}.",
                "Names are kebab-case: lower-case letters and digits, joined by single hyphens.",
            )
        self._components.setdefault((component.kind, component.name), []).append(component)

    def names(self, kind: str) -> list[str]:
        """The names of one kind, sorted.

        Raises:
            PluginError: the kind is unknown.
        """
        _check_kind(kind)
        return sorted(name for of_kind, name in self._components if of_kind == kind)

    def components(self, kind: str) -> list[Component]:
        """The components of one kind, sorted by name; clashing ones are next to each other."""
        return [component for name in self.names(kind) for component in self._components[kind, name]]

    def clashes(self) -> dict[tuple[str, str], list[str]]:
        """(kind, name) to the distributions that claim it, if there are several."""
        return {key: [c.distribution for c in found] for key, found in self._components.items() if len(found) > 1}

    def get(self, kind: str, name: str) -> Component:
        """The component of that name.

        Raises:
            PluginError: the kind or name is unknown (similar names and broken plugins are listed), or
                two distributions claim the name.
        """
        _check_kind(kind)
        found = self._components.get((kind, name), [])
        if len(found) > 1:
            claims = " and ".join(f"{c.distribution} {c.version}" for c in found)
            raise PluginError(
                f"The {kind} name '{name}' is claimed by {claims}.",
                f"Uninstall one of them, or switch one off: CXRKIT_DISABLE_PLUGINS={found[-1].distribution}.",
            )
        if not found:
            known = self.names(kind)
            remedy = f"{nearest(name, known)}{available(known)}"
            if self.broken:
                remedy += f" Plugins that failed to load (see `cxrkit plugins list`): {', '.join(sorted(self.broken))}."
            raise PluginError(f"There is no {kind} called {shown(name)}.", remedy)
        return found[0]

    def find(self, kind: str, text: str) -> tuple[Component, dict[str, Any]]:
        """The component that `NAME` or `NAME:VALUE` means, and the parameter that it sets: the component's first.

        So one writes `monai:AttentionUnet`, `smp:fpn`, `fcn:32s`.

        Raises:
            PluginError: see `get`. ConfigError: there is a value, but the component has no parameters.
        """
        name, colon, value = text.partition(":")
        component = self.get(kind, name)
        if not colon:
            return component, {}
        if not component.parameters.model_fields:
            raise ConfigError(f"{kind} '{name}' has no parameters.", f"Write {name} without a colon.")
        return component, {next(iter(component.parameters.model_fields)): value}

    def default(self, kind: str) -> str:
        """The name of the component that is used where none of its kind is named; the built-in one wins.

        Raises:
            PluginError: no installed plugin declares one.
        """
        return self.defaults(kind)[0]

    def defaults(self, kind: str) -> list[str]:
        """The names of the components that are used where none of a kind with several is named; those of one package.

        Raises:
            PluginError: no installed plugin declares one.
        """
        found = [
            component
            for of, components in self._components.items()
            if of[0] == kind
            for component in components
            if component.default
        ]
        if not found:
            raise PluginError(f"No installed plugin declares a default {kind}.", f"Name one; see: cxrkit list {kind}.")
        return [component.name for component in found if component.distribution == found[0].distribution]

    def shorthands(self) -> dict[str, Component]:
        """The augmentations that have a flag of their own, by the flag's name in code: `mixup` for `--mixup`."""
        found = [component for component in self.components("augment") if component.shorthand is not None]
        return {component.name.replace("-", "_"): component for component in found}


def _check_entry(component: Component) -> None:
    """Refuse what a plugin registers with values of wrong types, which would fail wherever they are used."""
    factory, shorthand = component.factory, component.shorthand
    texts = [component.name, component.summary, *(vars(shorthand).values() if isinstance(shorthand, Shorthand) else ())]
    if not all(isinstance(text, str) for text in texts):
        fault, expected = "a name, summary or shorthand that isn't text", "Write them as text."
    elif not (re.fullmatch(r"[\w.]+:\w+", factory) if isinstance(factory, str) else callable(factory)):
        fault, expected = f"the factory {shown(factory)}", 'Give a class, or "package.module:Class".'
    elif not isinstance(component.default, bool) or not isinstance(shorthand, Shorthand | None):
        fault, expected = "a wrong default or shorthand", "Give default=True or False, and a cxrkit.Shorthand."
    else:
        return
    raise PluginError(
        f"{component.distribution} registers the {component.kind} {shown(component.name)} with {fault}.", expected
    )


def _check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise PluginError(
            f"There is no kind of component called {shown(kind)}.", f"{nearest(kind, KINDS)}Kinds: {', '.join(KINDS)}."
        )
