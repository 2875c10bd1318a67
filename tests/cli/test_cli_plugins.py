from __future__ import annotations

import json

import pytest

import cxrkit.testing
from cxrkit.testing import Result


def test_list_tells_what_each_plugin_brings(cxrkit) -> None:
    content = json.loads(cxrkit("plugins", "list", "--json").out)
    builtin = next(item for item in content if item["name"] == "builtin")
    assert (builtin["distribution"], builtin["error"]) == ("cxrkit", None)
    assert "model attn-bcdu" in builtin["components"]
    text = cxrkit("plugins", "list").out
    assert "attn-bcdu" in text
    assert "builtin" in text


def test_a_plugin_that_is_switched_off_is_listed_as_disabled(cxrkit, monkeypatch) -> None:
    from cxrkit.plugins import installed

    monkeypatch.setenv("CXRKIT_DISABLE_PLUGINS", "builtin")
    installed.cache_clear()
    try:
        content = json.loads(cxrkit("plugins", "list", "--json").out)
    finally:
        installed.cache_clear()
    assert next(item for item in content if item["name"] == "builtin")["status"] == "disabled"


def test_new_writes_a_package_and_names_its_files(cxrkit, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = cxrkit("plugins", "new", "heart-nets")
    assert outcome.code == 0, outcome.err
    files = outcome.out.splitlines()
    assert all((tmp_path / name).is_file() for name in files)
    assert (tmp_path / "cxrkit-heart-nets" / "pyproject.toml").is_file()
    assert "pip install -e cxrkit-heart-nets" in outcome.err
    assert "cxrkit plugins check cxrkit-heart-nets" in outcome.err
    assert cxrkit("plugins", "new", "heart-nets").code == 2, "the folder is occupied now"


@pytest.mark.parametrize("name", ["Heart Nets", "9lives", "heart_nets"])
def test_names_that_cannot_be_are_refused(cxrkit, tmp_path, name) -> None:
    assert cxrkit("plugins", "new", name, "--folder", tmp_path / "x").code == 2
    assert not (tmp_path / "x").exists()


def results(*outcomes: str) -> list[Result]:
    return [Result("model", "net", f"check {number}", outcome, "why [so]") for number, outcome in enumerate(outcomes)]


def test_check_tells_each_result_and_exits_with_4_where_one_failed(cxrkit, monkeypatch, tmp_path) -> None:
    asked: list[object] = []

    def run(name, *, roots):
        asked.append((name, roots))
        return results("passed", "failed", "skipped")

    monkeypatch.setattr(cxrkit_testing(), "run_conformance", run)
    outcome = cxrkit("plugins", "check", "mine", "--data", f"films={tmp_path}")
    assert asked == [("mine", {"films": tmp_path})]
    assert outcome.code == 4
    assert "1 passed, 1 failed, 1 skipped." in outcome.out
    assert "why [so]" in outcome.out


def test_check_passes_where_nothing_failed(cxrkit, monkeypatch) -> None:
    monkeypatch.setattr(cxrkit_testing(), "run_conformance", lambda name, *, roots: results("passed", "skipped"))
    outcome = cxrkit("plugins", "check", "mine", "--json")
    assert outcome.code == 0
    assert [item["outcome"] for item in json.loads(outcome.out)] == ["passed", "skipped"]


def test_an_unknown_plugin_is_reported(cxrkit) -> None:
    outcome = cxrkit("plugins", "check", "builtni")
    assert outcome.code == 4
    assert "Did you mean 'builtin'" in outcome.err


@pytest.mark.parametrize("value", ["films", "films=", "=here", "films=/no/such/place"])
def test_data_must_be_a_dataset_and_a_folder(cxrkit, value) -> None:
    assert cxrkit("plugins", "check", "builtin", "--data", value).code == 2


def cxrkit_testing():
    """The module whose function the verb imports when it runs."""
    return cxrkit.testing
