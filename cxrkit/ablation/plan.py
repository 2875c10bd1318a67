"""What an ablation compares: factors and their levels, the arms they span, and the runs of each arm's seeds.

A plan is the content of `ablation.yaml`:

    name: table-1
    config: paper.yaml          # settings of every run from a file beside this one, ...
    base: {...}                 # ... and over them these; both as a run's YAML has them
    factors:
      mixup: [0, 0.2]           # a shorthand (model, loss, mixup, augment, train_size, ...) or a dotted setting
      train_size: [10, 20, all]
      normalisation:            # a factor with named levels, each of which sets several things
        momentum 0.99: {model.norm_momentum: 0.01}
        group: {model.norm: group}
    exclude:
      - {mixup: 0.2, train_size: all}
    seeds: 3                    # or a list; a seed is that of the split, the weights and all randomness

Every arm runs once with each seed. The seed alone decides the split and the first weights, so that arms are paired:
with one seed they are scored on the same films. Paths (`data: root:`, `split: file:`, `unlabelled: films:`) that are
relative are relative to the file that contains them.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxrkit.ablation.naming import file_name, label_among, label_of, level_text, plan_name, short_enough
from cxrkit.ablation.places import anchor_levels, anchor_settings
from cxrkit.ablation.sharing import chosen_lists, shared_parameters, with_shared
from cxrkit.config import RunConfig, anchored, demo_settings, make_config, resolve
from cxrkit.errors import ConfigError, located, nearest, shown
from cxrkit.files import home_path, write_text
from cxrkit.overrides import merge
from cxrkit.plugins import registry
from cxrkit.registry import Registry
from cxrkit.settings import apply_settings, full_name, is_short_name
from cxrkit.yaml_text import read_yaml, to_yaml

_MOST_SEEDS = 10_000
_KEYS = ("name", "config", "base", "factors", "exclude", "seeds")


@dataclass(frozen=True)
class Level:
    """One value of a factor.

    Attributes:
        label: what tables call it.
        settings: shorthands and dotted settings to values.
    """

    label: str
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Factor:
    """What is varied, and its levels in the order of the tables."""

    name: str
    levels: tuple[Level, ...]


@dataclass(frozen=True)
class Arm:
    """One combination of levels.

    Attributes:
        levels: the label of each factor's level, in the order of the factors.
    """

    levels: Mapping[str, str]

    @property
    def label(self) -> str:
        """What tables call it: `unet · dice · mixup 0.2`."""
        parts = [level_text(name, level, " ") for name, level in self.levels.items()]
        return " · ".join(parts) or "baseline"

    @property
    def slug(self) -> str:
        """The name of its folder, unique within its plan."""
        parts = [
            level_text(name.rpartition(".")[2].replace("_", "-"), level, "-") for name, level in self.levels.items()
        ]
        return short_enough("_".join(file_name(part) for part in parts) or "baseline")


@dataclass(frozen=True)
class PlannedRun:
    """One training: an arm with a seed.

    Attributes:
        arm: its arm.
        seed: its seed.
        folder: of its run directory, relative to the ablation's: `runs/<arm>/seed-<seed>`.
        config: the resolved configuration.
    """

    arm: Arm
    seed: int
    folder: str
    config: RunConfig

    @property
    def log(self) -> str:
        """Where its output goes, relative to the ablation's folder."""
        return f"logs/{self.arm.slug}_seed-{self.seed}.log"


