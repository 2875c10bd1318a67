"""What every component must say of itself, whatever its kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import torch.nn.functional as F
from pydantic import BeforeValidator, Field
from torch import Tensor

from cxrkit.interfaces import Loss

Judge = Callable[..., dict[str, str]]


class Good(Loss):
    """Binary cross-entropy with every sort of parameter that a configuration can hold."""

    def __init__(
        self,
        *,
        factor: Annotated[float, Field(gt=0, description="a factor")] = 1.0,
        widths: Annotated[tuple[int, ...], Field(description="a tuple")] = (1, 2),
        kind: Annotated[Literal["a", "b"], Field(description="a choice")] = "a",
        file: Annotated[Path | None, Field(description="a path")] = Path("a/b"),
    ) -> None:
        super().__init__()

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(logits, targets)


def test_parameters_that_say_what_they_are_pass(failures: Judge) -> None:
    assert failures("loss", Good) == {}


@pytest.mark.parametrize("summary", ["", "  ", "two\nlines", "x" * 101])
def test_summaries_are_one_line(failures: Judge, summary: str) -> None:
    assert list(failures("loss", Good, summary=summary)) == ["it has a summary of one line"]


def test_a_docstring_is_needed_and_not_inherited(failures: Judge) -> None:
    class Silent(Good):
        pass

    assert list(failures("loss", Silent)) == ["its class has a docstring"]


class Undescribed(Good):
    """Has parameters without descriptions."""

    def __init__(self, *, factor: Annotated[float, Field(gt=0)] = 1.0, power: int = 2) -> None:
        super().__init__()


class OutOfBounds(Good):
    """Has a default outside its own bounds."""

    def __init__(self, *, factor: Annotated[float, Field(gt=0, description="a factor")] = 0.0) -> None:
        super().__init__()


class Unwritable(Good):
    """Has a parameter that YAML can't hold."""

    def __init__(self, *, thing: Annotated[Any, Field(description="a thing")] = object) -> None:
        super().__init__()


class Changing(Good):
    """Has a parameter that is read back as another value."""

    def __init__(
        self,
        *,
        twice: Annotated[int, BeforeValidator(lambda value: 2 * value), Field(description="doubles")] = 1,
    ) -> None:
        super().__init__()


@pytest.mark.parametrize(
    ("loss", "check", "words"),
    [
        (Undescribed, "every parameter has a description", "none for factor, power"),
        (OutOfBounds, "defaults are given and accepted", "factor: Input should be greater than 0 (is 0.0)"),
        (Unwritable, "parameters can be written down", "Use numbers, text"),
        (Changing, "parameters can be written down", "others for twice"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_each_fault_is_found(failures: Judge, loss: type[Loss], check: str, words: str) -> None:
    found = failures("loss", loss)
    assert next(iter(found)) == check
    assert words in found[check]


def test_a_parameter_without_default_is_reported_once_and_clearly(failures: Judge) -> None:
    class Demanding(Good):
        """Asks for a parameter."""

        def __init__(self, *, factor: Annotated[float, Field(description="a factor")]) -> None:
            super().__init__()

    assert "none for factor" in failures("loss", Demanding)["defaults are given and accepted"]
