"""Of several processes that end, one says why. (Real processes: only they have a starter and an environment.)"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cxrkit.processes import RUN_VARIABLE, claims_last_word, is_first_process

CLAIM = "import sys; from cxrkit.processes import claims_last_word as c; print(c(of_another=len(sys.argv) > 1))"


def claim(temporary: Path, *arguments: str, **environment: str) -> bool:
    command = [sys.executable, "-c", CLAIM, *arguments]
    where = os.environ | {"TMPDIR": str(temporary)} | environment
    ended = subprocess.run(command, env=where, capture_output=True, text=True, check=True)
    return ended.stdout.strip() == "True"


@pytest.mark.parametrize("order", [("0", "1"), ("1", "0")])
def test_whoever_fails_first_says_it(tmp_path: Path, order: tuple[str, str]) -> None:
    # As torchrun starts them: this test is their parent.
    said = [claim(tmp_path, WORLD_SIZE="2", RANK=rank, LOCAL_RANK=rank) for rank in order]
    assert said == [True, False]
    assert claim(tmp_path, WORLD_SIZE="2", RANK="0", TORCHELASTIC_RESTART_COUNT="1"), "the next attempt"


def test_one_that_only_noticed_says_it_if_nobody_else_does(tmp_path: Path) -> None:
    assert claim(tmp_path, "of another", WORLD_SIZE="2", RANK="0", LOCAL_RANK="0")


def test_an_old_claim_counts_for_nothing(tmp_path: Path) -> None:
    old = tmp_path / f"cxrkit-{os.getpid()}-0.ended"
    old.touch()
    os.utime(old, (0, 0))
    assert claim(tmp_path, WORLD_SIZE="2", RANK="1", LOCAL_RANK="1")


def test_alone_there_is_nothing_to_claim(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK", "NODE_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert is_first_process()
    assert claims_last_word()
    assert claims_last_word(), "again"


@pytest.mark.parametrize(
    ("started", "flags", "hint"),
    [
        ("2", "--out run", "--devices 2 --num-nodes 1"),
        ("2", "--out run --devices 3", "--devices 2 --num-nodes 1"),
        ("two", "--out run", "unset WORLD_SIZE"),
        ("2", "--devices 2", "--out FOLDER"),
    ],
)
def test_processes_that_do_not_agree_with_the_settings_say_what_to_write(
    tmp_path: Path, started: str, flags: str, hint: str
) -> None:
    # The second process, which used to be silent, fails first here.
    environment = {name: value for name, value in os.environ.items() if name != RUN_VARIABLE} | {
        "WORLD_SIZE": started,
        "RANK": "1",
        "LOCAL_RANK": "1",
        "TMPDIR": str(tmp_path),
    }
    command = [sys.executable, "-m", "cxrkit", "train", "--device", "cpu", *flags.split()]
    ended = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr.count("Error:") == 1
    assert hint in ended.stderr
    assert not (tmp_path / "run").exists()