@dataclass(frozen=True)
class Plan:
    """A whole ablation; the module's docstring explains its parts."""

    name: str
    base: Mapping[str, Any]
    factors: tuple[Factor, ...]
    exclude: tuple[Mapping[str, str], ...]
    seeds: tuple[int, ...]

    @property
    def is_demonstration(self) -> bool:
        """Whether the films are those of the dataset that is used where no data is named."""
        data = self.base.get("data")
        name = data.get("name") if isinstance(data, Mapping) else data
        chosen = any("data" in level.settings for factor in self.factors for level in factor.levels)
        return name in (None, registry().default("dataset")) and not chosen

    def arms(self) -> tuple[Arm, ...]:
        """All combinations of levels that aren't excluded, in the order of the factors.

        Raises:
            ConfigError: everything is excluded, or two arms would have the same folder.
        """
        names = [factor.name for factor in self.factors]
        labels = [[level.label for level in factor.levels] for factor in self.factors]
        arms = [Arm(dict(zip(names, chosen, strict=True))) for chosen in itertools.product(*labels)]
        kept = tuple(arm for arm in arms if not any(rule.items() <= arm.levels.items() for rule in self.exclude))
        if not kept:
            raise ConfigError("exclude: no arm is left.", "Remove a rule.")
        slugs = [arm.slug for arm in kept]
        if double := sorted({slug for slug in slugs if slugs.count(slug) > 1}):
            raise ConfigError(
                f"Two arms would have the same folder: {', '.join(double)}.",
                "Name the levels so that they differ in letters or digits.",
            )
        return kept

    def runs(self, registry: Registry) -> tuple[PlannedRun, ...]:
        """Every arm with every seed.

        Raises:
            ConfigError, PluginError: an arm's settings aren't accepted (it is named), or two arms are the same.
        """
        levels = {(f.name, level.label): level for f in self.factors for level in f.levels}
        runs: list[PlannedRun] = []
        seen: dict[str, Arm] = {}
        for arm in self.arms():
            settings: dict[str, Any] = {}
            for chosen in arm.levels.items():
                settings |= levels[chosen].settings
            with located(arm.label):
                configs = [self.configure(settings, seed, registry) for seed in self.seeds]
            if (twin := seen.setdefault(configs[0].model_dump_json(), arm)) is not arm:
                raise ConfigError(
                    f"{twin.label} and {arm.label} are the same configuration.", "Remove one of the levels."
                )
            for seed, config in zip(self.seeds, configs, strict=True):
                runs.append(PlannedRun(arm, seed, f"runs/{arm.slug}/seed-{seed}", config))
        return tuple(runs)

    def configure(self, settings: Mapping[str, Any], seed: int, registry: Registry) -> RunConfig:
        """The resolved configuration of what all runs share, with further settings and a seed.

        Raises:
            ConfigError, PluginError: they aren't accepted, or the budget isn't one of updates.
        """
        content = dict(self.base)
        apply_settings(content, settings)
        config = anchored(resolve(make_config(content, {"seed": seed}), registry))
        if config.train.epochs is not None:
            raise ConfigError(
                "train.epochs: an ablation compares runs at an equal number of updates, not of epochs.",
                "Set the number of updates instead: --steps, or train.steps in the plan.",
            )
        return config

    def content(self) -> dict[str, Any]:
        """The plan as plain values, from which `make_plan` makes an equal one."""
        return {
            "name": self.name,
            "base": dict(self.base),
            "factors": {f.name: {level.label: dict(level.settings) for level in f.levels} for f in self.factors},
            "exclude": [dict(rule) for rule in self.exclude],
            "seeds": list(self.seeds),
        }


def make_plan(content: Mapping[str, Any], *, over: Mapping[str, Any] | None = None) -> Plan:
    """A plan from plain values. Relative paths in them are relative to the working directory.

    Args:
        content: as in `ablation.yaml`.
        over: shorthands and dotted settings that win over `config` and `base`.

    Raises:
        ConfigError: a key, factor, level, rule or seed that isn't accepted.
    """
    _check_shape(content)
    base: dict[str, Any] = {}
    if (file := content.get("config")) is not None:
        base = read_shared(home_path(str(file)))
    own = dict(content.get("base") or {})
    settings = dict(over or {})
    if "seed" in own or "seed" in settings:
        raise ConfigError(
            f"{'base' if 'seed' in own else '--set seed'}: the seed cannot be set here.", "Use `seeds:` (--seeds)."
        )
    base = merge(base, own)
    if isinstance(data := settings.pop("data", None), Mapping | list):
        base = merge(base, {"data": data})
    elif data is not None:
        settings["data"] = data
    factors = tuple(_factor(str(name), levels) for name, levels in (content.get("factors") or {}).items())
    _check_fixed(factors, settings)
    factors, settings = _share(factors, own, settings)
    apply_settings(base, settings)
    base = anchor_settings(base, Path.cwd())
    chosen = any("data" in level.settings for factor in factors for level in factor.levels)
    if not base.get("data") and not chosen:
        base = merge(demo_settings(), base)
    _check_apart(factors)
    exclude = tuple(_rule(rule, factors) for rule in content.get("exclude") or [])
    return Plan(plan_name(content), base, factors, exclude, parse_seeds(content.get("seeds", 1)))


