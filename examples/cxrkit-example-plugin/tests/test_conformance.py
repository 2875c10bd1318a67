"""What cxrkit asks of every component, for all that this plugin registers."""

import pytest

from cxrkit.testing import Case, check_loss, check_model, conformance_cases


@pytest.mark.parametrize("case", conformance_cases("cxrkit-example-plugin"), ids=str)
def test_conformance(case: Case) -> None:
    case.run()


@pytest.mark.parametrize("parameters", [{"depth": 1}, {"base_channels": 4, "depth": 5}], ids=str)
def test_residual_unet_with_other_parameters(parameters: dict[str, int]) -> None:
    check_model("residual-unet", parameters)


def test_contour_bce_without_weight() -> None:
    check_loss("contour-bce", {"contour_weight": 0.0})
