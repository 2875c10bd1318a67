from __future__ import annotations

import json

import pytest

from cxrkit.cli import doctor as doctor_module


@pytest.mark.slow
def test_a_working_installation_is_healthy(cxrkit) -> None:
    outcome = cxrkit("doctor", "--json")
    content = json.loads(outcome.out)
    assert outcome.code == 0
    assert content["healthy"]
    found = {item["subject"]: item for item in content["examinations"]}
    assert {"cxrkit", "python", "torch", "device", "precision", "cv2", "h5py", "plugin builtin", "cache"} <= set(found)
    assert found["plugin builtin"]["status"] == "ok"


def test_a_cache_that_cannot_be_written_is_broken(cxrkit, tmp_path, monkeypatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CXRKIT_CACHE", str(tmp_path / "file" / "cache"))
    monkeypatch.setattr(doctor_module, "_EXAMINATIONS", (doctor_module._cache,))
    outcome = cxrkit("doctor")
    assert outcome.code == 1
    assert "CXRKIT_CACHE" in outcome.out
    assert "1 broken." in outcome.out


def test_an_examination_that_fails_is_a_result_and_the_others_go_on(cxrkit, monkeypatch) -> None:
    def _torch():
        raise OSError("libtorch.so: [not] found")
        yield

    monkeypatch.setattr(doctor_module, "_EXAMINATIONS", (_torch, doctor_module._python))
    outcome = cxrkit("doctor", "--json")
    content = json.loads(outcome.out)
    assert outcome.code == 1
    assert content["examinations"][0] == {
        "subject": "torch",
        "status": "broken",
        "found": "OSError: libtorch.so: [not] found",
        "remedy": "Fix or reinstall torch.",
    }
    assert content["examinations"][-1]["subject"] == "python"