def read_plan(path: Path) -> Plan:
    """The plan in a YAML file.

    Raises:
        ConfigError: it doesn't exist or isn't a plan; names the file.
    """
    content = read_content(path)
    with located(path):
        return make_plan(content)


def read_content(path: Path) -> dict[str, Any]:
    """The content of a plan's file, named after the file if it has no name; relative paths are made absolute.

    Raises:
        ConfigError: it doesn't exist or doesn't have a plan's form; names the file.
    """
    content = read_yaml(path)
    with located(path):
        _check_shape(content)
    folder = path.absolute().parent
    if content.get("config") is not None:
        content["config"] = str(folder / home_path(str(content["config"])))
    if content.get("base"):
        content["base"] = anchor_settings(content["base"], folder)
    if factors := content.get("factors"):
        content["factors"] = {name: anchor_levels(str(name), levels, folder) for name, levels in factors.items()}
    return {"name": re.sub(r"[^\w.-]+", "-", path.stem).strip("-.") or "ablation", **content}


def read_shared(path: Path, beside: Path | None = None) -> dict[str, Any]:
    """Settings of all runs from a run's YAML. Its seed is left out: seeds are the plan's.

    Args:
        path: the file.
        beside: what relative paths in it are relative to; by default the file's folder.

    Raises:
        ConfigError: it can't be read.
    """
    content = anchor_settings(read_yaml(path), beside or path.absolute().parent)
    content.pop("seed", None)
    return content


def save_plan(plan: Plan, path: Path) -> None:
    """Write a plan as YAML that needs no other file, atomically."""
    write_text(path, to_yaml(plan.content()))


def parse_seeds(value: Any) -> tuple[int, ...]:
    """`3` is seeds 0, 1 and 2; a list is those seeds.

    Raises:
        ConfigError: not a count of at least 1, nor a list of different seeds.
    """
    if isinstance(value, int) and value > _MOST_SEEDS:
        raise ConfigError(f"seeds: {value} of them are too many.", f"Write at most {_MOST_SEEDS:,}.")
    seeds = list(range(value)) if isinstance(value, int) and not isinstance(value, bool) else value
    fine = isinstance(seeds, list | tuple) and all(isinstance(s, int) and not isinstance(s, bool) for s in seeds)
    if not fine or not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise ConfigError(
            f"seeds: {shown(value)} is neither a count nor a list of different seeds.", "Write 3, or 0,1,2."
        )
    return tuple(seeds)


def _check_shape(content: Mapping[str, Any]) -> None:
    for key in content:
        if key not in _KEYS:
            raise ConfigError(
                f"A plan has no key '{key}'. {nearest(str(key), _KEYS)}".rstrip(), f"Keys: {', '.join(_KEYS)}."
            )
    for key in ("base", "factors"):
        if not isinstance(part := content.get(key) or {}, Mapping):
            raise ConfigError(f"{key}: {shown(part)} is not a mapping.", "Write `key: value` lines.")
    rules = content.get("exclude") or []
    if not isinstance(rules, list) or not all(isinstance(rule, Mapping) and rule for rule in rules):
        raise ConfigError("exclude: not a list of `{factor: level}`.", "Write - {model: unet, loss: dice}.")


