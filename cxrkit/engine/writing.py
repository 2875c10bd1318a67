"""The files that writers make of films."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from cxrkit.errors import ContractError, CxrkitError, DeclinedError, PluginError
from cxrkit.registry import Registry
from cxrkit.segmentation import Segmentation
from cxrkit.services import Writer

#: What writers may call their files: the names are joined to a folder, and what they name is later removed.
FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,149}")


def build_writers(chosen: Iterable[str | Mapping[str, Any] | Writer], registry: Registry) -> list[Writer]:
    """Writers by name, or as mappings of a `name` and parameters; one that is named twice is built once.

    Raises:
        ConfigError, PluginError: there is no such writer, or it doesn't accept a parameter.
    """
    writers: list[Writer] = []
    seen: list[Mapping[str, Any] | Writer] = []
    for item in chosen:
        named = {"name": item} if isinstance(item, str) else item
        if named in seen:
            continue
        seen.append(named)
        if isinstance(named, Mapping):
            parameters = dict(named)
            named = registry.get("writer", str(parameters.pop("name", ""))).build(**parameters)
        writers.append(named)
    return writers


def make_files(writers: Iterable[Writer], result: Segmentation) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """The files of a film, name to content, and why writers declined it.

    Raises:
        CxrkitError: a writer can't write this film. ContractError: it broke its contract. PluginError: it failed.
    """
    files: dict[str, bytes] = {}
    declined: list[str] = []
    source = result.film.source
    for writer in writers:
        label = ("" if source is None else f"{source.path}: ") + type(writer).__name__
        try:
            made = [*writer.files(result)]
        except DeclinedError as reason:
            declined.append(f"{reason.what} {reason.remedy}".rstrip())
            continue
        except CxrkitError:
            raise
        except Exception as error:  # one film's failure isn't that of the others
            raise PluginError(
                f"{label} failed: {type(error).__name__}: {error}", "Report it to its author, or leave the writer out."
            ) from error
        for item in made:
            match item:
                case (str() as name, bytes() as content) if FILE_NAME.fullmatch(name) and name not in files:
                    files[name] = content
                case _:
                    raise ContractError(
                        f"{label}: expected pairs of a plain file name that no other file has and bytes; got "
                        f"{str(item)[:80]!r}.",
                        "Fix the writer; `cxrkit plugins check` says more.",
                    )
    return files, tuple(declined)
