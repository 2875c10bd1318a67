"""The hooks that a plugin may implement, one for each kind of component in `cxrkit.kinds`: `register_models`, ...

A plugin is a module or object under the entry-point group `cxrkit` with any of these functions, marked with
`cxrkit.hookimpl`. Each receives `register`, which hands over a component.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import pluggy

from cxrkit.kinds import KINDS, Kind

GROUP = "cxrkit"
hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


@dataclass(frozen=True)
class Shorthand:
    """A flag of its own for an augmentation, named after it: `--mixup 0.2`, and `mixup: 0.2` in an ablation's plan.

    Attributes:
        parameter: the number that the flag sets; 0 leaves the augmentation out.
        help: what the flag's help says.
        metavar: what stands for the number in the help.
    """

    parameter: str
    help: str
    metavar: str = "NUMBER"


class Register(Protocol):
    """How a hook hands over a component."""

    def __call__(
        self,
        name: str,
        factory: str | Callable[..., Any],
        *,
        summary: str,
        default: bool = False,
        shorthand: Shorthand | None = None,
    ) -> None:
        """Register a component.

        Args:
            name: kebab-case.
            factory: a class or another callable, or `"package.module:Class"`, which is imported on first use.
            summary: one line for `cxrkit list`.
            default: use it where the settings name no component of its kind. The default dataset needs no folder, for
                it is what runs where no data is named.
            shorthand: of an augmentation: a flag of its own.
        """


def _hook(kind: Kind) -> Any:
    def hook(register: Register) -> None:
        pass

    hook.__name__ = kind.hook
    hook.__doc__ = f"Register subclasses of `cxrkit.{kind.interface}`: `{kind.factory}`."
    return hookspec(hook)


#: The hook specifications, as pluggy wants them: a class with a method for each kind.
Hooks = type("Hooks", (), {kind.hook: _hook(kind) for kind in KINDS.values()})