def _share(
    factors: Sequence[Factor], base: Mapping[str, Any], flags: Mapping[str, Any]
) -> tuple[tuple[Factor, ...], dict[str, Any]]:
    """Pass shared parameters to the levels and flags that choose their component; returns the flags for all runs."""
    own, parameters = (anchor_settings(shared_parameters(base, more), Path.cwd()) for more in ({}, flags))
    keys = {factor.name: [full_name(key) for level in factor.levels for key in level.settings] for factor in factors}
    made, left = [], dict(flags)
    for factor in factors:
        varied = [key for name, others in keys.items() if name != factor.name for key in others]
        settings = [level.settings for level in factor.levels]
        shared = with_shared(factor.name, settings, parameters, varied)
        levels = tuple(Level(level.label, new) for level, new in zip(factor.levels, shared, strict=True))
        made.append(Factor(factor.name, levels))
        chosen = chosen_lists(settings)
        left = {key: value for key, value in left.items() if "." not in key or key.partition(".")[0] not in chosen}
    (left,) = with_shared("the flags", [left], own, list(itertools.chain(*keys.values())))
    return tuple(made), left


def _check_fixed(factors: Sequence[Factor], flags: Mapping[str, Any]) -> None:
    """Refuse a flag that sets for all runs what a factor sets: one of the two would be ignored."""
    owners = {full_name(key): factor.name for factor in factors for level in factor.levels for key in level.settings}
    for key in flags:
        if (factor := owners.get(full_name(key))) is not None:
            raise ConfigError(f"{key} is set for all runs, but the factor {factor} sets it.", "Remove one of them.")


def _check_apart(factors: Sequence[Factor]) -> None:
    """Refuse two factors of one setting, of which only the later would count."""
    owners: dict[str, str] = {}
    for factor in factors:
        for key in dict.fromkeys(full_name(key) for level in factor.levels for key in level.settings):
            if (other := owners.setdefault(key, factor.name)) != factor.name:
                raise ConfigError(f"The factors {other} and {factor.name} both set {key}.", "Remove one of them.")


def _factor(name: str, levels: Any) -> Factor:
    levels = anchor_levels(name, levels, Path.cwd())
    if not isinstance(levels, list | Mapping) or not levels:
        raise ConfigError(f"{name}: {shown(levels)} is not a list of levels.", f"Write {name}: [one, another].")
    if isinstance(levels, list):
        if not is_short_name(name) and "." not in name and name not in RunConfig.model_fields:
            raise ConfigError(
                f"There is no setting '{name}' to vary.",
                "Give a shorthand (model, loss, mixup, train_size, ...) or a dotted setting, or name each level "
                "and what it sets: {label: {setting: value}}.",
            )
        made = [Level(label_of(value, name), {name: value}) for value in levels]
    else:
        for label, settings in levels.items():
            if not isinstance(settings, Mapping):
                raise ConfigError(
                    f"{name}: the level '{label}' is {shown(settings)}, which sets nothing.", "Write {setting: value}."
                )
        made = [
            Level(label_of(label) if isinstance(label, float | bool) else str(label), dict(settings))
            for label, settings in levels.items()
        ]
    if any("seed" in level.settings for level in made):
        raise ConfigError(f"{name}: the seed can't be a factor.", "Use `seeds:`.")
    labels = [level.label for level in made]
    if len(set(labels)) < len(labels):
        raise ConfigError(f"{name}: two levels have the same name ({', '.join(labels)}).", "Remove or rename one.")
    return Factor(name, tuple(made))


def _rule(rule: Mapping[Any, Any], factors: Sequence[Factor]) -> dict[str, str]:
    known = {factor.name: [level.label for level in factor.levels] for factor in factors}
    made: dict[str, str] = {}
    for name, value in rule.items():
        label = label_among(known.get(name, ()), value)
        if name not in known or label not in known[name]:
            what = f"factor '{name}'" if name not in known else f"level '{label}' of {name}"
            raise ConfigError(
                f"exclude: there is no {what}.", f"Available: {', '.join(known.get(name, known)) or 'none'}."
            )
        made[name] = label
    return made
