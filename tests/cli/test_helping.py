from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cxrkit.cli.helping import told, untold


@given(st.text(), st.text())
def test_a_default_that_was_told_is_found_again(text: str, default: str) -> None:
    parts = untold(told(text, default))
    assert told(*parts) == told(text, default)


def test_help_and_default_come_apart() -> None:
    assert untold(told("Only these, as [A, B].", "all")) == ("Only these, as [A, B].", "all")
    assert untold("Print JSON.") == ("Print JSON.", "")
