"""Options and checks that the commands of this package share.

What belongs together is a dataclass, whose fields are the options with their defaults; `takes_options` puts them into
the signature of each command that has a parameter of that class.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from cxrkit.commands import ANY_WEIGHTS, ConfigError, DeviceFlag, NoQuality, option

RESULTS, NETWORK, RUNNING = "Results", "Network", "Running"
LOOPBACK = ("127.0.0.1", "::1", "localhost")
MIB = 1 << 20

Port = Annotated[int, typer.Option(min=0, max=65535, help="The port to listen on.", rich_help_panel=NETWORK)]
Certificate = Annotated[Path | None, option("--tls-cert", "Our certificate, PEM.", NETWORK, metavar="FILE")]
Key = Annotated[Path | None, option("--tls-key", "Its key, PEM.", NETWORK, metavar="FILE")]
Timeout = Annotated[
    float, typer.Option(metavar="SECONDS", min=1, help="How long one film may take.", rich_help_panel=RUNNING)
]
MaxSize = Annotated[
    int, typer.Option(metavar="MIB", min=1, max=1024, help="How large a film may be.", rich_help_panel=RUNNING)
]


@dataclass(frozen=True, kw_only=True)
class Segmenting:
    """What segments films, as in `cxrkit predict`."""

    weights: Annotated[
        str | None,
        option("--weights", ANY_WEIGHTS, RESULTS, metavar="RUN|FILE|NAME", default="those that come with cxrkit"),
    ] = None
    runtime: Annotated[
        str, option("--runtime", "What computes an exported network.", RESULTS, metavar="auto|NAME", default="auto")
    ] = "auto"
    no_quality: NoQuality = False
    device: DeviceFlag = "auto"

    @property
    def loading(self) -> dict[str, Any]:
        """The arguments of `cxrkit.load` beside the weights."""
        return {"runtime": self.runtime, "quality": not self.no_quality, "device": self.device}


def takes_options(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose parameters that are dataclasses of options stand for all of their options."""
    hints = get_type_hints(command, include_extras=True)
    parameters: list[inspect.Parameter] = []
    groups: dict[str, type[Any]] = {}
    for name, parameter in inspect.signature(command).parameters.items():
        if is_dataclass(hints[name]):
            groups[name] = hints[name]
            types = get_type_hints(hints[name], include_extras=True)
            options = {one.name: (types[one.name], one.default) for one in fields(hints[name])}
        else:
            options = {name: (hints[name], parameter.default)}
        parameters += [
            inspect.Parameter(one, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
            for one, (annotation, default) in options.items()
        ]

    def expanded(**given: Any) -> None:
        made = {
            name: group(**{one.name: given.pop(one.name) for one in fields(group)}) for name, group in groups.items()
        }
        command(**given, **made)

    expanded.__name__, expanded.__doc__ = command.__name__, command.__doc__
    expanded.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    expanded.__annotations__ = {one.name: one.annotation for one in parameters}
    return expanded


@contextmanager
def extra() -> Iterator[None]:
    """Say which extra to install where an import fails."""
    try:
        yield
    except ImportError as error:
        raise ConfigError(f"{error.name} isn't installed.", "Run: pip install 'cxrkit[clinic]'") from error
