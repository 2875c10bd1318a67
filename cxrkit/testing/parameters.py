"""What cxrkit expects of every component, whatever its kind: documented parameters and a documented class."""

from __future__ import annotations

import inspect

import yaml
from pydantic import ConfigDict, ValidationError, create_model

from cxrkit.kinds import KINDS
from cxrkit.testing.expectations import Check, ConformanceError, Subject, expect
from cxrkit.yaml_text import read_value, to_yaml


def it_has_a_summary_of_one_line(subject: Subject) -> None:
    """`cxrkit list` prints it beside the name."""
    summary = subject.component.summary
    expect(
        isinstance(summary, str) and bool(summary.strip()) and "\n" not in summary and len(summary) <= 100,
        "a summary of one line, at most 100 characters",
        repr(summary),
        "Shorten it where the component is registered.",
    )


def its_class_has_a_docstring(subject: Subject) -> None:
    """`cxrkit show` prints it."""
    own = vars(subject.component.target).get("__doc__") if inspect.isclass(subject.component.target) else None
    text = own if inspect.isclass(subject.component.target) else inspect.getdoc(subject.component.target)
    expect(
        bool(text and text.strip()),
        "a docstring that says what the component is and where it comes from",
        "none",
        f"Write one for {subject.component.factory}.",
    )


def every_parameter_has_a_description(subject: Subject) -> None:
    """Keyword-only parameters are the user's, and the user reads their descriptions."""
    fields = subject.component.parameters.model_fields
    silent = [name for name, field in fields.items() if not field.description]
    expect(
        not silent,
        "a description of every keyword-only parameter",
        f"none for {', '.join(silent)}",
        'Annotate them: `Annotated[int, Field(ge=1, description="...")]`.',
    )


def defaults_are_given_and_accepted(subject: Subject) -> None:
    """The component can be used by its name alone: defaults exist and lie within their own bounds."""
    schema = subject.component.parameters
    missing = [name for name, field in schema.model_fields.items() if field.is_required()]
    expect(not missing, "a default for every parameter", f"none for {', '.join(missing)}", "Give them defaults.")
    strict = ConfigDict(validate_default=True, arbitrary_types_allowed=True, protected_namespaces=())
    fields = {name: (field.annotation, field) for name, field in schema.model_fields.items()}
    try:
        create_model("Defaults", __config__=strict, **fields).model_validate({})  # type: ignore[call-overload]
    except ValidationError as error:
        faults = "; ".join(f"{fault['loc'][0]}: {fault['msg']} (is {fault['input']!r})" for fault in error.errors())
        expect(False, "defaults within the bounds of their own annotations", faults, "Fix the default or the bound.")


def parameters_can_be_written_down(subject: Subject) -> None:
    """A run's config.yaml holds every parameter: what is written there is read back as it was."""
    schema = subject.component.parameters
    values = schema.model_validate(dict(subject.parameters))
    try:
        again = schema.model_validate(read_value(to_yaml(values.model_dump(mode="json"))))
    except (ValueError, yaml.YAMLError) as error:
        raise ConformanceError(
            "parameters that YAML can hold",
            " ".join(str(error).split()),
            "Use numbers, text, Literal, lists, tuples and paths, and make objects of them in the constructor.",
        ) from error
    different = [name for name in schema.model_fields if getattr(values, name) != getattr(again, name)]
    expect(not different, "parameters that YAML gives back", f"others for {', '.join(different)}", "Use simpler types.")


def its_methods_are_called_as_the_contract_says(subject: Subject) -> None:
    """`forward(images)` of a model, `forward(logits, targets)` of a loss, and so on: settings go to the constructor."""
    faults = signature_faults(subject)
    if faults:
        (method, expected), *_ = faults.items()
        expect(
            False,
            f"a method {method}{expected}",
            f"{method}{inspect.signature(getattr(subject.component.target, method))}",
            "Take these arguments and no further ones without a default; settings are keyword-only parameters of the "
            "constructor.",
        )


def signature_faults(subject: Subject) -> dict[str, inspect.Signature]:
    """The methods of a component's class that can't be called as its kind's are, with the signatures of those."""
    target, interface = subject.component.target, KINDS[subject.component.kind].load_interface()
    if not inspect.isclass(target) or not issubclass(target, interface):
        return {}
    faults = {}
    for name in sorted(getattr(interface, "__abstractmethods__", ())):
        ours, theirs = getattr(interface, name), getattr(target, name)
        if inspect.isfunction(ours) and inspect.isfunction(theirs):
            expected = inspect.signature(ours)
            try:
                inspect.signature(theirs).bind(*expected.parameters)
            except TypeError:
                faults[name] = expected
            except ValueError:  # a method in another language
                continue
    return faults


CHECKS: tuple[Check, ...] = (
    its_methods_are_called_as_the_contract_says,
    it_has_a_summary_of_one_line,
    its_class_has_a_docstring,
    every_parameter_has_a_description,
    defaults_are_given_and_accepted,
    parameters_can_be_written_down,
)
