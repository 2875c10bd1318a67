"""From the flags of `cxrkit ablate` to a plan, and which of them may be given when an ablation is continued."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxrkit.errors import ConfigError, located, shown

if TYPE_CHECKING:
    import typer

    from cxrkit.ablation.plan import Plan


@dataclass(frozen=True)
class Request:
    """How `cxrkit ablate` is to work.

    Attributes:
        folder: of the ablation or search.
        launcher, launching: the launcher and its settings.
        quiet, as_json: as the flags say.
    """

    folder: Path
    launcher: str
    launching: Mapping[str, Any]
    quiet: bool
    as_json: bool


def parse_levels(text: str, flag: str) -> list[Any]:
    """`unet,attn-unet` or `0,0.2` as values; commas within brackets don't separate.

    Raises:
        ConfigError: nothing is named, or it can't be read.
    """
    from cxrkit.yaml_text import read_value

    try:
        values = read_value(f"[{text}]")
    except ValueError as error:
        raise ConfigError(f"{flag} {shown(text)} can't be read: {error}.", "Separate values by commas.") from error
    if not isinstance(values, list) or not values or "" in values:
        raise ConfigError(f"{flag} {shown(text)} holds no values.", "Separate values by commas.")
    return values


def parse_seeds_flag(text: str) -> tuple[int, ...]:
    """`--seeds 3` or `--seeds 0,4,7` as seeds.

    Raises:
        ConfigError: it is neither.
    """
    from cxrkit.ablation.plan import parse_seeds

    values = parse_levels(text, "--seeds")
    return parse_seeds(values[0] if len(values) == 1 else values)


def given_flags(context: typer.Context) -> dict[str, str]:
    """The parameters that the command line sets, by name, with the flag that a user knows each by."""
    given: dict[str, str] = {}
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name) if parameter.name else None
        # By its name: newer versions of Typer have a click, and so a ParameterSource, of their own.
        if parameter.name and source is not None and source.name in ("COMMANDLINE", "ENVIRONMENT"):
            flag = parameter.opts[0]
            given[parameter.name] = flag if flag.startswith("-") else "a plan's file"
    return given


def check_resuming(given: Mapping[str, str], allowed: Collection[str], settings: Collection[str]) -> None:
    """Refuse flags that `--resume` would ignore.

    Args:
        given: as `given_flags` returns them.
        allowed: the parameters that may be given.
        settings: what `--set` sets, without the launcher's own.

    Raises:
        ConfigError: other flags are given; names them.
    """
    refused = [flag for name, flag in given.items() if name not in allowed]
    refused += [f"--set {key}" for key in settings]
    if refused:
        # Only a search's number of trials can grow, and only an ablation's seeds.
        more, what = (
            ("--search may add trials", "search") if "search" in allowed else ("--seeds may add seeds", "ablation")
        )
        raise ConfigError(
            f"--resume follows the plan in the folder, which {', '.join(refused)} can't change.",
            f"Leave these flags out ({more}), or start another {what}: --out.",
        )


def launcher_settings(assignments: Sequence[str], workers: int | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """`--set` and `--workers`, separated into the launcher's settings and the runs'."""
    from cxrkit.overrides import parse_set

    everything = parse_set(assignments)
    start = "launcher."
    launching = {key.removeprefix(start): value for key, value in everything.items() if key.startswith(start)}
    if workers is not None:
        launching["workers"] = workers
    return launching, {key: value for key, value in everything.items() if not key.startswith(start)}


def plan_from_flags(
    file: Path | None,
    config: Path | None,
    listed: Mapping[str, str],
    vary: Sequence[str],
    exclude: Sequence[str],
    seeds: str | None,
    over: Mapping[str, Any],
) -> Plan:
    """A plan's file, overridden by flags.

    Args:
        file: the plan, if any.
        config: `--config`.
        listed: flags that take several values, by their short name.
        vary, exclude, seeds: these flags.
        over: what all runs share.

    Raises:
        ConfigError: see `cxrkit.ablation.plan.make_plan`.
    """
    from cxrkit.ablation.plan import make_plan, read_content, read_shared
    from cxrkit.overrides import merge

    content: dict[str, Any] = read_content(file) if file is not None else {"name": "ablation"}
    if config is not None:
        content.pop("config", None)
        # As for `cxrkit train --config`, paths in it are relative to the working directory.
        content["base"] = merge(read_shared(config, beside=Path.cwd()), content.get("base") or {})
    fixed = dict(over)
    content["factors"] = dict(content.get("factors") or {})
    for key in over:
        _take_out(content["factors"], key, whole=True)
    for key, flag, text in _factors(listed, vary):
        levels = parse_levels(text, flag)
        several = len(levels) > 1 or flag.startswith("--vary")
        _take_out(content["factors"], key, whole=not several)
        if several:
            content["factors"][key] = levels
        else:
            fixed[key] = levels[0]
    content["exclude"] = [*(content.get("exclude") or []), *map(_rule, exclude)]
    if seeds is not None:
        content["seeds"] = parse_seeds_flag(seeds)
    with nullcontext() if file is None else located(file):
        return make_plan(content, over=fixed)


def _factors(listed: Mapping[str, str], vary: Sequence[str]) -> list[tuple[str, str, str]]:
    """The setting, flag and values of every flag that was given."""
    given = [(key, f"--{key.replace('_', '-')}", text) for key, text in listed.items()]
    for assignment in vary:
        key, equals, text = assignment.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"--vary {shown(assignment)} is not KEY=A,B.", "Write --vary model.depth=3,4.")
        given.append((key.strip(), f"--vary {key.strip()}", text))
    return given


def _take_out(factors: dict[str, Any], key: str, *, whole: bool) -> None:
    """Remove the file's factor of a setting that a flag sets, by either name; a factor of the flag's own name keeps its
    place among the others unless `whole`.
    """
    from cxrkit.settings import full_name

    for name in [name for name in factors if (whole or name != key) and full_name(str(name)) == full_name(key)]:
        del factors[name]


def _rule(text: str) -> dict[str, Any]:
    rule: dict[str, Any] = {}
    for part in re.split(r",(?=[^,=]*=)", text):  # a level's name may have commas: loss=Dice, l1,mixup=0
        key, equals, value = part.partition("=")
        if not equals or not key.strip() or not value.strip():
            raise ConfigError(f"--exclude {shown(text)} is not KEY=LEVEL.", "Write --exclude model=unet,loss=dice.")
        rule[key.strip()] = value.strip()
    return rule


def new_folder(name: str) -> Path:
    """A folder below `ablations/` that doesn't exist yet."""
    folder, number = Path("ablations") / name, 1
    while folder.exists():
        number += 1
        folder = Path("ablations") / f"{name}-{number}"
    return folder
