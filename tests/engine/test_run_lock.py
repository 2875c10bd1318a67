"""Two processes never train one run: what the first holds is let go when it ends, also by kill -9."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cxrkit.engine.observer import Silent
from cxrkit.engine.run import RunDirectory
from cxrkit.engine.train import train
from cxrkit.errors import ConfigError, StorageError
from cxrkit.files import locked
from cxrkit.registry import Registry

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such locks")
NewRun = Callable[..., RunDirectory]

HOLD = """
import sys, time
from pathlib import Path
from cxrkit.errors import ConfigError
from cxrkit.files import locked
with locked(Path(sys.argv[1]), ConfigError("busy")):
    print("held", flush=True)
    time.sleep(120)
"""


@pytest.fixture
def hold() -> Iterator[Callable[[Path], subprocess.Popen[str]]]:
    """Another process that holds a file."""
    started: list[subprocess.Popen[str]] = []

    def begin(file: Path) -> subprocess.Popen[str]:
        process = subprocess.Popen([sys.executable, "-c", HOLD, str(file)], stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def test_a_run_that_another_process_trains_is_left_alone(
    new_run: NewRun, components: Registry, hold: Callable[[Path], subprocess.Popen[str]]
) -> None:
    run = new_run("a")
    other = hold(run.config_file)
    with pytest.raises(ConfigError, match="another process trains this run") as caught:
        train(run, components)
    assert "Wait for it" in caught.value.remedy
    assert not (run.path / "metrics.jsonl").exists()
    other.kill()
    other.wait()
    before = run.config()
    train(run, components)
    assert (run.path / "checkpoints" / "last.safetensors").is_file()
    assert run.config() == before


def test_a_run_is_held_while_it_trains_and_not_after(new_run: NewRun, components: Registry) -> None:
    run = new_run("a")
    refused: list[int] = []

    class Other(Silent):
        def advance(self, done: int, note: str = "") -> None:
            try:
                with locked(run.config_file, ConfigError("busy")):
                    pass
            except ConfigError:
                refused.append(done)

    train(run, components, Other())
    assert 6 in refused
    with locked(run.config_file, ConfigError("busy")):
        pass


def test_a_lock_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    with pytest.raises(StorageError), locked(tmp_path / "nowhere" / "lock", ConfigError("busy")):
        pass
