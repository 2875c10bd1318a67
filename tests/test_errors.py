"""Errors say what is wrong and what to do, and each family has an exit code of its own."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxrkit import errors
from cxrkit.errors import ConfigError, CxrkitError, nearest


def test_message_has_both_parts() -> None:
    error = ConfigError("--lr -1 is negative.", "Give a positive number.")
    assert str(error) == "--lr -1 is negative.\nGive a positive number."
    assert (error.what, error.remedy) == ("--lr -1 is negative.", "Give a positive number.")


def test_message_without_remedy_is_one_line() -> None:
    assert str(CxrkitError("It rains.")) == "It rains."


def test_families_have_different_exit_codes() -> None:
    families = [
        errors.ConfigError,
        errors.DataError,
        errors.PluginError,
        errors.TrainingError,
        errors.StorageError,
    ]
    codes = [family.exit_code for family in families]
    assert codes == [2, 3, 4, 5, 6]
    assert all(issubclass(family, CxrkitError) for family in families)
    assert issubclass(errors.ContractError, errors.PluginError)


def test_errors_cross_process_boundaries() -> None:
    # Launchers run in processes of their own and send their errors back.
    sent = pickle.loads(pickle.dumps(ConfigError("a", "b")))
    assert isinstance(sent, ConfigError)
    assert "a" in str(sent)
    assert "b" in str(sent)


def test_nearest_names_what_was_meant() -> None:
    assert nearest("focal-tverski", ["dice", "focal-tversky", "tversky"]).startswith("Did you mean 'focal-tversky'")


def test_nearest_says_nothing_where_nothing_is_near() -> None:
    assert nearest("xyz", ["dice", "bce"]) == ""
    assert nearest("dice", []) == ""


@given(name=st.text(max_size=20), known=st.lists(st.text(min_size=1, max_size=20), max_size=5))
def test_nearest_is_a_sentence_or_nothing(name: str, known: list[str]) -> None:
    hint = nearest(name, known)
    assert hint == "" or (hint.startswith("Did you mean '") and hint.endswith("'? "))


@pytest.mark.parametrize("name", ["dice", "unet"])
def test_nearest_finds_the_name_itself(name: str) -> None:
    assert f"'{name}'" in nearest(name, ["dice", "unet"])
