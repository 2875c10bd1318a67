"""RunConfig: one validated description of a run.

It is made of three layers, of which later ones win: the defaults below (or the demonstration's, where no data is
named), a YAML file, and overrides from the command line (`a.dotted.path` to a value). A component is a mapping with a
`name` and its parameters beside it: `model: {name: unet, depth: 3}`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, Field, ValidationError, field_validator, model_validator

from cxrkit import yaml_text
from cxrkit.component_config import FORMS_OF_DATA, DataConfigs, name_alone
from cxrkit.component_config import ComponentConfig as ComponentConfig
from cxrkit.component_config import DataConfig as DataConfig
from cxrkit.component_config import LossConfig as LossConfig
from cxrkit.errors import ConfigError, nearest, shown
from cxrkit.files import home_path, write_text
from cxrkit.overrides import assign, merge, parse_losses
from cxrkit.plugins import registry as installed
from cxrkit.preprocess_config import ClaheConfig as ClaheConfig
from cxrkit.preprocess_config import ConfigPart
from cxrkit.preprocess_config import PreprocessConfig as PreprocessConfig
from cxrkit.registry import Registry

Device = Literal["auto", "cpu", "cuda", "mps"]


def _size(value: Any) -> Any:
    """A count or a fraction, which is text when it comes from the command line; `rest` is kept."""
    if isinstance(value, str) and value != "rest":
        try:
            return float(value) if "." in value else int(value)
        except ValueError:
            raise ValueError("give a count, or a fraction between 0 and 1; for validation also 'rest'") from None
    return value


def _training_size(value: Any) -> Any:
    return None if value == "all" else value


def _weights(value: Any) -> Any:
    """Weights as text, since a path can be given too; None for "none"."""
    return None if value == "none" else str(value) if isinstance(value, Path) else value


class SplitConfig(ConfigPart):
    """Which films train, validate and test: a permutation by seed, grouped by patient (paper §3.1)."""

    train_size: Annotated[int | None, BeforeValidator(_training_size)] = Field(
        None,
        ge=1,
        description="number of training films; the paper's: 10, 20 and 209; null or all: all that aren't test films",
    )
    test_size: Annotated[int | float, BeforeValidator(_size)] = Field(
        0.15, description="test films: a count, or a fraction of all films; the paper's: 38"
    )
    validation: Annotated[int | float | Literal["rest"], BeforeValidator(_size)] = Field(
        0.1,
        description="validation films, which choose the best step: a count or fraction of the training films, or "
        "'rest' for all films that are used neither for training nor for testing (train_size then excludes them)",
    )
    test_fold: str | None = Field(None, description="take the test films from this fold of the dataset instead")
    file: Path | None = Field(None, description="a run's split.json to reuse; the sizes are then ignored")

    @field_validator("test_size", "validation")
    @classmethod
    def _count_or_fraction(cls, value: int | float | str) -> int | float | str:
        if isinstance(value, str):
            return value
        if isinstance(value, float) and value == 1:
            raise ValueError("1.0 could be one film or all of them: give a count (1) or a fraction below 1")
        if value < 0 or (isinstance(value, float) and not 0 <= value < 1 and not value.is_integer()):
            raise ValueError("give a count (0, 1, 2, ...) or a fraction between 0 and 1")
        return int(value) if value >= 1 else value


class UnlabelledConfig(ConfigPart):
    """Self-training: also train on films without masks, using masks that the averaged network predicts."""

    films: Literal["none", "rest"] | Path = Field(
        "none",
        description="films without masks for self-training: 'none', a folder, or 'rest': films of the data that are "
        "used neither for training nor for testing (their masks are ignored, but those of validation films still "
        "choose the weights). Masks that training films lack are predicted too",
    )
    share: float = Field(0.5, gt=0, lt=1, description="share of each step's films that have no masks")
    start: float = Field(0.3, ge=0, lt=1, description="share of the steps before films without masks are used")


class TrainConfig(ConfigPart):
    """The training loop. Budgets are counted in steps: updates of the network."""

    steps: int = Field(
        1000,
        ge=1,
        description="updates of the network; runs are compared at equal numbers of them; the paper's: about 1000",
    )
    epochs: int | None = Field(None, ge=1, description="passes over the training films, instead of steps")
    batch_size: int = Field(
        5, ge=1, description="films per update, after augmentation, on all devices together; the paper's: 5"
    )
    init: Annotated[str | None, BeforeValidator(_weights)] = Field(
        None,
        description="weights to begin with instead of random ones: a run's folder, a weights file, or weights that a "
        "package provides (cxrkit list weights). What fits is taken, and the rest begins afresh",
    )
    lr: float = Field(5e-4, gt=0, description="Adam's peak learning rate; the paper's: 5e-4")
    schedule: Literal["cosine", "constant"] = Field("cosine", description="the learning rate after the warm-up")
    warmup: int = Field(50, ge=0, description="steps over which the learning rate rises linearly from 0")
    weight_decay: float = Field(0.0, ge=0, description="AdamW's decoupled weight decay")
    clip_norm: float | None = Field(
        1.0, gt=0, description="largest norm of the gradients, to which larger ones are scaled down; null: no limit"
    )
    ema: float = Field(0.99, ge=0, lt=1, description="decay of the averaged weights that are kept; 0: no average")
    recompute_statistics: bool = Field(
        False,
        description="recompute batch-norm statistics from the training films before each validation and saving, "
        "instead of using their moving averages",
    )
    validate_every: int = Field(50, ge=1, description="steps between validations")
    checkpoint_every: int = Field(100, ge=1, description="steps between checkpoints to resume from")
    protocol: Literal["honest", "paper"] = Field(
        "honest",
        description="how the best step is chosen; honest: on validation films; paper: on the test films, as the "
        "released code did, which makes the scores optimistic",
    )
    device: Device = Field("auto", description="where to compute; auto: the fastest device available")
    devices: int = Field(1, ge=1, description="number of processes on each machine, one per device")
    num_nodes: int = Field(1, ge=1, description="number of machines")
    strategy: Literal["auto", "ddp"] = Field("auto", description="how several devices share the work")
    precision: Literal["auto", "32", "bf16"] = Field(
        "auto", description="arithmetic; auto: bf16 if the hardware supports it"
    )
    compile: Literal["auto", "on", "off"] = Field(
        "auto",
        description="how steps are run; auto: on CUDA each is recorded and launched as a whole; on: its operations are "
        "also fused, which takes about a minute at the start and pays off in long trainings; off: neither",
    )

    @field_validator("precision", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int) else value  # `precision: 32` in YAML is a number

    @field_validator("compile", mode="before")
    @classmethod
    def _as_switch(cls, value: Any) -> Any:
        return {True: "on", False: "off"}.get(value, value) if isinstance(value, bool) else value  # as YAML reads them


class RunConfig(ConfigPart):
    """Everything that decides what a run computes."""

    model: ComponentConfig = Field(
        default_factory=lambda: ComponentConfig(name=installed().default("model")),
        description="network; see: cxrkit list model",
    )
    loss: list[LossConfig] = Field(
        default_factory=lambda: [LossConfig(name=installed().default("loss"))],
        min_length=1,
        description="loss, or a weighted sum such as 'dice + 0.5*bce'; see: cxrkit list loss",
    )
    augment: list[ComponentConfig] = Field(
        default_factory=list,
        description="augmentation; may be repeated, and is applied in that order, after those that act on films before "
        "levels and CLAHE. The paper uses only mixup",
    )
    logger: list[ComponentConfig] = Field(
        default_factory=list,
        description="dashboard that follows the training; may be repeated. See: cxrkit list logger",
    )
    data: DataConfigs = Field(default_factory=DataConfig)
    structures: list[str] | None = Field(None, description="structures to segment (null: all that the dataset has)")
    background: bool = Field(True, description="add a last channel for what belongs to no structure, as in the paper")
    preprocess: PreprocessConfig = Field(default_factory=PreprocessConfig)
    split: SplitConfig = Field(default_factory=SplitConfig)
    unlabelled: UnlabelledConfig = Field(default_factory=UnlabelledConfig)
    train: TrainConfig = Field(default_factory=TrainConfig)
    seed: int = Field(0, ge=0, lt=2**31, description="seed of the split, the initial weights and all randomness")

    @field_validator("model", mode="before")
    @classmethod
    def _name_alone(cls, value: Any) -> Any:
        return name_alone(value)

    @field_validator("loss", mode="before")
    @classmethod
    def _losses(cls, value: Any) -> Any:
        if isinstance(value, str):
            return parse_losses(value)
        items = [value] if isinstance(value, Mapping) else value
        return _named(items)

    @field_validator("augment", "logger", mode="before")
    @classmethod
    def _components(cls, value: Any) -> Any:
        items = [value] if isinstance(value, str | Mapping) else value
        return _named(items or [])

    @model_validator(mode="after")
    def _unique(self) -> Self:
        for kind, items in (("loss", self.loss), ("augment", self.augment), ("logger", self.logger)):
            names = [item.name for item in items]
            if len(set(names)) < len(names):
                raise ValueError(f"the same {kind} is given twice: {', '.join(names)}")
        return self

    @property
    def datasets(self) -> tuple[DataConfig, ...]:
        """The datasets of `data`, be it one or a list."""
        return (self.data,) if isinstance(self.data, DataConfig) else tuple(self.data)


#: What a dotted setting may begin with.
SECTIONS = tuple(RunConfig.model_fields)


def _named(items: Any) -> Any:
    """A list whose bare names have become components; pydantic rejects anything else."""
    if not isinstance(items, list | tuple):
        return items
    return [{"name": item} if isinstance(item, str) else item for item in items]


def demo_settings() -> dict[str, Any]:
    """Settings of the demonstration that runs where no data is named, on the default dataset.

    They are small enough for two CPU cores.
    """
    return {
        "data": {"name": installed().default("dataset")},
        "preprocess": {"size": 96},
        "split": {"test_size": 12, "validation": 6},
        "train": {"steps": 200, "lr": 2e-3, "warmup": 20, "validate_every": 25},
    }


def make_config(*layers: Mapping[str, Any], overrides: Mapping[str, Any] | None = None) -> RunConfig:
    """Merge nested mappings (later ones win), apply dotted overrides, validate.

    A component that a later layer replaces by another one loses its parameters.

    Raises:
        ConfigError: an unknown key or a value that isn't accepted; names it and what would be.
    """
    merged: dict[str, Any] = {}
    for layer in layers:
        merged = merge(merged, layer)
    # Names first, so that `model.depth=3` finds the component that it belongs to.
    for path, value in sorted((overrides or {}).items(), key=lambda item: item[0].count(".")):
        assign(merged, path, value, SECTIONS)
    try:
        return RunConfig.model_validate(merged)
    except ValidationError as error:
        raise ConfigError(*_explain(error, merged)) from error


#: What pydantic calls a type of a union, in the place of an error.
_TYPE = re.compile(r"constrained-|\w+\[")


def _explain(error: ValidationError, values: Mapping[str, Any]) -> tuple[str, str]:
    lines: list[str] = []
    for fault in error.errors():
        path = _path(fault["loc"], values)
        if fault["type"] == "extra_forbidden":
            known = _known_keys(fault["loc"][:-1])
            hint = nearest(str(fault["loc"][-1]), known)
            lines.append(f"There is no setting '{path}'. {hint}Available: {', '.join(known)}.")
        else:
            message = fault["msg"].removeprefix("Value error, ")
            lines.append(f"{path or 'configuration'}: {message} (got {shown(fault['input'])}).")
    remedy = "`cxrkit train --help` explains the options; the documentation lists all settings."
    shown_lines = [*dict.fromkeys(lines)]
    more = [f"And {len(shown_lines) - 10} more faults."] if len(shown_lines) > 10 else []
    return " ".join(shown_lines[:10] + more), remedy


def _path(location: Sequence[int | str], values: Mapping[str, Any]) -> str:
    """A setting as `--set` names it: that of one of several losses by its name, that of a single one without."""
    steps = [step for step in location if step not in FORMS_OF_DATA and not _TYPE.match(str(step))]
    section, *rest = steps or [""]
    if section == "loss" and rest and isinstance(rest[0], int):
        terms = RunConfig._losses(values["loss"])
        given = terms[rest[0]]
        name = given.get("name", rest[0]) if isinstance(given, Mapping) else rest[0]
        rest[:1] = [name] if len(terms) > 1 else []
    return ".".join(map(str, (section, *rest)))


def _known_keys(path: Sequence[int | str]) -> list[str]:
    parts: dict[str, type[BaseModel]] = {
        "": RunConfig,
        "preprocess": PreprocessConfig,
        "preprocess.clahe": ClaheConfig,
        "split": SplitConfig,
        "unlabelled": UnlabelledConfig,
        "train": TrainConfig,
    }
    found = parts.get(".".join(str(step) for step in path), RunConfig)
    return list(found.model_fields)


def resolve(config: RunConfig, registry: Registry) -> RunConfig:
    """The configuration with every component's parameters validated and its defaults written out.

    Raises:
        ConfigError, PluginError: an unknown component or parameter, or a value that isn't accepted.
    """

    def full(kind: str, item: ComponentConfig) -> dict[str, Any]:
        own = {key: getattr(item, key) for key in type(item).model_fields}
        component, params = registry.find(kind, item.name)
        # As YAML will give them back: a tuple as a list, a path as text.
        whole = component.parameters(**component.validate(params | item.params)).model_dump(mode="json")
        return own | {"name": component.name} | whole

    content = config.model_dump()
    content["model"] = full("model", config.model)
    content["loss"] = [full("loss", item) for item in config.loss]
    content["augment"] = [full("augment", item) for item in config.augment]
    content["logger"] = [full("logger", item) for item in config.logger]
    datasets = [full("dataset", item) for item in config.datasets]
    content["data"] = datasets[0] if isinstance(config.data, DataConfig) else datasets
    return RunConfig.model_validate(content)


def anchored(config: RunConfig) -> RunConfig:
    """A configuration whose paths are absolute, so that the run can be used from any working directory."""
    file = config.split.file
    datasets = [
        item.model_copy(update={"root": home_path(item.root).resolve() if item.root else None})
        for item in config.datasets
    ]
    data = datasets[0] if isinstance(config.data, DataConfig) else datasets
    split = config.split.model_copy(update={"file": home_path(file).resolve() if file else None})
    unlabelled = config.unlabelled
    if isinstance(unlabelled.films, Path):
        unlabelled = unlabelled.model_copy(update={"films": home_path(unlabelled.films).resolve()})
    train = config.train
    if train.init is not None and home_path(train.init).exists():  # else the name of weights
        train = train.model_copy(update={"init": str(home_path(train.init).resolve())})
    return config.model_copy(update={"data": data, "split": split, "unlabelled": unlabelled, "train": train})


def to_yaml(config: RunConfig) -> str:
    """The configuration as YAML that `read_yaml` and `make_config` read back to an equal one."""
    return yaml_text.to_yaml(config.model_dump(mode="json"))


def save_config(config: RunConfig, path: Path) -> None:
    """Write the configuration as YAML, atomically."""
    write_text(path, to_yaml(config))
