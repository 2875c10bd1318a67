"""What a configuration says of its components: a name with parameters beside it, and what losses and data have more."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    SerializerFunctionWrapHandler,
    Tag,
    model_serializer,
)

from cxrkit.overrides import with_aliases
from cxrkit.plugins import registry as installed


class ComponentConfig(BaseModel):
    """A component by name, with its parameters beside the name."""

    model_config = ConfigDict(extra="allow", defer_build=True)
    name: str

    @property
    def params(self) -> dict[str, Any]:
        """The component's own parameters."""
        return dict(self.model_extra or {})


class LossConfig(ComponentConfig):
    """One term of a weighted sum of losses."""

    weight: float = Field(1.0, gt=0, description="factor of this term in the sum")
    side_weight: Annotated[float, Field(ge=0)] | list[Annotated[float, Field(ge=0)]] | None = Field(
        None, description="of networks with side outputs, what each counts beside the main one; or a list (null: 1)"
    )


Missing = Literal["error", "unknown"]


class DataConfig(ComponentConfig):
    """Where films and masks come from; a list where they come from several datasets."""

    name: str = Field(default_factory=lambda: installed().default("dataset"))
    root: Path | None = Field(None, description="folder or file that the dataset reads")
    alias: str | None = Field(
        None,
        pattern=r"^[\w-]+$",
        description="what this dataset is called among several: its films' ids begin with it (null: the end of its "
        "root's path; nothing for one dataset alone)",
    )
    weight: float = Field(
        1.0, gt=0, description="how often training draws a film of this dataset, compared with those of the others"
    )
    missing: Missing = Field(
        "error",
        description="what a film is whose dataset has masks of a structure, but not this film's: an error, or one "
        "whose mask is unknown, which trains and is scored on the others",
    )

    @model_serializer(mode="wrap")
    def _as_before(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without what is at its default and was added later: one dataset is saved as it always was."""
        added = ("alias", "weight", "missing")
        unchanged = {key for key in added if getattr(self, key) == type(self).model_fields[key].default}
        return {key: value for key, value in handler(self).items() if key not in unchanged}


def name_alone(value: Any) -> Any:
    """A name as a component without parameters; anything else unchanged."""
    return {"name": value} if isinstance(value, str) else value


def _normal(value: Any) -> Any:
    """One dataset as a mapping; several as a list of mappings with aliases; what is neither, for pydantic to reject."""
    if not isinstance(value, list | tuple):
        return name_alone(value)
    if not value:
        raise ValueError("names no dataset")
    items = [item.model_dump() if isinstance(item, DataConfig) else name_alone(item) for item in value]
    if len(items) == 1:
        return _normal(items[0])
    return with_aliases(items) if all(isinstance(item, Mapping) for item in items) else items


def _apart(value: DataConfig | list[DataConfig]) -> DataConfig | list[DataConfig]:
    datasets = value if isinstance(value, list) else [value]
    aliases = [str(item.alias) for item in datasets]
    if len(set(aliases)) < len(aliases):
        raise ValueError(f"two datasets have the same alias: {', '.join(aliases)}")
    sources = [item.model_copy(update={"alias": None, "weight": 1.0}) for item in datasets]
    if twice := [item for place, item in enumerate(sources) if item in sources[:place]]:
        raise ValueError(f"the same data is given twice: {twice[0].root or twice[0].name}")
    return value


def _form(value: Any) -> str:
    return FORMS_OF_DATA[isinstance(value, list | tuple)]


#: The two forms of `data` in the place of an error: they are no part of a setting's path.
FORMS_OF_DATA = ("(one)", "(several)")

#: One dataset, or a list of several, which have different aliases.
DataConfigs = Annotated[
    Annotated[DataConfig, Tag(FORMS_OF_DATA[0])] | Annotated[list[DataConfig], Tag(FORMS_OF_DATA[1])],
    Discriminator(_form),
    BeforeValidator(_normal),
    AfterValidator(_apart),
]
