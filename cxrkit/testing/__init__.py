"""Conformance suites: what cxrkit expects of the components of each kind, as tests.

A plugin's tests run the whole suite over all that the plugin registers:

    from cxrkit.testing import conformance_cases

    @pytest.mark.parametrize("case", conformance_cases("cxrkit-myplugin"), ids=str)
    def test_conformance(case):
        case.run()

`check_model` and the other `check_...` functions run the suite of one kind over one component, which needn't be
registered yet; `run_conformance` is what `cxrkit plugins check NAME` prints. The built-in components pass the same
suite.
"""

from __future__ import annotations

from cxrkit.testing.conformance import (
    Case,
    Result,
    check_augment,
    check_dataset,
    check_loss,
    check_model,
    check_writer,
    conformance_cases,
    run_conformance,
)
from cxrkit.testing.expectations import ConformanceError

__all__ = [
    "Case",
    "ConformanceError",
    "Result",
    "check_augment",
    "check_dataset",
    "check_loss",
    "check_model",
    "check_writer",
    "conformance_cases",
    "run_conformance",
]
